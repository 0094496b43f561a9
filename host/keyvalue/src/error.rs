//! Why an operation was not done, in words that a handler may see.

/// An error of a key-value store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was asked for is not possible: a key that is too long, a value that is no number.
    #[error("{0}")]
    Invalid(String),
    /// The store has no room for it.
    #[error(
        "the store holds {held} bytes and would hold {wanted}, over the limit of {limit} \
         (key_value.max_bytes): delete keys that are no longer needed"
    )]
    Full {
        /// What it holds.
        held: u64,
        /// What it would hold.
        wanted: u64,
        /// What it may hold.
        limit: u64,
    },
    /// The file could not be read or written; the host's log has the reason.
    #[error("the host could not read or write what the function keeps")]
    Failed,
    /// The host takes no more.
    #[error("the host is shutting down")]
    ShuttingDown,
}
