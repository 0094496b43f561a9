//! The start of a store whose artifacts are in a bucket: whether the bucket is this store's, has all that the
//! metastore names, and gets what the folder has of it.

use modelet_types::Digest;

use crate::belonging::{self, Belonging};
use crate::blobs::{Bucket, Failure, Owner};
use crate::{Store, StoreError};

impl Store {
    /// Has the bucket ready, if there is one; says whether it can be used now.
    ///
    /// # Errors
    /// If it can never be used as it is. One that does not answer can, if everything was in it before.
    pub(crate) async fn reach_bucket(&self) -> Result<bool, StoreError> {
        let Some(bucket) = self.blobs.bucket() else { return Ok(true) };
        let was_here = self.blobs.marker().await?.as_deref() == Some(bucket.url());
        match self.settle_bucket(bucket, was_here).await {
            Ok(()) => Ok(true),
            Err(error) if was_here && is_outage(&error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the bucket of the artifacts does not answer; going on with those that are here"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn settle_bucket(&self, bucket: &Bucket, was_here: bool) -> Result<(), StoreError> {
        let this = self.owner().await?;
        let owner = bucket.check(&this).await?;
        let stored = bucket.list().await?;
        let missing: Vec<Digest> =
            self.digests().await?.into_iter().filter(|digest| !stored.contains(digest)).collect();
        let nowhere = self.blobs.absent(&missing).await?;
        if !was_here && !nowhere.is_empty() {
            return Err(self.blobs.missing_from(bucket, nowhere.len()));
        }
        if owner == Owner::Nobody {
            bucket.claim(&this).await?;
        }
        let missing: Vec<Digest> = missing.into_iter().filter(|digest| !nowhere.contains(digest)).collect();
        let lost = nowhere.len() as u64 + self.blobs.complete_bucket(&missing).await?;
        if lost > 0 {
            tracing::error!(
                artifacts = lost,
                "the bytes of artifacts are neither in the bucket nor here: upload them again"
            );
        }
        if !was_here {
            self.blobs.mark(bucket.url().to_owned()).await?;
            tracing::info!(url = bucket.url(), sent = missing.len(), "artifacts are in the bucket");
        }
        Ok(())
    }

    /// What tells this store from others, and from copies of it in other folders.
    async fn owner(&self) -> Result<String, StoreError> {
        let Belonging { first_change, .. } = belonging::get(&mut *self.database.snapshot().await?).await?;
        Ok(owner(first_change, &self.blobs.folder_id().await?))
    }
}

/// How the owner of a prefix is written: by the store, and by the data folder, so that a backup that somebody
/// opens beside the host does not remove what that host has stored since.
pub(crate) fn owner(first_change: Digest, folder_id: &str) -> String {
    format!("{} {folder_id}", first_change.to_hex())
}

/// Whether the error may go away by itself.
fn is_outage(error: &StoreError) -> bool {
    match error {
        StoreError::BucketRefused { source, .. } | StoreError::Bucket { source, .. } => {
            Failure::of(source) == Failure::Away
        }
        _ => false,
    }
}
