//! What handlers keep from one invocation to the next: keys and values, in a file of its own for each
//! function.
//!
//! A file is opened when it is asked for and closed when it is idle, so that functions that keep
//! something cost nothing while nobody calls them. It is made with the first key. Each open file has one
//! task that takes what is asked for in turns (see `keeper`): everything of one turn is one transaction,
//! synced to the disk before anybody has an answer. So every operation is atomic, and many small ones
//! that come together cost one sync.
//!
//! Knows no WebAssembly, no manifest, and nothing of the metastore. Who may ask is decided elsewhere.

mod error;
mod file;
mod files;
mod keeper;
mod operation;
mod shares;
mod stores;

pub use error::Error;
pub use operation::{
    ENTRY_BYTES, MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_KEY_BYTES, MAX_PAGE_KEYS, MAX_VALUE_BYTES, Page, Sum,
    Swapped, Usage,
};
pub use stores::{KeyValueConfig, KeyValueStores, Owner};
