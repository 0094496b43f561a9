//! Activations that need a second person: asked for by one, and made when another approves.
//!
//! A person is a key. Keys that one key has made, by itself or through others, are the same person's.

use std::collections::HashSet;

use jiff::Timestamp;
use modelet_types::{FunctionName, TenantName, TrafficSplit};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::change::{self, Action, States};
use crate::database::{Row, Tx, json, now, to_json};
use crate::{Actor, Function, Store, StoreError, function, request, traffic};

/// A traffic split that waits for a second person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PendingActivation {
    /// The id of the change with which it was asked for.
    pub id: u64,
    /// What was asked for.
    pub traffic: TrafficSplit,
    /// Who asked for it, and cannot approve it.
    pub requested_by: Actor,
    /// When.
    pub requested_at: Timestamp,
}

/// The same as it is stored.
#[derive(Deserialize)]
struct Stored {
    id: u64,
    traffic: TrafficSplit,
    requested_by: String,
    requested_at: Timestamp,
}

impl Store {
    /// Makes the activation that waits.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::NotPending`], [`StoreError::SamePerson`],
    /// [`StoreError::NoRevision`], [`StoreError::RevisionLacksSecret`], [`StoreError::Repeated`], or if the
    /// metastore fails.
    pub async fn approve_activation(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        name: &FunctionName,
        id: u64,
    ) -> Result<Function, StoreError> {
        let mut tx = self.database.write().await?;
        request::check(&mut tx, tenant, actor).await?;
        let pending = waiting(&mut tx, tenant, name, id).await?;
        if is_same_person(&mut tx, &pending.requested_by, actor).await? {
            return Err(StoreError::SamePerson { asked: pending.requested_by.to_string() });
        }
        traffic::check(&mut tx, tenant, name, &pending.traffic).await?;
        record_end(&mut tx, actor, tenant, name, Action::ActivationApprove, &pending).await?;
        // Which also takes away what waited.
        traffic::set(&mut tx, actor, tenant, name, &pending.traffic).await?;
        request::done(&mut tx, tenant, actor, &function::subject(name)).await?;
        traffic::commit(tx, tenant, name).await
    }

    /// Does away with the activation that waits. Whoever asked for it may do so too.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::NotPending`], [`StoreError::Repeated`], or if the metastore
    /// fails.
    pub async fn reject_activation(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        name: &FunctionName,
        id: u64,
    ) -> Result<Function, StoreError> {
        let mut tx = self.database.write().await?;
        request::check(&mut tx, tenant, actor).await?;
        let pending = waiting(&mut tx, tenant, name, id).await?;
        let version = record_end(&mut tx, actor, tenant, name, Action::ActivationReject, &pending).await?;
        clear(&mut tx, tenant, name).await?;
        function::set_version(&mut tx, tenant, name, version).await?;
        request::done(&mut tx, tenant, actor, &function::subject(name)).await?;
        traffic::commit(tx, tenant, name).await
    }
}

/// Lets a split, whose revisions are known to exist, wait for a second person, in place of one that waited.
pub(crate) async fn ask(
    tx: &mut Tx,
    actor: &Actor,
    tenant: &TenantName,
    function: &Function,
    split: &TrafficSplit,
) -> Result<(), StoreError> {
    let name = &function.name;
    let states = States { before: Some(&function.traffic), after: Some(split) };
    let id = change::record(tx, tenant, actor, Action::ActivationRequest, &subject(name), states).await?;
    let pending = PendingActivation {
        id: id.unsigned_abs(),
        traffic: split.clone(),
        requested_by: actor.clone(),
        requested_at: now(),
    };
    sqlx::query("UPDATE functions SET pending = $1 WHERE tenant = $2 AND name = $3")
        .bind(to_json(&pending))
        .bind(tenant.as_str())
        .bind(name.as_str())
        .execute(&mut **tx)
        .await?;
    function::set_version(tx, tenant, name, id).await
}

/// Takes away what waits, if anything does.
pub(crate) async fn clear(tx: &mut Tx, tenant: &TenantName, name: &FunctionName) -> Result<(), StoreError> {
    sqlx::query("UPDATE functions SET pending = NULL WHERE tenant = $1 AND name = $2")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What waits, in a row of a function.
pub(crate) fn from_row(row: &Row) -> Result<Option<PendingActivation>, StoreError> {
    if row.try_get::<Option<&str>, _>("pending")?.is_none() {
        return Ok(None);
    }
    let Stored { id, traffic, requested_by, requested_at } = json(row, "pending")?;
    Ok(Some(PendingActivation { id, traffic, requested_by: Actor::named(requested_by), requested_at }))
}

/// How the record of changes names an activation.
fn subject(name: &FunctionName) -> String {
    format!("{}/activation", function::subject(name))
}

async fn waiting(
    tx: &mut Tx,
    tenant: &TenantName,
    name: &FunctionName,
    id: u64,
) -> Result<PendingActivation, StoreError> {
    let function = function::get(tx, tenant, name).await?;
    let pending = function.pending.filter(|pending| pending.id == id);
    pending.ok_or_else(|| StoreError::NotPending(name.clone(), id))
}

async fn record_end(
    tx: &mut Tx,
    actor: &Actor,
    tenant: &TenantName,
    name: &FunctionName,
    action: Action,
    pending: &PendingActivation,
) -> Result<i64, StoreError> {
    let states = States { before: Some(pending), after: None };
    change::record(tx, tenant, actor, action, &subject(name), states).await
}

/// Whether whoever asked and whoever approves are one person: with the same key, or with one that the key of
/// whoever asked has made.
async fn is_same_person(tx: &mut Tx, asked: &Actor, approves: &Actor) -> Result<bool, StoreError> {
    let mut maker = approves.to_string();
    // A key is made once; who writes to the metastore could still make a ring of them.
    let mut seen = HashSet::new();
    while maker != asked.to_string() {
        let Some(id) = maker.strip_prefix("key/") else { return Ok(false) };
        let made_by: Option<String> = sqlx::query_scalar("SELECT created_by FROM api_keys WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut **tx)
            .await?;
        match made_by {
            Some(by) if seen.insert(by.clone()) => maker = by,
            _ => return Ok(false),
        }
    }
    Ok(true)
}
