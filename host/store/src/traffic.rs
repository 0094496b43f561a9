//! Traffic splits: which revisions take the calls now, which did before, and the way back.

use modelet_types::{FunctionName, TenantName, TrafficSplit};
use sqlx::Row as _;

use crate::change::{self, Action, States};
use crate::database::{Tx, json, now, signed, to_json};
use crate::{
    Actor, Function, PendingActivation, Precondition, Store, StoreError, approval, function, request,
    revision, secret,
};

impl Store {
    /// Divides a function's calls anew, or asks a second person for it, where that is needed. The same split
    /// again changes nothing, and neither does one that waits already.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::NoRevision`], [`StoreError::RevisionLacksSecret`],
    /// [`StoreError::Changed`], or if the metastore fails.
    pub async fn set_traffic(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        name: &FunctionName,
        split: TrafficSplit,
        precondition: &Precondition,
    ) -> Result<Function, StoreError> {
        let mut tx = self.database.write().await?;
        let function = function::get(&mut tx, tenant, name).await?;
        precondition.check(function.tag())?;
        let waits = |pending: &PendingActivation| pending.traffic == split;
        if function.traffic == split || function.pending.as_ref().is_some_and(waits) {
            return Ok(function);
        }
        check(&mut tx, tenant, name, &split).await?;
        set_or_ask(&mut tx, actor, tenant, &function, &split).await?;
        commit(tx, tenant, name).await
    }

    /// Goes back to the traffic split before the present one. Again: to the one before that. A second person is
    /// asked only for one that had no calls any more when the function began to need one: what a second person has
    /// approved, or found there, calls can be given back to at once.
    ///
    /// A split that names a revision deleted since is passed over.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::NothingToRollBack`], [`StoreError::RevisionLacksSecret`],
    /// [`StoreError::Changed`], [`StoreError::Repeated`], or if the metastore fails.
    pub async fn rollback(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        name: &FunctionName,
        precondition: &Precondition,
    ) -> Result<Function, StoreError> {
        let mut tx = self.database.write().await?;
        request::check(&mut tx, tenant, actor).await?;
        let function = function::get(&mut tx, tenant, name).await?;
        precondition.check(function.tag())?;
        let Earlier { id, split, after } = earlier(&mut tx, tenant, &function)
            .await?
            .ok_or_else(|| StoreError::NothingToRollBack(name.clone()))?;
        check(&mut tx, tenant, name, &split).await?;
        if function.approval_since.is_some_and(|since| after < signed(since)) {
            approval::ask(&mut tx, actor, tenant, &function, &split).await?;
            request::done(&mut tx, tenant, actor, &function::subject(name)).await?;
            return commit(tx, tenant, name).await;
        }
        let states = States { before: Some(&function.traffic), after: Some(&split) };
        let version =
            change::record(&mut tx, tenant, actor, Action::TrafficRollBack, &subject(name), states).await?;
        point_at(&mut tx, tenant, name, id).await?;
        function::set_version(&mut tx, tenant, name, version).await?;
        request::done(&mut tx, tenant, actor, &function::subject(name)).await?;
        commit(tx, tenant, name).await
    }
}

/// Checks that the revisions of a split are there and have their secrets.
pub(crate) async fn check(
    tx: &mut Tx,
    tenant: &TenantName,
    name: &FunctionName,
    split: &TrafficSplit,
) -> Result<(), StoreError> {
    for share in split.shares() {
        let revision = revision::get(tx, tenant, name, share.revision).await?;
        secret::check_revision(tx, tenant, &revision).await?;
    }
    Ok(())
}

/// Gives a function a new traffic split, whose revisions are known to exist, unless that needs a second person:
/// then it waits for one.
pub(crate) async fn set_or_ask(
    tx: &mut Tx,
    actor: &Actor,
    tenant: &TenantName,
    function: &Function,
    split: &TrafficSplit,
) -> Result<(), StoreError> {
    if function.approval_since.is_some() {
        approval::ask(tx, actor, tenant, function, split).await
    } else {
        set(tx, actor, tenant, &function.name, split).await
    }
}

/// Gives a function a new traffic split, whose revisions are known to exist. What waited for a second person
/// waits no more.
pub(crate) async fn set(
    tx: &mut Tx,
    actor: &Actor,
    tenant: &TenantName,
    name: &FunctionName,
    split: &TrafficSplit,
) -> Result<(), StoreError> {
    let function = function::get(tx, tenant, name).await?;
    let previous = present(tx, tenant, name).await?;
    let states = States { before: Some(&function.traffic), after: Some(split) };
    // The change's id is the split's: both are made here, and neither is ever given again.
    let id = change::record(tx, tenant, actor, Action::TrafficSet, &subject(name), states).await?;
    sqlx::query(
        "INSERT INTO splits (tenant, function, id, previous, shares, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(id)
    .bind(previous)
    .bind(to_json(split))
    .bind(now().as_microsecond())
    .execute(&mut **tx)
    .await?;
    point_at(tx, tenant, name, id).await?;
    approval::set(tx, tenant, name, None).await?;
    function::set_version(tx, tenant, name, id).await
}

/// How the record of changes names a function's split.
fn subject(name: &FunctionName) -> String {
    format!("{}/traffic", function::subject(name))
}

pub(crate) async fn commit(
    mut tx: Tx,
    tenant: &TenantName,
    name: &FunctionName,
) -> Result<Function, StoreError> {
    let changed = function::get(&mut tx, tenant, name).await?;
    fail::fail_point!("store::traffic::recorded");
    tx.commit().await?;
    fail::fail_point!("store::traffic::committed");
    Ok(changed)
}

/// The id of a function's present split, if it ever had one.
async fn present(tx: &mut Tx, tenant: &TenantName, name: &FunctionName) -> Result<Option<i64>, StoreError> {
    let id = sqlx::query_scalar("SELECT split FROM functions WHERE tenant = $1 AND name = $2")
        .bind(tenant.as_str())
        .bind(name.as_str())
        .fetch_one(&mut **tx)
        .await?;
    Ok(id)
}

async fn point_at(tx: &mut Tx, tenant: &TenantName, name: &FunctionName, id: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE functions SET split = $1 WHERE tenant = $2 AND name = $3")
        .bind(id)
        .bind(tenant.as_str())
        .bind(name.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A split that can be rolled back to.
struct Earlier {
    id: i64,
    split: TrafficSplit,
    /// The split that took its place.
    after: i64,
}

/// The nearest earlier split that can be had again and differs from the present one.
async fn earlier(
    tx: &mut Tx,
    tenant: &TenantName,
    function: &Function,
) -> Result<Option<Earlier>, StoreError> {
    let mut next = present(tx, tenant, &function.name).await?;
    let mut after = next.unwrap_or_default();
    while let Some(id) = next {
        let row = sqlx::query(
            "SELECT previous, shares FROM splits WHERE tenant = $1 AND function = $2 AND id = $3",
        )
        .bind(tenant.as_str())
        .bind(function.name.as_str())
        .bind(id)
        .fetch_one(&mut **tx)
        .await?;
        let split: TrafficSplit = json(&row, "shares")?;
        if split != function.traffic && whole(tx, tenant, &function.name, &split).await? {
            return Ok(Some(Earlier { id, split, after }));
        }
        after = id;
        next = row.try_get("previous")?;
    }
    Ok(None)
}

/// Whether all revisions of the split still exist.
async fn whole(
    tx: &mut Tx,
    tenant: &TenantName,
    name: &FunctionName,
    split: &TrafficSplit,
) -> Result<bool, StoreError> {
    for share in split.shares() {
        if revision::find(tx, tenant, name, share.revision).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
