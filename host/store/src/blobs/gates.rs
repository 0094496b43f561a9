//! One at a time stores or removes a blob: otherwise a collection could take a blob that is about to get its
//! row. A gate for each blob, because to send one to a bucket may take minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use modelet_types::Digest;
use tokio::sync::OwnedMutexGuard;

/// Held from before a blob is stored until its row is committed, and while a blob without a row is removed.
pub(crate) type Gate = OwnedMutexGuard<()>;

/// The gates of those blobs that somebody is at.
#[derive(Default)]
pub(super) struct Gates(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl Gates {
    pub(super) async fn enter(&self, digest: Digest) -> Gate {
        let gate = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match gates.get(&digest).and_then(Weak::upgrade) {
                Some(gate) => gate,
                None => {
                    gates.retain(|_, gate| gate.strong_count() > 0);
                    let gate = Arc::default();
                    gates.insert(digest, Arc::downgrade(&gate));
                    gate
                }
            }
        };
        gate.lock_owned().await
    }
}
