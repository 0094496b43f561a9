//! Activations that need a second person: asked for by one, and made when another approves.
//!
//! A person is a key, with those that it was rotated from or to. Keys that a person has made, or had made by keys
//! that they made, are the same person's.

use std::collections::HashSet;

use jiff::Timestamp;
use modelet_types::{FunctionName, KeyId, TenantName, TrafficSplit};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::change::{self, Action, States};
use crate::database::{Row, Tx, json, now, to_json};
use crate::{Actor, Function, Store, StoreError, api_key, function, request, traffic};

/// A traffic split that waits for a second person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PendingActivation {
    /// The id of the change with which it was asked for.
    pub id: u64,
    /// What was asked for.
    pub traffic: TrafficSplit,
    /// Who asked for it, and cannot approve it.
    pub requested_by: Actor,
    /// The person who that is, by the first of their keys: the key itself may be gone when somebody approves.
    pub person: String,
    /// When.
    pub requested_at: Timestamp,
}

/// The same as it is stored.
#[derive(Deserialize)]
struct Stored {
    id: u64,
    traffic: TrafficSplit,
    requested_by: String,
    person: String,
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
        check_second_person(&mut tx, &pending, actor).await?;
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
        set(&mut tx, tenant, name, None).await?;
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
        person: maker_and_person(tx, &actor.to_string()).await?.map_or(actor.to_string(), |found| found.1),
        requested_at: now(),
    };
    set(tx, tenant, name, Some(&pending)).await?;
    function::set_version(tx, tenant, name, id).await
}

/// Sets what waits, in place of what did.
pub(crate) async fn set(
    tx: &mut Tx,
    tenant: &TenantName,
    name: &FunctionName,
    pending: Option<&PendingActivation>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE functions SET pending = $1 WHERE tenant = $2 AND name = $3")
        .bind(pending.map(to_json))
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
    let Stored { id, traffic, requested_by, person, requested_at } = json(row, "pending")?;
    let requested_by = Actor::named(requested_by);
    Ok(Some(PendingActivation { id, traffic, requested_by, person, requested_at }))
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

/// Refuses whoever asked: with a key of theirs, or with one that such a key has made, by itself or through others.
async fn check_second_person(
    tx: &mut Tx,
    pending: &PendingActivation,
    approves: &Actor,
) -> Result<(), StoreError> {
    let same = || Err(StoreError::SamePerson { asked: pending.requested_by.to_string() });
    let mut actor = approves.to_string();
    // A key is made once; whoever writes to the metastore could still make a ring of them.
    let mut seen = HashSet::new();
    while seen.insert(actor.clone()) {
        if actor == pending.person {
            return same();
        }
        if change::key_of(&actor).is_none() {
            return Ok(());
        }
        let Some((maker, person)) = maker_and_person(tx, &actor).await? else {
            return Err(StoreError::UnknownPerson { actor });
        };
        // Who rotated a key has made nobody: what counts is who made the first of its line.
        actor = if person == actor { maker } else { person };
    }
    same()
}

/// Who made a key, and whose it is; of one that is gone, what the record of changes says.
async fn maker_and_person(tx: &mut Tx, actor: &str) -> Result<Option<(String, String)>, StoreError> {
    let Some(id) = change::key_of(actor).and_then(|id| id.parse::<KeyId>().ok()) else { return Ok(None) };
    let person = |first: Option<KeyId>| Actor::key(first.unwrap_or(id)).to_string();
    let row = sqlx::query("SELECT created_by, person FROM api_keys WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    if let Some(row) = row {
        return Ok(Some((row.try_get("created_by")?, person(api_key::first_of_line(&row)?))));
    }
    let recorded =
        "SELECT actor, after_json FROM changes WHERE action = 'key.create' AND subject = $1 LIMIT 1";
    let row = sqlx::query(recorded).bind(api_key::subject(id)).fetch_optional(&mut **tx).await?;
    let Some(row) = row else { return Ok(None) };
    let made: Made = json(&row, "after_json")?;
    Ok(Some((row.try_get("actor")?, person(made.person))))
}

/// What the record of changes says of a new key.
#[derive(Deserialize)]
struct Made {
    /// Not in records of before there were lines of keys.
    person: Option<KeyId>,
}
