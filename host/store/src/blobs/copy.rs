//! Blobs from one place to another: folder to bucket, back, or any to the same kind.

use std::collections::HashSet;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use modelet_types::Digest;

use super::{Blobs, Bucket, file, keep};
use crate::StoreError;
use crate::store::blocking;

impl Blobs {
    /// Copies a blob, checked against its digest on its way. One that is there with the same length is passed
    /// over, so that a copy which was broken off goes on where it was.
    ///
    /// # Errors
    /// [`StoreError::BlobLost`] and [`StoreError::BlobDamaged`], or if either place fails.
    pub(crate) async fn copy_to(&self, target: &Self, digest: Digest, len: u64) -> Result<(), StoreError> {
        let _gate = target.enter(digest).await;
        if target.has(digest, len).await? {
            return Ok(());
        }
        target.receive(digest, len, self.read(digest).await?).await
    }

    /// Whether the blob is where it is kept, and not only in the cache.
    async fn has(&self, digest: Digest, len: u64) -> Result<bool, StoreError> {
        match &self.bucket {
            Some(bucket) => Ok(bucket.length(digest).await? == Some(len)),
            None => self.is_whole(digest, len).await,
        }
    }

    /// The bytes of a blob, from its file or else from the bucket, without putting them into the cache.
    async fn read(
        &self,
        digest: Digest,
    ) -> Result<BoxStream<'static, Result<bytes::Bytes, StoreError>>, StoreError> {
        if let Some(held) = self.hold_present(digest) {
            let path = held.path.clone();
            let chunks = blocking(move || file::chunks(&path)).await?;
            return Ok(chunks.inspect(move |_| _ = &held).boxed());
        }
        let Some(bucket) = &self.bucket else { return Err(StoreError::BlobLost(digest)) };
        Ok(bucket.get(digest).await?.map_err(Bucket::failed("read", digest)).boxed())
    }

    /// Stores a blob that comes from elsewhere.
    async fn receive(
        &self,
        digest: Digest,
        len: u64,
        bytes: BoxStream<'static, Result<bytes::Bytes, StoreError>>,
    ) -> Result<(), StoreError> {
        let path = self.path(digest);
        // Held, so that it is not let go before it is sent.
        let _hold = self.cache.hold(digest);
        file::receive(bytes, digest, len, &self.places.incoming, &path).await?;
        if self.bucket.is_some() {
            self.send(digest, &path, len).await?;
            keep(&self.places, &self.cache, digest, len).await?;
        }
        Ok(())
    }

    /// Which of these blobs have no file here.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(crate) async fn absent(&self, blobs: &[Digest]) -> Result<HashSet<Digest>, StoreError> {
        let files: Vec<_> = blobs.iter().map(|&digest| (digest, self.path(digest))).collect();
        blocking(move || {
            let mut absent = HashSet::new();
            for (digest, path) in files {
                if file::length(&path)?.is_none() {
                    absent.insert(digest);
                }
            }
            Ok(absent)
        })
        .await
    }

    /// Sends blobs from the folder to the bucket, and says how many of them could not be, because their files
    /// are damaged.
    ///
    /// # Errors
    /// If either place fails.
    pub(crate) async fn complete_bucket(&self, blobs: &[Digest]) -> Result<u64, StoreError> {
        let mut lost = 0;
        for &digest in blobs {
            let path = self.path(digest);
            let found = path.clone();
            let here = blocking(move || match file::length(&found)? {
                Some(len) => Ok(Some((len, file::digest(&found)?))),
                None => Ok(None),
            });
            match here.await? {
                Some((len, actual)) if actual == digest => self.send(digest, &path, len).await?,
                Some(_) | None => lost += 1,
            }
        }
        Ok(lost)
    }
}
