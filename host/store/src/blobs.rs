//! The bytes of artifacts, by digest: in the data folder, or in a bucket with the folder as a cache.
//!
//! Handlers are compiled and models are mapped from local files, so a blob that is only in the bucket is
//! fetched before it is used; [`Blobs::hold`] does that, and keeps the file until it is let go.
//!
//! Knows nothing of rows: who calls has checked that the blob is wanted, and holds its gate
//! ([`Blobs::enter`]) from before the blob is stored until its row is committed, and while a blob without a
//! row is removed.

mod bucket;
mod cache;
mod copy;
mod file;
mod gates;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Generate as _, Key};
use futures::TryStreamExt as _;
use modelet_types::Digest;

use crate::StoreError;
use crate::folder::{create_folder, write_durably};
use crate::store::blocking;

pub use bucket::BucketConfig;
pub(crate) use bucket::{Bucket, Failure, Owner};
use cache::{Cache, Hold};
pub(crate) use gates::Gate;
use gates::Gates;

/// Enough that no two folders have the same.
const FOLDER_ID_BYTES: usize = 16;

/// Where artifacts are kept.
#[derive(Clone, Debug, Default)]
pub struct ArtifactsConfig {
    /// The bucket; `None`: the data folder.
    pub bucket: Option<BucketConfig>,
    /// The most bytes of what is in the bucket that the data folder keeps as well; 0: all that was used here.
    /// What is being read stays, also over this.
    pub cache_bytes: u64,
}

/// Where the bytes of artifacts are.
pub(crate) struct Blobs {
    places: Places,
    bucket: Option<Arc<Bucket>>,
    cache: Arc<Cache>,
    gates: Gates,
}

/// The folders and files that blobs have on this host.
#[derive(Clone, Debug)]
struct Places {
    /// `artifacts/sha256`.
    blobs: PathBuf,
    /// `artifacts/incoming`: blobs that have not come whole from the bucket.
    incoming: PathBuf,
    /// `artifacts/BUCKET`: the bucket's URL, once everything is there.
    marker: PathBuf,
    /// `artifacts/FOLDER`: what tells this folder from those with copies of its store.
    folder_id: PathBuf,
}

impl Places {
    fn blob(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.blobs.join(&hex[..2]).join(hex)
    }
}

/// A blob that is on this host's disk, and stays there until this is dropped. A file that is open or mapped
/// by then stays readable, whatever becomes of its name.
#[derive(Debug)]
pub struct HeldBlob {
    path: PathBuf,
    _hold: Hold,
}

impl HeldBlob {
    /// Its file. Read-only.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Blobs {
    /// Finds the blobs of a data folder. Changes nothing there, and does not speak to the bucket yet.
    ///
    /// # Errors
    /// If the bucket's settings make no sense, or the artifacts are in a bucket that the settings do not name.
    pub(crate) async fn open(data_dir: &Path, config: ArtifactsConfig) -> Result<Self, StoreError> {
        let artifacts = data_dir.join("artifacts");
        let places = Places {
            blobs: artifacts.join("sha256"),
            incoming: artifacts.join("incoming"),
            marker: artifacts.join("BUCKET"),
            folder_id: artifacts.join("FOLDER"),
        };
        let bucket = config.bucket.map(|bucket| Bucket::new(&bucket)).transpose()?.map(Arc::new);
        let (found, has_bucket) = (places.clone(), bucket.is_some());
        let cache = blocking(move || {
            if !has_bucket && let Some(url) = file::read_marker(&found.marker)? {
                return Err(StoreError::ArtifactsElsewhere { url, file: found.marker });
            }
            let cache = Cache::new(if has_bucket { config.cache_bytes } else { 0 });
            if has_bucket {
                file::stored(&found.blobs)?.into_iter().for_each(|(digest, len)| cache.add(digest, len));
            }
            Ok(cache)
        });
        Ok(Self { places, bucket, cache: Arc::new(cache.await?), gates: Gates::default() })
    }

    /// Removes what a killed host was fetching.
    ///
    /// # Errors
    /// If the folder cannot be read or changed.
    pub(crate) async fn clear_incoming(&self) -> Result<(), StoreError> {
        let incoming = self.places.incoming.clone();
        blocking(move || file::clear(&incoming)).await
    }

    pub(crate) fn bucket(&self) -> Option<&Arc<Bucket>> {
        self.bucket.as_ref()
    }

    /// The bucket in which everything was when this folder was last used with one.
    pub(crate) async fn marker(&self) -> Result<Option<String>, StoreError> {
        let file = self.places.marker.clone();
        blocking(move || file::read_marker(&file)).await
    }

    /// What tells this folder from others: made when it is first asked for.
    pub(crate) async fn folder_id(&self) -> Result<String, StoreError> {
        let file = self.places.folder_id.clone();
        blocking(move || match file::read_marker(&file)? {
            Some(id) => Ok(id),
            None => {
                let id = hex::encode(&Key::<XChaCha20Poly1305>::generate()[..FOLDER_ID_BYTES]);
                file.parent().map(create_folder).transpose()?;
                write_durably(&file, &format!("{id}\n"))?;
                Ok(id)
            }
        })
        .await
    }

    /// That `lost` artifacts are neither in a bucket that is new to this folder nor here.
    pub(crate) fn missing_from(&self, bucket: &Bucket, lost: usize) -> StoreError {
        let (url, file) = (bucket.url().to_owned(), self.places.marker.clone());
        StoreError::ArtifactsMissing { url, lost, file }
    }

    /// Writes down that everything is in the bucket.
    pub(crate) async fn mark(&self, url: String) -> Result<(), StoreError> {
        let file = self.places.marker.clone();
        blocking(move || write_durably(&file, &format!("{url}\n"))).await
    }

