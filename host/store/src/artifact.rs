//! Which artifacts a tenant has. Known per tenant and digest: what another tenant uploaded is not
//! there, although the bytes underneath may be shared.

use std::collections::HashSet;
use std::path::PathBuf;

use jiff::Timestamp;
use modelet_types::{Digest, TenantName};
use serde::Serialize;

use crate::change::{self, Action, States};
use crate::database::{Connection, Row, Tx, now, parsed, signed, time, unsigned};
use crate::{Actor, HeldBlob, Store, StoreError};

/// A blob that a tenant has uploaded whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Artifact {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
    /// When this tenant first uploaded it.
    pub created_at: Timestamp,
    /// Where its bytes are, as long as [`Store::hold`] keeps them there. Read-only: other tenants may have the
    /// same file.
    #[serde(skip)]
    pub path: PathBuf,
}

impl Store {
    /// The artifact, if this tenant has it.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn artifact(
        &self,
        tenant: &TenantName,
        digest: Digest,
    ) -> Result<Option<Artifact>, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        self.find_artifact(&mut connection, tenant, digest).await
    }

    async fn find_artifact(
        &self,
        connection: &mut Connection,
        tenant: &TenantName,
        digest: Digest,
    ) -> Result<Option<Artifact>, StoreError> {
        let row = sqlx::query(
            "SELECT digest, size_bytes, created_at FROM artifacts WHERE tenant = $1 AND digest = $2",
        )
        .bind(tenant.as_str())
        .bind(digest.to_string())
        .fetch_optional(connection)
        .await?;
        row.map(|row| self.read_artifact(&row)).transpose()
    }

    /// All artifacts of a tenant, newest first.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn artifacts(&self, tenant: &TenantName) -> Result<Vec<Artifact>, StoreError> {
        let rows = sqlx::query(
            "SELECT digest, size_bytes, created_at FROM artifacts
             WHERE tenant = $1 ORDER BY created_at DESC, digest",
        )
        .bind(tenant.as_str())
        .fetch_all(self.database.reader())
        .await?;
        rows.iter().map(|row| self.read_artifact(row)).collect()
    }

    /// Has the bytes of an artifact on this host's disk until what this gives is dropped. They come from the
    /// bucket if they are only there, once for all who ask.
    ///
    /// # Errors
    /// - [`StoreError::BlobLost`], [`StoreError::BlobDamaged`]: they must be uploaded again.
    /// - [`StoreError::Bucket`]: it does not answer.
    pub async fn hold(&self, artifact: &Artifact) -> Result<HeldBlob, StoreError> {
        self.blobs.hold(artifact.digest, artifact.size_bytes).await
    }

    /// As [`Self::hold`], if the bytes are here. Asks neither the metastore nor the bucket.
    pub fn hold_present(&self, digest: Digest) -> Option<HeldBlob> {
        self.blobs.hold_present(digest)
    }

    /// The digests of all artifacts, whoever has them: for the host's own upkeep, and never for a
    /// tenant's eyes.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn digests(&self) -> Result<HashSet<Digest>, StoreError> {
        let rows =
            sqlx::query("SELECT DISTINCT digest FROM artifacts").fetch_all(self.database.reader()).await?;
        rows.iter().map(|row| parsed(row, "digest")).collect()
    }

    pub(crate) fn read_artifact(&self, row: &Row) -> Result<Artifact, StoreError> {
        let digest = parsed(row, "digest")?;
        Ok(Artifact {
            digest,
            size_bytes: unsigned(row, "size_bytes")?,
            created_at: time(row, "created_at")?,
            path: self.blobs.path(digest),
        })
    }

    /// Puts off the artifact's collection, since somebody is about to name it, and gives its length
    /// if this tenant has it. One statement, so that a collection cannot take it in between.
    pub(crate) async fn touch_artifact(
        &self,
        tenant: &TenantName,
        digest: Digest,
    ) -> Result<Option<u64>, StoreError> {
        let mut tx = self.database.write().await?;
        let row = sqlx::query(
            "UPDATE artifacts SET used_at = $1 WHERE tenant = $2 AND digest = $3 RETURNING size_bytes",
        )
        .bind(now().as_microsecond())
        .bind(tenant.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(|row| unsigned(&row, "size_bytes")).transpose()
    }

    /// Gives a tenant an artifact whose blob is in its place. The tenant may have it already, if the
    /// bytes had been lost.
    pub(crate) async fn record_artifact(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        mut artifact: Artifact,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        let before = self.find_artifact(&mut tx, tenant, artifact.digest).await?;
        if let Some(before) = &before {
            artifact.created_at = before.created_at;
        }
        sqlx::query(
            "INSERT INTO artifacts (tenant, digest, size_bytes, created_at, used_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant, digest)
             DO UPDATE SET size_bytes = excluded.size_bytes, used_at = excluded.used_at",
        )
        .bind(tenant.as_str())
        .bind(artifact.digest.to_string())
        .bind(signed(artifact.size_bytes))
        .bind(artifact.created_at.as_microsecond())
        .bind(now().as_microsecond())
        .execute(&mut *tx)
        .await?;
        let states = States { before: before.as_ref(), after: Some(&artifact) };
        change::record(&mut tx, tenant, actor, Action::ArtifactUpload, &subject(artifact.digest), states)
            .await?;
        fail::fail_point!("store::upload::recorded");
        tx.commit().await?;
        fail::fail_point!("store::upload::committed");
        Ok(())
    }
}

/// How the record of changes names an artifact.
pub(crate) fn subject(digest: Digest) -> String {
    format!("artifacts/{digest}")
}

/// Whether the tenant has the artifact, within a transaction.
pub(crate) async fn exists(tx: &mut Tx, tenant: &TenantName, digest: Digest) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM artifacts WHERE tenant = $1 AND digest = $2")
        .bind(tenant.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}
