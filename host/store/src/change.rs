//! The record of changes. Every method of the store that changes a tenant's data writes one, in
//! the transaction of the change itself, so that none is missing and none is invented. `chain.rs` ties each to
//! the one before.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use modelet_types::{Digest, KeyId, TenantName};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::Row as _;

use crate::chain::{self, Follower, Link};
use crate::database::{Connection, Row, Tx, last_of, next_number, signed, time, unsigned};
use crate::{Anchor, PublicKey, Request, Store, StoreError, forget};

/// Who made a change, from where, and with which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    name: Cow<'static, str>,
    origin: Option<IpAddr>,
    request: Option<Request>,
}

impl Actor {
    /// Whoever reaches a host that asks for no key: those on the same machine.
    pub const LOCAL: Self = Self { name: Cow::Borrowed("local"), origin: None, request: None };

    /// Whoever has a key.
    pub fn key(id: KeyId) -> Self {
        Self { name: format!("{KEY}{id}").into(), ..Self::LOCAL }
    }

    /// The host itself, doing `job`.
    pub fn host(job: &str) -> Self {
        Self { name: format!("host/{job}").into(), ..Self::LOCAL }
    }

    /// Whoever is written down by this name.
    pub(crate) fn named(name: String) -> Self {
        Self { name: name.into(), ..Self::LOCAL }
    }

    /// The same, asking from this address.
    #[must_use]
    pub fn from(self, origin: Option<IpAddr>) -> Self {
        Self { origin, ..self }
    }

    /// The same, with a request that is done once however often it comes.
    #[must_use]
    pub fn with_request(self, request: Option<Request>) -> Self {
        Self { request, ..self }
    }

    /// The request, if its sender said which it is.
    pub(crate) fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// As it is shown: the name alone.
impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
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
    /// The address from which it was asked for; absent if the host did it by itself.
    pub origin: Option<String>,
    /// What was done, such as `revision.create`.
    pub action: String,
    /// What it was done to, such as `functions/digits/revisions/3`.
    pub subject: String,
    /// The subject's state before; absent if it was not there.
    pub before: Option<State>,
    /// The subject's state after; absent if it is gone.
    pub after: Option<State>,
    /// What chains it to the change before it.
    pub hash: Digest,
}

/// A state as it was recorded, to the letter: that is what is hashed.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct State(Box<RawValue>);

impl State {
    /// What it says.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.0.get()).expect("it was read as JSON")
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// The last change of a tenant: whoever remembers it can tell later whether anything before it was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainHead {
    /// Its id; 0 if there is no change.
    pub id: u64,
    /// Its hash.
    pub hash: Digest,
}

/// The sequence of a tenant's changes.
const SEQUENCE: &str = "changes";

/// How an actor is named that is a key.
const KEY: &str = "key/";

