//! Requests that may be sent twice: what was made for one is found again by the key that its sender gave it,
//! and is not made again.
//!
//! The row is written in the transaction of the change, so that the key is known exactly if the change was
//! made. What was answered is not kept: it may have been a key.

use std::time::Duration;

use modelet_types::{Digest, TenantName};
use sqlx::Row as _;

use crate::database::{Tx, now};
use crate::{Actor, Store, StoreError};

/// How long a request is known.
pub const REQUEST_RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// A request that says which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The sender's key for it.
    pub key: Digest,
    /// What tells it from other requests: the digest of all that it asks for.
    pub fingerprint: Digest,
}

impl Store {
    /// Finds out before long work whether it was done for this very request.
    ///
    /// # Errors
    /// [`StoreError::Repeated`] if so, [`StoreError::KeyOfAnotherRequest`], or if the metastore fails.
    pub async fn check_request(&self, tenant: &TenantName, actor: &Actor) -> Result<(), StoreError> {
        let mut tx = self.database.snapshot().await?;
        check(&mut tx, tenant, actor).await
    }

    /// Forgets requests of long ago.
    pub(crate) async fn forget_requests(&self) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        sqlx::query("DELETE FROM requests WHERE at < $1").bind(long_ago()).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}

/// Requests of before this are not known any more.
fn long_ago() -> i64 {
    let retention = i64::try_from(REQUEST_RETENTION.as_micros()).unwrap_or(i64::MAX);
    now().as_microsecond().saturating_sub(retention)
}

/// Whether nothing was done yet for the request that the actor makes, if it says which it is.
pub(crate) async fn check(tx: &mut Tx, tenant: &TenantName, actor: &Actor) -> Result<(), StoreError> {
    let Some(Request { key, fingerprint }) = actor.request() else { return Ok(()) };
    let row = sqlx::query(
        "SELECT fingerprint, subject FROM requests
         WHERE tenant = $1 AND actor = $2 AND request = $3 AND at >= $4",
    )
    .bind(tenant.as_str())
    .bind(actor.to_string())
    .bind(key.to_hex())
    .bind(long_ago())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(()) };
    if row.try_get::<String, _>("fingerprint")? != fingerprint.to_hex() {
        return Err(StoreError::KeyOfAnotherRequest);
    }
    Err(StoreError::Repeated { subject: row.try_get("subject")? })
}

/// Writes down that `subject` was made or changed for the request.
pub(crate) async fn done(
    tx: &mut Tx,
    tenant: &TenantName,
    actor: &Actor,
    subject: &str,
) -> Result<(), StoreError> {
    let Some(Request { key, fingerprint }) = actor.request() else { return Ok(()) };
    sqlx::query(
        "INSERT INTO requests (tenant, actor, request, fingerprint, subject, at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant, actor, request) DO UPDATE SET
             fingerprint = excluded.fingerprint, subject = excluded.subject, at = excluded.at",
    )
    .bind(tenant.as_str())
    .bind(actor.to_string())
    .bind(key.to_hex())
    .bind(fingerprint.to_hex())
    .bind(subject)
    .bind(now().as_microsecond())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
