//! Blobs in an S3-compatible bucket: under a prefix, by the same names as in the folder.
//!
//! ```text
//! <prefix>/OWNER                            which store the prefix belongs to
//! <prefix>/sha256/<2 hex>/<64 hex>          blobs
//! ```
//!
//! S3 answers reads with what was last written (since December 2020, by Amazon's documentation), and an
//! object appears whole or not at all. What it does not promise is that a request whose answer was lost is not
//! carried out later: that is of no consequence for bytes that come, which are those of their name, but it is
//! for a removal, see [`Bucket::put`].

mod connect;
mod send;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use modelet_types::Digest;
use object_store::aws::AmazonS3;
use object_store::path::Path as Location;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload};
use tokio::sync::Semaphore;

use crate::StoreError;

pub use connect::BucketConfig;

/// Blobs that are sent at one time; more wait. Each holds up to [`send::PARTS`] parts in memory.
const SENDS: usize = 4;
/// A removal that took longer may have been carried out by a second request, while the first is still under way.
const PROMPT: Duration = Duration::from_secs(5);
/// How long a request may be under way after nobody waits for it any more.
const DOUBT: Duration = Duration::from_secs(60);
/// The first line of the object that says whose the prefix is.
const FORMAT: &str = "modelet artifacts 1";

/// A prefix of a bucket.
pub(crate) struct Bucket {
    store: AmazonS3,
    prefix: Location,
    /// As it was configured: without anything secret.
    url: String,
    hint: &'static str,
    sends: Semaphore,
    /// Blobs whose removal may come yet.
    doubtful: Mutex<HashMap<Digest, Instant>>,
    /// Blobs that were not what their name says when they were last fetched.
    suspected: Mutex<HashSet<Digest>>,
}

/// Whose a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody's yet.
    Nobody,
    /// That of the store that asked.
    This,
}

/// What is wrong with a bucket that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is none.
    NoBucket,
    /// It is not for these credentials.
    Denied,
    /// Anything that may be over by itself.
    Away,
}

impl Failure {
    /// What an error says of the bucket itself.
    pub(crate) fn of(error: &object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => return Self::NoBucket,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                return Self::Denied;
            }
            _ => {}
        }
        // Of a list that fails the library has no more than the text, with the codes of S3 in it.
        let text = error.to_string();
        let has = |codes: &[&str]| codes.iter().any(|code| text.contains(code));
        if has(&["<Code>NoSuchBucket</Code>"]) {
            Self::NoBucket
        } else if has(&["status code: 401", "status code: 403"]) {
            Self::Denied
        } else {
            Self::Away
        }
    }
}

