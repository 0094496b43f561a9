//! `wasi:keyvalue`, in both drafts: what the function keeps from one invocation to the next.
//!
//! It is always linked, as `wasi:http` is: toolchains import what a handler never uses. Without the grant
//! nothing can be opened, and the function's log says what to write into the manifest.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::Host;
use crate::bindings::key_value::wasi::keyvalue::{atomics, batch, store};
use crate::bindings::key_value_draft::wasi::keyvalue as draft;
use crate::ports::{KeyValue, KeyValueError, Level, Source};

/// What a guest's handle to its function's bucket stands for. There is only one bucket, so it says that it
/// was opened and nothing more.
pub struct Bucket;

/// A key as it was at one moment.
pub struct Cas {
    key: String,
    version: u64,
}

/// The names of the function's bucket: as Spin calls the one that is always there, and as wasmtime does.
const NAMES: [&str; 2] = ["default", ""];

/// Why a bucket was not opened.
enum Refusal {
    NoSuchStore,
    AccessDenied,
    Other(KeyValueError),
}

type Values = Vec<Option<(String, Vec<u8>)>>;

impl Host {
    fn open_bucket(&mut self, identifier: &str) -> Result<Resource<Bucket>, Refusal> {
        if self.key_value.is_none() {
            let reason =
                "`open` of wasi:keyvalue was refused: a table `[key_value]` in the manifest grants it";
            self.log.line(Level::Warn, Source::Host, reason);
            return Err(Refusal::AccessDenied);
        }
        if !NAMES.contains(&identifier) {
            return Err(Refusal::NoSuchStore);
        }
        self.table.push(Bucket).map_err(|_| Refusal::Other(self.handles_held()))
    }

    fn handles_held(&self) -> KeyValueError {
        let limit = self.limits.handles;
        KeyValueError(format!("as many handles are held as may be ({limit} at most, limits.handles)"))
    }

