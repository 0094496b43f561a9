//! Garbage: artifacts that no revision names, blobs that no row names, uploads that nobody goes on
//! with. Rows go first and blobs after, so that a kill in between leaves a blob without a row,
//! which the next collection or the next start removes.

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use modelet_types::{Digest, TenantName};
use serde::Serialize;

use crate::artifact;
use crate::change::{self, Action, States};
use crate::database::{now, parsed};
use crate::store::blocking;
use crate::{Actor, Store, StoreError};

/// Rows removed in one transaction, so that a deploy never waits long for a collection.
const BATCH: i64 = 256;

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Artifacts, counted per tenant.
    pub artifacts: u64,
    /// Blobs, which tenants may have shared.
    pub blobs: u64,
    /// Uploads that had not arrived whole.
    pub uploads: u64,
    /// The bytes of both.
    pub bytes: u64,
}

impl Store {
    /// Removes artifacts that none of their tenant's revisions names and that were not uploaded,
    /// asked for or let go within `grace`; then blobs that no tenant has any more; and uploads to
    /// which nothing was added within `grace`.
    ///
    /// # Errors
    /// If the metastore or the file system fails. What was removed until then stays removed.
    pub async fn collect_garbage(&self, grace: Duration) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        while self.remove_artifacts(grace, &mut collected).await? {}
        fail::fail_point!("store::garbage::committed");
        // A bucket that is away keeps nothing else from being removed.
        let swept = self.sweep_blobs(&mut collected).await;
        self.sweep_uploads(grace, &mut collected).await?;
        self.forget_requests().await?;
        swept.map(|()| collected)
    }

    /// Removes one batch of rows, and says whether there may be more.
    async fn remove_artifacts(&self, grace: Duration, collected: &mut Collected) -> Result<bool, StoreError> {
        let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let before = now().as_microsecond().saturating_sub(grace);
        let actor = Actor::host("garbage-collection");
        let mut tx = self.database.write().await?;
        let rows = sqlx::query(
            "SELECT a.tenant, a.digest, a.size_bytes, a.created_at FROM artifacts a
             WHERE a.used_at <= $1 AND NOT EXISTS
                 (SELECT 1 FROM revision_artifacts r WHERE r.tenant = a.tenant AND r.digest = a.digest)
             ORDER BY a.tenant, a.digest LIMIT $2",
        )
        .bind(before)
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        for row in &rows {
            let tenant: TenantName = parsed(row, "tenant")?;
            let artifact = self.read_artifact(row)?;
            sqlx::query("DELETE FROM artifacts WHERE tenant = $1 AND digest = $2")
                .bind(tenant.as_str())
                .bind(artifact.digest.to_string())
                .execute(&mut *tx)
                .await?;
            let subject = artifact::subject(artifact.digest);
            let states = States { before: Some(&artifact), after: None };
            change::record(&mut tx, &tenant, &actor, Action::ArtifactRemove, &subject, states).await?;
        }
        fail::fail_point!("store::garbage::recorded");
        tx.commit().await?;
        collected.artifacts += rows.len() as u64;
        Ok(rows.len() as i64 == BATCH)
    }

    /// Removes blobs that no row names.
    pub(crate) async fn sweep_blobs(&self, collected: &mut Collected) -> Result<(), StoreError> {
        let blobs = self.blobs.list().await?;
        let named = self.digests().await?;
        for digest in blobs.into_iter().filter(|digest| !named.contains(digest)) {
            let _gate = self.blobs.enter(digest).await;
            // It may have been uploaded between the look at the table and the gate.
            let row = sqlx::query("SELECT 1 FROM artifacts WHERE digest = $1")
                .bind(digest.to_string())
                .fetch_optional(self.database.reader())
                .await?;
            if row.is_none() {
                collected.bytes += self.blobs.remove(digest).await?;
                collected.blobs += 1;
                fail::fail_point!("store::garbage::removed");
            }
        }
        Ok(())
    }

    /// Removes uploads to which nothing was added within `grace`, unless a request is at them.
    pub(crate) async fn sweep_uploads(
        &self,
        grace: Duration,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let folder = self.folder.uploads();
        for (tenant, digest, path) in blocking(move || stored_parts(&folder)).await? {
            let looked_at = path.clone();
            // Before it is claimed: a request that comes meanwhile for an upload that is not stale would
            // be told that somebody is at it.
            if !blocking(move || stale(&looked_at, grace)).await? {
                continue;
            }
            let Some(claim) = self.claims.claim(&tenant, digest) else { continue };
            let removed = blocking(move || {
                let bytes = if stale(&path, grace)? { Some(remove(&path)?) } else { None };
                drop(claim);
                Ok(bytes)
            });
            if let Some(bytes) = removed.await? {
                collected.bytes += bytes;
                collected.uploads += 1;
            }
        }
        Ok(())
    }
}

/// Every upload that has not arrived whole.
fn stored_parts(folder: &Path) -> Result<Vec<(TenantName, Digest, PathBuf)>, StoreError> {
    let mut parts = Vec::new();
    for tenant_folder in subfolders(folder)? {
        let name = tenant_folder.file_name();
        let Some(tenant) = name.to_str().and_then(|name| name.parse::<TenantName>().ok()) else { continue };
        for entry in entries(&tenant_folder.path())? {
            let name = entry.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(".part"));
            if let Some(digest) = hex.and_then(Digest::from_hex) {
                parts.push((tenant.clone(), digest, entry.path()));
            }
        }
    }
    Ok(parts)
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    std::fs::read_dir(folder).and_then(Iterator::collect).map_err(StoreError::io("list", folder))
}

fn subfolders(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let mut found = entries(folder)?;
    found.retain(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(found)
}

/// Whether nothing was added to the part within `grace`; not if it is gone meanwhile.
fn stale(path: &Path, grace: Duration) -> Result<bool, StoreError> {
    match std::fs::metadata(path).and_then(|metadata| metadata.modified()) {
        // A time in the future, after the clock was set back, is recent.
        Ok(modified) => Ok(SystemTime::now().duration_since(modified).is_ok_and(|age| age >= grace)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Removes a file and says how long it was.
fn remove(path: &Path) -> Result<u64, StoreError> {
    let removed = || {
        let bytes = std::fs::symlink_metadata(path)?.len();
        std::fs::remove_file(path)?;
        Ok(bytes)
    };
    removed().map_err(StoreError::io("remove", path))
}
