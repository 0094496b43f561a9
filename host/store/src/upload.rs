//! Uploads: bytes that arrive, perhaps over several requests, until they are an artifact.
//!
//! The order is what makes a kill harmless: the part is written and synced, its digest is checked,
//! it is sent to the bucket if there is one, it is renamed to its place as a blob, the folder is synced, and
//! only then the row is committed.

mod part;

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use modelet_types::{Digest, TenantName};
use serde::Serialize;

pub(crate) use part::Claims;
use part::Part;

use crate::database::now;
use crate::store::{blocking, joined};
use crate::{Actor, Artifact, Store, StoreError};

/// Bytes that are gathered before a thread is asked to write them.
const WRITE_BYTES: usize = 1 << 20;

/// How much of an artifact this tenant has uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum UploadState {
    /// The artifact is there.
    Complete {
        /// Its length.
        size_bytes: u64,
    },
    /// More is to come.
    Partial {
        /// Where the next byte goes; 0 if nothing is there.
        offset: u64,
    },
}

/// Which bytes of an artifact a request brings.
#[derive(Clone, Copy, Debug)]
pub struct UploadRange {
    /// Where they begin.
    pub offset: u64,
    /// The length of the whole artifact.
    pub total_bytes: u64,
    /// The longest that an artifact may be.
    pub max_bytes: u64,
}

impl Store {
    /// How much of the artifact is there. An artifact that is complete is kept for another grace
    /// period, so that it can be named. One that has all its bytes may still be partial, after a
    /// kill: an append of nothing at that offset completes it.
    ///
    /// # Errors
    /// If the metastore or the file system fails.
    pub async fn upload_offset(
        &self,
        tenant: &TenantName,
        digest: Digest,
    ) -> Result<UploadState, StoreError> {
        if let Some(size_bytes) = self.complete(tenant, digest).await? {
            return Ok(UploadState::Complete { size_bytes });
        }
        let path = self.folder.part(tenant, digest);
        let offset = blocking(move || part::length(&path)).await?.unwrap_or(0);
        Ok(UploadState::Partial { offset })
    }