/// The id of the key that has this name as an actor.
pub(crate) fn key_of(actor: &str) -> Option<&str> {
    actor.strip_prefix(KEY)
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
    let id = next_number(tx, tenant, SEQUENCE).await?;
    let previous = hash_of(tx, tenant, id - 1).await?;
    let at = Timestamp::now().as_microsecond();
    let origin = actor.origin.map(|address| address.to_string());
    let before = states.before.map(crate::database::to_json);
    let after = states.after.map(crate::database::to_json);
    let link = Link {
        id,
        at,
        actor: &actor.name,
        origin: origin.as_deref(),
        action: action.as_str(),
        subject,
        before: before.as_deref(),
        after: after.as_deref(),
    };
    let hash = link.hash(previous).to_hex();
    sqlx::query(
        "INSERT INTO changes (tenant, id, at, actor, origin, action, subject, before_json, after_json, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(tenant.as_str())
    .bind(id)
    .bind(at)
    .bind(actor.name.as_ref())
    .bind(&origin)
    .bind(action.as_str())
    .bind(subject)
    .bind(&before)
    .bind(&after)
    .bind(hash)
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// The id that the next change of a tenant gets in this transaction.
pub(crate) async fn next_id(tx: &mut Tx, tenant: &TenantName) -> Result<u64, StoreError> {
    Ok(last_of(tx, tenant.as_str(), SEQUENCE).await?.unsigned_abs() + 1)
}

/// The hash of a tenant's change; that of 0 is what the first is chained to.
async fn hash_of(tx: &mut Tx, tenant: &TenantName, id: i64) -> Result<Digest, StoreError> {
    if id == 0 {
        return Ok(chain::genesis(tenant));
    }
    let row = sqlx::query("SELECT hash FROM changes WHERE tenant = $1 AND id = $2")
        .bind(tenant.as_str())
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    // A change that somebody took out is found by whoever verifies; it must not end all work.
    let Some(row) = row else { return Ok(chain::genesis(tenant)) };
    stored_hash(&row)
}

pub(crate) fn stored_hash(row: &Row) -> Result<Digest, StoreError> {
    let text: Option<&str> = row.try_get("hash")?;
    let hash = text.and_then(Digest::from_hex);
    hash.ok_or_else(|| StoreError::damaged("changes.hash")("it is no hash".to_owned()))
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
    FunctionSetQuotas,
    FunctionSetApproval,
    FunctionDelete,
    RevisionCreate,
    RevisionDelete,
    TrafficSet,
    TrafficRollBack,
    ActivationRequest,
    ActivationApprove,
    ActivationReject,
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
    ChangesForget,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ArtifactUpload => "artifact.upload",
            Self::ArtifactRemove => "artifact.remove",
            Self::FunctionCreate => "function.create",
            Self::FunctionSetQuotas => "function.set_quotas",
            Self::FunctionSetApproval => "function.set_approval",
            Self::FunctionDelete => "function.delete",
            Self::RevisionCreate => "revision.create",
            Self::RevisionDelete => "revision.delete",
            Self::TrafficSet => "traffic.set",
            Self::TrafficRollBack => "traffic.roll_back",
            Self::ActivationRequest => "activation.request",
            Self::ActivationApprove => "activation.approve",
            Self::ActivationReject => "activation.reject",
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
            Self::ChangesForget => forget::ACTION,
        }
    }
}

/// Why the changes of a tenant are not those that were recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainBreak {
    /// The first change that is not right.
    pub id: u64,
    /// What is wrong with it.
    pub reason: Cow<'static, str>,
}

/// What the changes of a tenant are that are as they were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last of them.
    pub last: ChainHead,
    /// Up to where changes were forgotten, but for the first; `None` if all are there.
    pub checkpoint: Option<Anchor>,
}