impl Bucket {
    pub(super) fn new(config: &BucketConfig) -> Result<Self, StoreError> {
        let (store, prefix) = connect::store(config)?;
        Ok(Self {
            store,
            prefix,
            url: config.url.clone(),
            hint: connect::hint(config),
            sends: Semaphore::new(SENDS),
            doubtful: Mutex::default(),
            suspected: Mutex::default(),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn blob(&self, digest: Digest) -> Location {
        let hex = digest.to_hex();
        self.prefix.clone().join("sha256").join(&hex[..2]).join(hex.as_str())
    }

    fn at(&self, name: &str) -> Location {
        self.prefix.clone().join(name)
    }

    /// Makes an error of one of the bucket's.
    pub(super) fn failed(
        action: &'static str,
        digest: Digest,
    ) -> impl Fn(object_store::Error) -> StoreError + Clone {
        move |source| StoreError::Bucket { action, object: digest.to_string(), source: Box::new(source) }
    }

    fn refused(&self, source: object_store::Error) -> StoreError {
        let hint = match Failure::of(&source) {
            Failure::NoBucket => {
                "there is no such bucket: make it, or correct `artifacts_url` or AWS_ENDPOINT_URL"
            }
            Failure::Denied => {
                "access is denied: these credentials must be allowed to list the bucket, and to get, put and \
                 delete objects under the prefix"
            }
            Failure::Away => self.hint,
        };
        StoreError::BucketRefused { url: self.url.clone(), hint, source: Box::new(source) }
    }

    /// Tries everything that the host does with a bucket, and says whose the prefix is.
    ///
    /// # Errors
    /// [`StoreError::BucketRefused`], which says what helps, and [`StoreError::BucketInUse`].
    pub(crate) async fn check(&self, store_id: &str) -> Result<Owner, StoreError> {
        let refused = |source| self.refused(source);
        // First, because this alone is missing only where there is no bucket.
        self.store.list(Some(&self.at("sha256"))).next().await.transpose().map_err(refused)?;
        let probe = self.at("PROBE");
        self.store.put(&probe, PutPayload::from_static(b"probe\n")).await.map_err(refused)?;
        self.store.delete(&probe).await.map_err(refused)?;
        match self.store.get(&self.at("OWNER")).await {
            Ok(found) => {
                let text = found.bytes().await.map_err(refused)?;
                if text == owner_text(store_id) {
                    Ok(Owner::This)
                } else {
                    Err(StoreError::BucketInUse { url: self.url.clone() })
                }
            }
            Err(object_store::Error::NotFound { .. }) => Ok(Owner::Nobody),
            Err(error) => Err(refused(error)),
        }
    }

    /// Takes a prefix that is nobody's.
    ///
    /// # Errors
    /// As [`Self::check`], of two that try at one time for one.
    pub(crate) async fn claim(&self, store_id: &str) -> Result<(), StoreError> {
        let text = PutPayload::from(owner_text(store_id));
        match self.store.put_opts(&self.at("OWNER"), text, PutMode::Create.into()).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                match self.check(store_id).await? {
                    Owner::This => Ok(()),
                    Owner::Nobody => Err(StoreError::BucketInUse { url: self.url.clone() }),
                }
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Stores the bytes of a file. What was there before, which has the same bytes unless somebody damaged it, is
    /// replaced.
    ///
    /// While a removal of the blob may still come that nobody waits for any more, nothing is stored: it would
    /// take away what was acknowledged. That is over after a minute.
    ///
    /// # Errors
    /// If the file cannot be read or the bucket does not take it.
    pub(super) async fn put(&self, digest: Digest, file: &Path, len: u64) -> Result<(), StoreError> {
        if locked(&self.doubtful).get(&digest).is_some_and(|since| since.elapsed() < DOUBT) {
            return Err(StoreError::RemovalUnderWay(digest));
        }
        let _turn = self.sends.acquire().await.expect("the semaphore of sends is never closed");
        send::file(&self.store, &self.blob(digest), digest, file, len).await?;
        locked(&self.doubtful).remove(&digest);
        locked(&self.suspected).remove(&digest);
        Ok(())
    }

    /// The bytes of a blob, which may be any.
    ///
    /// # Errors
    /// [`StoreError::BlobLost`], or if the bucket does not answer.
    pub(super) async fn get(
        &self,
        digest: Digest,
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, StoreError> {
        match self.store.get(&self.blob(digest)).await {
            Ok(found) => Ok(found.into_stream()),
            Err(object_store::Error::NotFound { .. }) => Err(StoreError::BlobLost(digest)),
            Err(error) => Err(Self::failed("read", digest)(error)),
        }
    }

    /// How long a blob is, if it is there and was not found to be another.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(super) async fn length(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        if locked(&self.suspected).contains(&digest) {
            return Ok(None);
        }
        self.stored_length(digest).await
    }

    async fn stored_length(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        match self.store.head(&self.blob(digest)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Self::failed("look for", digest)(error)),
        }
    }

    /// Remembers that a blob is not what its name says, so that it can be uploaded again.
    pub(super) fn suspect(&self, digest: Digest) {
        locked(&self.suspected).insert(digest);
    }

    /// All blobs; objects that are named otherwise are not ours.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub(crate) async fn list(&self) -> Result<HashSet<Digest>, StoreError> {
        let folder = self.at("sha256");
        let failed = |source| StoreError::Bucket {
            action: "list",
            object: "what is in the bucket".into(),
            source: Box::new(source),
        };
        let objects = self.store.list(Some(&folder)).map_err(failed);
        let blobs = objects.try_filter_map(async |object| {
            let digest = object.location.filename().and_then(Digest::from_hex);
            Ok(digest.filter(|digest| object.location == self.blob(*digest)))
        });
        blobs.try_collect().await
    }

    /// Removes a blob, and says how long it was, if it was there.
    ///
    /// # Errors
    /// If it may still be there.
    pub(super) async fn remove(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        let Some(len) = self.stored_length(digest).await? else { return Ok(None) };
        let began = Instant::now();
        let removed = self.store.delete(&self.blob(digest)).await;
        let is_gone = matches!(removed, Ok(()) | Err(object_store::Error::NotFound { .. }));
        let mut doubtful = locked(&self.doubtful);
        doubtful.retain(|_, since| since.elapsed() < DOUBT);
        if !is_gone || began.elapsed() > PROMPT {
            doubtful.insert(digest, Instant::now());
        }
        drop(doubtful);
        locked(&self.suspected).remove(&digest);
        if is_gone {
            Ok(Some(len))
        } else {
            removed.map(|()| Some(len)).map_err(Self::failed("remove", digest))
        }
    }
}

fn owner_text(store_id: &str) -> Bytes {
    format!("{FORMAT}\nstore {store_id}\n").into()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
