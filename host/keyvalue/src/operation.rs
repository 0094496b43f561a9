//! What can be asked of a store, within which bounds, and what is answered.

use tokio::sync::oneshot;

use crate::Error;

/// The longest key.
pub const MAX_KEY_BYTES: usize = 1 << 10;
/// The largest value.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most keys of one operation.
pub const MAX_BATCH_KEYS: usize = 1_000;
/// The most bytes of keys and values that one operation takes or gives.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
/// The most keys on one page.
pub const MAX_PAGE_KEYS: usize = 1_000;
/// What a key counts beside its own bytes and those of its value, since storing it costs about that: a
/// store cannot be filled with countless empty values.
pub const ENTRY_BYTES: u64 = 64;

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys.
    pub keys: Vec<String>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<u64>,
}

/// What became of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The key has the new value.
    Done,
    /// The key was changed before; it has this version now.
    Changed(u64),
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys.
    pub keys: u64,
    /// Their bytes and those of their values, and [`ENTRY_BYTES`] for each.
    pub bytes: u64,
}

/// What is added to a number.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// This much.
    pub delta: i64,
    /// The least that may come of it.
    pub lowest: i64,
}

/// Where an answer goes. Nobody may be there any more to take it.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Keys with the values that they are to have.
pub(crate) type Entries = Vec<(String, Vec<u8>)>;

/// One thing to do.
pub(crate) enum Operation {
    Get {
        keys: Vec<String>,
        reply: Reply<Vec<Option<Vec<u8>>>>,
    },
    Exists {
        key: String,
        reply: Reply<bool>,
    },
    List {
        after: u64,
        reply: Reply<Page>,
    },
    Version {
        key: String,
        reply: Reply<u64>,
    },
    Usage {
        reply: Reply<Usage>,
    },
    Set {
        entries: Entries,
        limit: u64,
        reply: Reply<()>,
    },
    Delete {
        keys: Vec<String>,
        reply: Reply<()>,
    },
    Increment {
        key: String,
        sum: Sum,
        limit: u64,
        reply: Reply<i64>,
    },
    Swap {
        key: String,
        version: u64,
        value: Vec<u8>,
        limit: u64,
        reply: Reply<Swapped>,
    },
    /// To close the file. The sender is dropped once that is done.
    Close {
        done: oneshot::Sender<()>,
    },
}

impl Operation {
    /// Whether it may change something.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Delete { .. } | Self::Increment { .. } | Self::Swap { .. } => true,
            Self::Get { .. }
            | Self::Exists { .. }
            | Self::List { .. }
            | Self::Version { .. }
            | Self::Usage { .. }
            | Self::Close { .. } => false,
        }
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_given_up(&self) -> bool {
        match self {
            Self::Get { reply, .. } => reply.is_closed(),
            Self::Exists { reply, .. } => reply.is_closed(),
            Self::List { reply, .. } => reply.is_closed(),
            Self::Version { reply, .. } => reply.is_closed(),
            Self::Usage { reply } => reply.is_closed(),
            Self::Set { reply, .. } | Self::Delete { reply, .. } => reply.is_closed(),
            Self::Increment { reply, .. } => reply.is_closed(),
            Self::Swap { reply, .. } => reply.is_closed(),
            Self::Close { .. } => false,
        }
    }

    /// Answers with an error.
    pub(crate) fn fail(self, error: Error) {
        // Whoever asked may have left.
        match self {
            Self::Get { reply, .. } => drop(reply.send(Err(error))),
            Self::Exists { reply, .. } => drop(reply.send(Err(error))),
            Self::List { reply, .. } => drop(reply.send(Err(error))),
            Self::Version { reply, .. } => drop(reply.send(Err(error))),
            Self::Usage { reply } => drop(reply.send(Err(error))),
            Self::Set { reply, .. } | Self::Delete { reply, .. } => drop(reply.send(Err(error))),
            Self::Increment { reply, .. } => drop(reply.send(Err(error))),
            Self::Swap { reply, .. } => drop(reply.send(Err(error))),
            Self::Close { done } => drop(done),
        }
    }
}

/// Checks one key.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        let detail = format!("a key may have {MAX_KEY_BYTES} bytes, and this one has {}", key.len());
        return Err(Error::Invalid(detail));
    }
    Ok(())
}

/// Checks the keys of one operation.
pub(crate) fn check_keys(keys: &[String]) -> Result<(), Error> {
    check_count(keys.len())?;
    keys.iter().try_for_each(|key| check_key(key))
}

/// Checks what is to be written.
pub(crate) fn check_entries(entries: &Entries) -> Result<(), Error> {
    check_count(entries.len())?;
    let mut bytes = 0;
    for (key, value) in entries {
        check_key(key)?;
        if value.len() > MAX_VALUE_BYTES {
            let detail =
                format!("a value may have {MAX_VALUE_BYTES} bytes, and this one has {}", value.len());
            return Err(Error::Invalid(detail));
        }
        bytes += key.len() + value.len();
    }
    check_bytes(bytes)
}

/// Checks the bytes of all keys and values of one operation.
pub(crate) fn check_bytes(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_BATCH_BYTES {
        let detail = format!(
            "keys and values of one call may have {MAX_BATCH_BYTES} bytes together, and these have more: \
             use several calls"
        );
        return Err(Error::Invalid(detail));
    }
    Ok(())
}

fn check_count(keys: usize) -> Result<(), Error> {
    if keys > MAX_BATCH_KEYS {
        let detail = format!("one call may name {MAX_BATCH_KEYS} keys, and this one names {keys}");
        return Err(Error::Invalid(detail));
    }
    Ok(())
}