/// Changes that are read at once.
const PAGE: u32 = 1_000;

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
        let mut connection = self.database.reader().acquire().await?;
        rows_after(&mut connection, tenant, after_id, limit).await?.iter().map(from_row).collect()
    }

    /// Looks whether the changes of a tenant are those that were recorded: without a gap from the first to
    /// the last that was ever made, each with the hash that its fields and the change before it give; and
    /// whether what is known of them is so. A gap behind the first is right if one of the keys `trusted` has signed
    /// that those changes were forgotten.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn verify_changes(
        &self,
        tenant: &TenantName,
        known: &[ChainHead],
        trusted: &[PublicKey],
    ) -> Result<Result<Verified, ChainBreak>, StoreError> {
        // One state of all: a change that is made, or forgotten, meanwhile must not look like one that is missing.
        let mut tx = self.database.snapshot().await?;
        let checkpoint = match forget::checkpoint(&mut tx, tenant, trusted).await? {
            Ok(checkpoint) => checkpoint,
            Err(broken) => return Ok(Err(broken)),
        };
        let begun = Follower::begin(tenant, checkpoint.as_ref().map(Anchor::change), known.iter().copied());
        let mut follower = match begun {
            Ok(follower) => follower,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut after = 0;
        loop {
            let rows = rows_after(&mut tx, tenant, after, PAGE).await?;
            for row in &rows {
                let link = link_from(row)?;
                after = link.id.unsigned_abs();
                if let Err(broken) = follower.next(&link, row.try_get("hash")?) {
                    return Ok(Err(broken));
                }
            }
            if rows.len() < PAGE as usize {
                break;
            }
        }
        let made = last_of(&mut tx, tenant.as_str(), SEQUENCE).await?;
        let last = follower.end(made.unsigned_abs());
        Ok(last.map(|last| Verified { last, checkpoint }))
    }

    /// Whether a tenant's change is there with this hash.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn has_change(&self, tenant: &TenantName, change: ChainHead) -> Result<bool, StoreError> {
        let found = sqlx::query("SELECT id FROM changes WHERE tenant = $1 AND id = $2 AND hash = $3")
            .bind(tenant.as_str())
            .bind(signed(change.id))
            .bind(change.hash.to_hex())
            .fetch_optional(self.database.reader())
            .await?;
        Ok(found.is_some())
    }

    /// The last change of every tenant, as far as it can be read.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn chain_heads(&self) -> Result<Vec<(TenantName, ChainHead)>, StoreError> {
        let rows = sqlx::query(
            "SELECT changes.tenant, changes.id, changes.hash FROM changes
             JOIN (SELECT tenant, MAX(id) AS id FROM changes GROUP BY tenant) AS last
             ON changes.tenant = last.tenant AND changes.id = last.id",
        )
        .fetch_all(self.database.reader())
        .await?;
        let head = |row: &Row| {
            let head = ChainHead { id: unsigned(row, "id")?, hash: stored_hash(row)? };
            Ok::<_, StoreError>((crate::database::parsed(row, "tenant")?, head))
        };
        // A row that was touched must not keep those of other tenants from being signed.
        let readable = |row: &Row| {
            let tenant = row.try_get::<&str, _>("tenant").unwrap_or_default();
            let report = |error: &StoreError| {
                tracing::error!(
                    tenant,
                    error = error as &dyn std::error::Error,
                    "the last change cannot be read"
                );
            };
            head(row).inspect_err(report).ok()
        };
        Ok(rows.iter().filter_map(readable).collect())
    }

    /// Chains the changes that a host before wrote without hashes.
    pub(crate) async fn chain_old_changes(&self) -> Result<(), StoreError> {
        let rows = sqlx::query("SELECT DISTINCT tenant FROM changes WHERE hash IS NULL")
            .fetch_all(self.database.reader())
            .await?;
        for row in &rows {
            let tenant: TenantName = crate::database::parsed(row, "tenant")?;
            let mut tx = self.database.write().await?;
            let old = sqlx::query(
                "SELECT id, at, actor, origin, action, subject, before_json, after_json, hash FROM changes
                 WHERE tenant = $1 AND hash IS NULL ORDER BY id",
            )
            .bind(tenant.as_str())
            .fetch_all(&mut *tx)
            .await?;
            for row in &old {
                let link = link_from(row)?;
                let hash = link.hash(hash_of(&mut tx, &tenant, link.id - 1).await?);
                sqlx::query("UPDATE changes SET hash = $1 WHERE tenant = $2 AND id = $3")
                    .bind(hash.to_hex())
                    .bind(tenant.as_str())
                    .bind(link.id)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            tracing::info!(%tenant, changes = old.len(), "chained the changes of before");
        }
        Ok(())
    }
}

/// At most `limit` changes of a tenant after the one named.
async fn rows_after(
    connection: &mut Connection,
    tenant: &TenantName,
    after_id: u64,
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, at, actor, origin, action, subject, before_json, after_json, hash FROM changes
         WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(signed(after_id))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

fn link_from(row: &Row) -> Result<Link<'_>, StoreError> {
    Ok(Link {
        id: row.try_get("id")?,
        at: row.try_get("at")?,
        actor: row.try_get("actor")?,
        origin: row.try_get("origin")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        before: row.try_get("before_json")?,
        after: row.try_get("after_json")?,
    })
}

/// Reads who did something.
pub(crate) fn actor(row: &Row, column: &str) -> Result<Actor, StoreError> {
    Ok(Actor::named(row.try_get(column)?))
}

fn from_row(row: &Row) -> Result<Change, StoreError> {
    let state = |column: &str| {
        let text: Option<String> = row.try_get(column)?;
        let state = text.map(RawValue::from_string).transpose().map_err(StoreError::damaged(column))?;
        Ok::<_, StoreError>(state.map(State))
    };
    Ok(Change {
        id: unsigned(row, "id")?,
        at: time(row, "at")?,
        actor: actor(row, "actor")?,
        origin: row.try_get("origin")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        before: state("before_json")?,
        after: state("after_json")?,
        hash: stored_hash(row)?,
    })
}
