//! What a function keeps, as its handlers see it: the engine's trait over its store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use modelet_engine::{KeyValue, KeyValueError, KeyValueFuture};
use modelet_keyvalue::{Error, KeyValueStores, Owner, Sum, Swapped};

/// The store of a function with what one of its revisions grants.
pub(crate) struct RevisionKeyValue {
    pub(crate) stores: Arc<KeyValueStores>,
    pub(crate) owner: Owner,
    /// What may be held when this revision writes.
    pub(crate) max_bytes: u64,
    /// Whether the function is gone: an invocation that is still running keeps nothing any more.
    pub(crate) deleted: Arc<AtomicBool>,
}

impl RevisionKeyValue {
    fn ask<T, F>(&self, ask: impl FnOnce(Arc<KeyValueStores>, Owner) -> F) -> KeyValueFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        if self.deleted.load(Relaxed) {
            let gone = KeyValueError("the function has been deleted".into());
            return futures::future::ready(Err(gone)).boxed();
        }
        ask(self.stores.clone(), self.owner.clone()).map_err(|error| KeyValueError(error.to_string())).boxed()
    }
}

impl KeyValue for RevisionKeyValue {
    fn get(&self, keys: Vec<String>) -> KeyValueFuture<Vec<Option<Vec<u8>>>> {
        self.ask(|stores, owner| async move { stores.get(&owner, keys).await })
    }

    fn exists(&self, key: String) -> KeyValueFuture<bool> {
        self.ask(|stores, owner| async move { stores.exists(&owner, key).await })
    }

    fn list(&self, after: u64) -> KeyValueFuture<(Vec<String>, Option<u64>)> {
        self.ask(|stores, owner| async move {
            let page = stores.list(&owner, after).await?;
            Ok((page.keys, page.next))
        })
    }

    fn version(&self, key: String) -> KeyValueFuture<u64> {
        self.ask(|stores, owner| async move { stores.version(&owner, key).await })
    }

    fn set(&self, entries: Vec<(String, Vec<u8>)>) -> KeyValueFuture<()> {
        let limit = self.max_bytes;
        self.ask(move |stores, owner| async move { stores.set(&owner, entries, limit).await })
    }

    fn delete(&self, keys: Vec<String>) -> KeyValueFuture<()> {
        self.ask(|stores, owner| async move { stores.delete(&owner, keys).await })
    }

    fn increment(&self, key: String, delta: i64, lowest: i64) -> KeyValueFuture<i64> {
        let (sum, limit) = (Sum { delta, lowest }, self.max_bytes);
        self.ask(move |stores, owner| async move { stores.increment(&owner, key, sum, limit).await })
    }

    fn swap(
        &self,
        key: String,
        value: Vec<u8>,
        version: u64,
    ) -> BoxFuture<'static, Result<Result<(), u64>, KeyValueError>> {
        let limit = self.max_bytes;
        self.ask(move |stores, owner| async move {
            Ok(match stores.swap(&owner, (key, value), version, limit).await? {
                Swapped::Done => Ok(()),
                Swapped::Changed(version) => Err(version),
            })
        })
    }
}