    /// Adds `bytes` to an upload; with the last of them, makes the artifact.
    ///
    /// What arrived before an error is kept, up to the last write of 1 MiB if the caller leaves,
    /// and the upload goes on from there. Nothing is read from `bytes` if the artifact is complete.
    ///
    /// # Errors
    /// - [`StoreError::TooLarge`], [`StoreError::TooManyBytes`]: over a limit.
    /// - [`StoreError::QuotaExceeded`]: the tenant's artifacts would be more than it may have. What other
    ///   uploads bring at the same time is not counted.
    /// - [`StoreError::UploadBusy`]: another request is at the same upload.
    /// - [`StoreError::WrongOffset`]: says where the upload stands.
    /// - [`StoreError::DigestMismatch`]: all came, and it is something else. It is discarded.
    /// - [`StoreError::Interrupted`]: `bytes` failed.
    /// - [`StoreError::Bucket`]: all came, and the bucket does not take it. It is kept, as after a kill.
    pub async fn append_upload(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &TenantName,
        digest: Digest,
        range: UploadRange,
        bytes: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<UploadState, StoreError> {
        let UploadRange { offset, total_bytes, max_bytes } = range;
        if total_bytes > max_bytes {
            return Err(StoreError::TooLarge { total: total_bytes, max: max_bytes });
        }
        let claim = self.claims.claim(tenant, digest).ok_or(StoreError::UploadBusy(digest))?;
        if let Some(size_bytes) = self.complete(tenant, digest).await? {
            return Ok(UploadState::Complete { size_bytes });
        }
        self.check_artifact_quota(tenant, digest, total_bytes).await?;
        let path = self.folder.part(tenant, digest);
        let part = blocking(move || Part::open(path, claim, total_bytes)).await?;
        if part.len() != offset {
            return Err(StoreError::WrongOffset { expected: part.len(), given: offset });
        }
        let part = receive(part, total_bytes, bytes).await?;
        if part.len() < total_bytes {
            return Ok(UploadState::Partial { offset: part.len() });
        }
        // A task of its own, because a caller that leaves now has sent all it had to.
        let finish = Arc::clone(self).finish_upload(actor.clone(), tenant.clone(), digest, part);
        joined(tokio::spawn(finish)).await
    }

    /// Checks that an artifact of `more` bytes finds room beside what the tenant has, parts of other uploads
    /// included.
    async fn check_artifact_quota(
        &self,
        tenant: &TenantName,
        digest: Digest,
        more: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.snapshot().await?;
        let quotas = crate::tenant::get(&mut tx, tenant).await?.quotas;
        let Some(limit) = quotas.artifact_bytes else { return Ok(()) };
        let stored: Option<i64> =
            sqlx::query_scalar("SELECT CAST(SUM(size_bytes) AS BIGINT) FROM artifacts WHERE tenant = $1")
                .bind(tenant.as_str())
                .fetch_one(&mut *tx)
                .await?;
        let stored = u64::try_from(stored.unwrap_or_default()).unwrap_or_default();
        drop(tx);
        let own = self.folder.part(tenant, digest);
        let parts = blocking(move || part::bytes_beside(&own)).await?;
        if stored.saturating_add(parts).saturating_add(more) > limit {
            return Err(StoreError::QuotaExceeded { quota: "artifact_bytes", limit });
        }
        Ok(())
    }

    /// The length of the artifact, if this tenant has it with all its bytes. If they were lost or
    /// cut off, by a damaged disk or a backup that left them out, they can be uploaded again.
    async fn complete(&self, tenant: &TenantName, digest: Digest) -> Result<Option<u64>, StoreError> {
        let Some(size_bytes) = self.touch_artifact(tenant, digest).await? else { return Ok(None) };
        if self.blobs.is_whole(digest, size_bytes).await? {
            return Ok(Some(size_bytes));
        }
        tracing::warn!(%tenant, %digest, "the bytes of an artifact are lost and must be uploaded again");
        Ok(None)
    }

    async fn finish_upload(
        self: Arc<Self>,
        actor: Actor,
        tenant: TenantName,
        digest: Digest,
        part: Part,
    ) -> Result<UploadState, StoreError> {
        let part = blocking(move || part.verify(digest)).await?;
        let (path, size_bytes) = (self.blobs.path(digest), part.len());
        let artifact = Artifact { digest, size_bytes, created_at: now(), path };
        let blob = artifact.path.clone();
        let _gate = self.blobs.enter(digest).await;
        self.blobs.send(digest, part.path(), size_bytes).await?;
        let _claim = blocking(move || part.publish(&blob)).await?;
        self.blobs.keep(digest, size_bytes).await?;
        self.record_artifact(&actor, &tenant, artifact).await?;
        Ok(UploadState::Complete { size_bytes })
    }
}

/// Writes what comes to the part, and syncs it, also if not all comes.
async fn receive(
    mut part: Part,
    total_bytes: u64,
    bytes: impl Stream<Item = io::Result<Bytes>> + Send,
) -> Result<Part, StoreError> {
    let mut bytes = pin!(bytes);
    let mut received = part.len();
    let mut gathered = Vec::new();
    let mut gathered_bytes = 0;
    let end = loop {
        match bytes.next().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(StoreError::Interrupted(error)),
            Some(Ok(chunk)) => {
                received += chunk.len() as u64;
                if received > total_bytes {
                    break Err(StoreError::TooManyBytes(total_bytes));
                }
                gathered_bytes += chunk.len();
                gathered.push(chunk);
            }
        }
        if gathered_bytes >= WRITE_BYTES {
            let chunks = std::mem::take(&mut gathered);
            gathered_bytes = 0;
            part = blocking(move || part.write(&chunks)).await?;
        }
    };
    let part = blocking(move || part.write(&gathered)?.sync()).await?;
    end.map(|()| part)
}