    /// What the function keeps, for a guest that has opened it.
    fn keys_and_values(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Arc<dyn KeyValue>> {
        self.table.get(bucket)?;
        self.granted()
    }

    fn granted(&self) -> wasmtime::Result<Arc<dyn KeyValue>> {
        // A revision's grant is the same for all invocations of an instance.
        self.key_value.clone().ok_or_else(|| wasmtime::Error::msg("wasi:keyvalue is not granted"))
    }

    async fn get_one(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, KeyValueError>> {
        Ok(get_one(&*self.keys_and_values(bucket)?, key).await)
    }

    async fn get_several(
        &mut self,
        bucket: &Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Values, KeyValueError>> {
        let values = self.keys_and_values(bucket)?.get(keys.clone()).await;
        Ok(values.map(|values| {
            let named = keys.into_iter().zip(values);
            named.map(|(key, value)| Some((key, value?))).collect()
        }))
    }

    async fn present(&mut self, key: String) -> wasmtime::Result<Result<Resource<Cas>, KeyValueError>> {
        match self.granted()?.version(key.clone()).await {
            Ok(version) => Ok(self.table.push(Cas { key, version }).map_err(|_| self.handles_held())),
            Err(error) => Ok(Err(error)),
        }
    }
}

async fn get_one(key_value: &dyn KeyValue, key: String) -> Result<Option<Vec<u8>>, KeyValueError> {
    Ok(key_value.get(vec![key]).await?.into_iter().next().flatten())
}

impl store::Host for Host {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, store::Error>> {
        Ok(self.open_bucket(&identifier).map_err(Into::into))
    }
}

impl store::HostBucket for Host {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(self.get_one(&bucket, key).await?.map_err(Into::into))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let set = self.keys_and_values(&bucket)?.set(vec![(key, value)]).await;
        Ok(set.map_err(Into::into))
    }

    async fn delete(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let deleted = self.keys_and_values(&bucket)?.delete(vec![key]).await;
        Ok(deleted.map_err(Into::into))
    }

    async fn exists(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, store::Error>> {
        Ok(self.keys_and_values(&bucket)?.exists(key).await.map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        let after = match cursor.as_deref().map_or(Ok(0), str::parse) {
            Ok(after) => after,
            Err(_) => {
                let detail = "the cursor is not one that `list-keys` gave";
                return Ok(Err(store::Error::Other(detail.into())));
            }
        };
        let page = self.keys_and_values(&bucket)?.list(after).await;
        Ok(page
            .map(|(keys, next)| store::KeyResponse { keys, cursor: next.map(|next| next.to_string()) })
            .map_err(Into::into))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for Host {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Values, store::Error>> {
        Ok(self.get_several(&bucket, keys).await?.map_err(Into::into))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        Ok(self.keys_and_values(&bucket)?.set(key_values).await.map_err(Into::into))
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        Ok(self.keys_and_values(&bucket)?.delete(keys).await.map_err(Into::into))
    }
}

impl atomics::Host for Host {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        Ok(self.keys_and_values(&bucket)?.increment(key, delta, i64::MIN).await.map_err(Into::into))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        // The handle is used up, whatever becomes of the swap.
        let Cas { key, version } = self.table.delete(cas)?;
        Ok(match self.granted()?.swap(key.clone(), value, version).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(version)) => Err(atomics::CasError::CasFailed(self.table.push(Cas { key, version })?)),
            Err(error) => Err(atomics::CasError::StoreError(error.into())),
        })
    }
}

impl atomics::HostCas for Host {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Cas>, store::Error>> {
        self.table.get(&bucket)?;
        Ok(self.present(key).await?.map_err(Into::into))
    }

    async fn current(
        &mut self,
        cas: Resource<Cas>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let key = self.table.get(&cas)?.key.clone();
        Ok(get_one(&*self.granted()?, key).await.map_err(Into::into))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl draft::store::Host for Host {
    async fn open(
        &mut self,
        identifier: String,
    ) -> wasmtime::Result<Result<Resource<Bucket>, draft::store::Error>> {
        Ok(self.open_bucket(&identifier).map_err(Into::into))
    }
}

impl draft::store::HostBucket for Host {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, draft::store::Error>> {
        Ok(self.get_one(&bucket, key).await?.map_err(Into::into))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), draft::store::Error>> {
        let set = self.keys_and_values(&bucket)?.set(vec![(key, value)]).await;
        Ok(set.map_err(Into::into))
    }

    async fn delete(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), draft::store::Error>> {
        let deleted = self.keys_and_values(&bucket)?.delete(vec![key]).await;
        Ok(deleted.map_err(Into::into))
    }

    async fn exists(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, draft::store::Error>> {
        Ok(self.keys_and_values(&bucket)?.exists(key).await.map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<draft::store::KeyResponse, draft::store::Error>> {
        let page = self.keys_and_values(&bucket)?.list(cursor.unwrap_or(0)).await;
        Ok(page.map(|(keys, cursor)| draft::store::KeyResponse { keys, cursor }).map_err(Into::into))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl draft::batch::Host for Host {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Values, draft::store::Error>> {
        Ok(self.get_several(&bucket, keys).await?.map_err(Into::into))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), draft::store::Error>> {
        Ok(self.keys_and_values(&bucket)?.set(key_values).await.map_err(Into::into))
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), draft::store::Error>> {
        Ok(self.keys_and_values(&bucket)?.delete(keys).await.map_err(Into::into))
    }
}

impl draft::atomics::Host for Host {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> wasmtime::Result<Result<u64, draft::store::Error>> {
        // What this draft has no number for is refused before it is done.
        let Ok(delta) = i64::try_from(delta) else {
            let detail = format!("{delta} is more than can be added: use at most {}", i64::MAX);
            return Ok(Err(draft::store::Error::Other(detail)));
        };
        let sum = self.keys_and_values(&bucket)?.increment(key, delta, 0).await;
        Ok(sum.map(i64::unsigned_abs).map_err(Into::into))
    }
}

impl From<Refusal> for store::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchStore => Self::NoSuchStore,
            Refusal::AccessDenied => Self::AccessDenied,
            Refusal::Other(error) => error.into(),
        }
    }
}

impl From<Refusal> for draft::store::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchStore => Self::NoSuchStore,
            Refusal::AccessDenied => Self::AccessDenied,
            Refusal::Other(error) => error.into(),
        }
    }
}

impl From<KeyValueError> for store::Error {
    fn from(error: KeyValueError) -> Self {
        Self::Other(error.0)
    }
}

impl From<KeyValueError> for draft::store::Error {
    fn from(error: KeyValueError) -> Self {
        Self::Other(error.0)
    }
}
