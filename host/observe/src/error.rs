//! What can go wrong while remembering.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of the ledger or of the function logs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Shared, because all records of one batch fail together.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process has the ledger open.
    #[error("the ledger in {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A file was written by a newer version of the host.
    #[error("{} has format version {found}, and this host reads up to {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The highest that this host reads.
        known: u32,
    },
    /// More is waiting to be written than the configured bound.
    #[error("{0} bytes of records are waiting to be written, which is the bound")]
    Full(usize),
    /// Bytes in the middle of a segment are not records. Reading goes on behind them.
    #[error("{bytes} damaged bytes in segment {segment} at {offset}")]
    Damaged {
        /// Which segment.
        segment: u64,
        /// Where in it.
        offset: u64,
        /// How many bytes were passed over.
        bytes: u64,
    },
    /// The writer is shutting down or has died.
    #[error("the writer has stopped")]
    Stopped,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }
}
