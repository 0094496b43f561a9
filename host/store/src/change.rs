//! The record of changes. Every method of the store that changes a tenant's data writes one, in
//! the transaction of the change itself, so that none is missing and none is invented.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use modelet_types::{KeyId, TenantName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row as _;

use crate::database::{Row, Tx, next_number, signed, time, unsigned};
use crate::{Store, StoreError};

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(Cow<'static, str>);

impl Actor {
    /// Whoever reaches a host that asks for no key: those on the same machine.
    pub const LOCAL: Self = Self(Cow::Borrowed("local"));

    /// Whoever has a key.
    pub fn key(id: KeyId) -> Self {
        Self(format!("key/{id}").into())
    }

    /// The host itself, doing `job`.
    pub fn host(job: &str) -> Self {
        Self(format!("host/{job}").into())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One change of a tenant's data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its place in the tenant's sequence, which has no gaps; 1 is the first.
    pub id: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    pub actor: Actor,
    /// What was done, such as `revision.create`.
    pub action: String,
    /// What it was done to, such as `functions/digits/revisions/3`.
    pub subject: String,
    /// The subject's state before; absent if it was not there.
    pub before: Option<Value>,
    /// The subject's state after; absent if it is gone.
    pub after: Option<Value>,
}

/// Adds a change to the record and gives its id.
pub(crate) async fn record<T: Serialize>(
    tx: &mut Tx,
    tenant: &TenantName,
    actor: &Actor,
    action: Action,
    subject: &str,
    states: States<'_, T>,
) -> Result<i64, StoreError> {
    let id = next_number(tx, tenant, "changes").await?;
    sqlx::query(
        "INSERT INTO changes (tenant, id, at, actor, action, subject, before_json, after_json)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(tenant.as_str())
    .bind(id)
    .bind(Timestamp::now().as_microsecond())
    .bind(actor.0.as_ref())
    .bind(action.as_str())
    .bind(subject)
    .bind(states.before.map(crate::database::to_json))
    .bind(states.after.map(crate::database::to_json))
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// A subject before and after a change.
pub(crate) struct States<'a, T> {
    pub(crate) before: Option<&'a T>,
    pub(crate) after: Option<&'a T>,
}

/// What can be done.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    ArtifactUpload,
    ArtifactRemove,
    FunctionCreate,
    FunctionDelete,
    RevisionCreate,
    RevisionDelete,
    TrafficSet,
    TrafficRollBack,
    SecretSet,
    SecretDelete,
    TenantCreate,
    TenantSetTrust,
    TenantSetPlan,
    TenantSetQuotas,
    TenantDelete,
    KeyCreate,
    KeyRotate,
    KeyRevoke,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ArtifactUpload => "artifact.upload",
            Self::ArtifactRemove => "artifact.remove",
            Self::FunctionCreate => "function.create",
            Self::FunctionDelete => "function.delete",
            Self::RevisionCreate => "revision.create",
            Self::RevisionDelete => "revision.delete",
            Self::TrafficSet => "traffic.set",
            Self::TrafficRollBack => "traffic.roll_back",
            Self::SecretSet => "secret.set",
            Self::SecretDelete => "secret.delete",
            Self::TenantCreate => "tenant.create",
            Self::TenantSetTrust => "tenant.set_trust",
            Self::TenantSetPlan => "tenant.set_plan",
            Self::TenantSetQuotas => "tenant.set_quotas",
            Self::TenantDelete => "tenant.delete",
            Self::KeyCreate => "key.create",
            Self::KeyRotate => "key.rotate",
            Self::KeyRevoke => "key.revoke",
        }
    }
}

impl Store {
    /// At most `limit` changes of a tenant that come after the one named, oldest first. 0 comes
    /// before all.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn changes(
        &self,
        tenant: &TenantName,
        after_id: u64,
        limit: u32,
    ) -> Result<Vec<Change>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, at, actor, action, subject, before_json, after_json FROM changes
             WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(signed(after_id))
        .bind(i64::from(limit))
        .fetch_all(self.database.reader())
        .await?;
        rows.iter().map(from_row).collect()
    }
}

/// Reads who did something.
pub(crate) fn actor(row: &Row, column: &str) -> Result<Actor, StoreError> {
    let text: String = row.try_get(column)?;
    Ok(Actor(text.into()))
}

fn from_row(row: &Row) -> Result<Change, StoreError> {
    let state = |column: &str| {
        let text: Option<&str> = row.try_get(column)?;
        text.map(serde_json::from_str).transpose().map_err(StoreError::damaged(column))
    };
    Ok(Change {
        id: unsigned(row, "id")?,
        at: time(row, "at")?,
        actor: actor(row, "actor")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        before: state("before_json")?,
        after: state("after_json")?,
    })
}