    /// Where the blob's file is, or comes to be.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.places.blob(digest)
    }

    /// The right to store or to remove a blob. Always taken before a transaction is begun.
    pub(crate) async fn enter(&self, digest: Digest) -> Gate {
        self.gates.enter(digest).await
    }

    /// Whether the blob is there with this length.
    ///
    /// # Errors
    /// If the folder cannot be read or the bucket does not answer.
    pub(crate) async fn is_whole(&self, digest: Digest, len: u64) -> Result<bool, StoreError> {
        if self.local_length(digest).await? == Some(len) {
            return Ok(true);
        }
        match &self.bucket {
            Some(bucket) => Ok(bucket.length(digest).await? == Some(len)),
            None => Ok(false),
        }
    }

    async fn local_length(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        let path = self.path(digest);
        blocking(move || file::length(&path)).await
    }

    /// Sends a file with the bytes of the blob to where blobs are kept, if that is not the folder: after this,
    /// the file may become the blob's copy in the cache.
    ///
    /// # Errors
    /// If the bucket does not take it. The file is as it was.
    pub(crate) async fn send(&self, digest: Digest, file: &Path, len: u64) -> Result<(), StoreError> {
        if let Some(bucket) = &self.bucket {
            bucket.put(digest, file, len).await?;
            fail::fail_point!("store::bucket::put");
        }
        Ok(())
    }

    /// Counts a blob's file that has come to its place, and makes room for it.
    pub(crate) async fn keep(&self, digest: Digest, len: u64) -> Result<(), StoreError> {
        if self.bucket.is_none() {
            return Ok(());
        }
        keep(&self.places, &self.cache, digest, len).await
    }

    /// Keeps the blob's file where it is, if it is there.
    pub(crate) fn hold_present(&self, digest: Digest) -> Option<HeldBlob> {
        let (hold, path) = (self.cache.hold(digest), self.path(digest));
        path.exists().then_some(HeldBlob { path, _hold: hold })
    }

    /// Has the blob on this host's disk, and keeps it there. Who asks meanwhile waits for the same fetch, which
    /// goes on if they leave.
    ///
    /// # Errors
    /// [`StoreError::BlobLost`] and [`StoreError::BlobDamaged`], or if the bucket or the folder fails.
    pub(crate) async fn hold(&self, digest: Digest, len: u64) -> Result<HeldBlob, StoreError> {
        let (hold, path) = (self.cache.hold(digest), self.path(digest));
        if self.local_length(digest).await? != Some(len) {
            let Some(bucket) = &self.bucket else { return Err(StoreError::BlobLost(digest)) };
            let (bucket, places, cache) = (Arc::clone(bucket), self.places.clone(), Arc::clone(&self.cache));
            let kept = self.cache.hold(digest);
            let fetch = async move {
                let fetched = fetch(&bucket, &places, &cache, digest, len).await;
                drop(kept);
                fetched
            };
            self.cache.fetch(digest, fetch).await?;
        }
        Ok(HeldBlob { path, _hold: hold })
    }

    /// All blobs that are stored, wherever.
    ///
    /// # Errors
    /// If the folder or the bucket cannot be listed.
    pub(crate) async fn list(&self) -> Result<Vec<Digest>, StoreError> {
        let folder = self.places.blobs.clone();
        let local = blocking(move || file::stored(&folder)).await?;
        let mut digests: Vec<Digest> = local.into_iter().map(|(digest, _)| digest).collect();
        if let Some(bucket) = &self.bucket {
            digests.extend(bucket.list().await?);
            digests.sort_unstable();
            digests.dedup();
        }
        Ok(digests)
    }

    /// Removes a blob and says how long it was.
    ///
    /// # Errors
    /// If it may still be there, or somewhere.
    pub(crate) async fn remove(&self, digest: Digest) -> Result<u64, StoreError> {
        let stored = match &self.bucket {
            Some(bucket) => bucket.remove(digest).await?,
            None => None,
        };
        if stored.is_some() {
            fail::fail_point!("store::bucket::removed");
        }
        let path = self.path(digest);
        let local = blocking(move || file::remove(&path)).await?;
        self.cache.forget(digest);
        Ok(stored.or(local).unwrap_or(0))
    }
}

/// Brings a blob from the bucket to its place in the folder, durably, and makes room for it.
async fn fetch(
    bucket: &Bucket,
    places: &Places,
    cache: &Arc<Cache>,
    digest: Digest,
    len: u64,
) -> Result<(), StoreError> {
    // It may have come between the look at the folder and this.
    let path = places.blob(digest);
    if blocking(move || file::length(&path)).await? == Some(len) {
        return Ok(());
    }
    let bytes = bucket.get(digest).await?.map_err(Bucket::failed("read", digest));
    if let Err(error) = file::receive(bytes, digest, len, &places.incoming, &places.blob(digest)).await {
        if matches!(error, StoreError::BlobDamaged { .. }) {
            bucket.suspect(digest);
        }
        return Err(error);
    }
    tracing::debug!(%digest, bytes = len, "fetched an artifact from the bucket");
    keep(places, cache, digest, len).await
}

/// Counts a file that has come, and lets others go for it.
async fn keep(places: &Places, cache: &Arc<Cache>, digest: Digest, len: u64) -> Result<(), StoreError> {
    cache.add(digest, len);
    let (cache, places) = (Arc::clone(cache), places.clone());
    let shrink = move || {
        let set_aside = |digest| file::set_aside(&places.blob(digest), &places.incoming);
        cache.shrink(set_aside, |aside| file::remove(&aside).map(drop))
    };
    blocking(shrink).await
}
