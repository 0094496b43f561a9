//! Functions: the named things that own revisions and a traffic split.

use std::collections::HashSet;

use jiff::Timestamp;
use modelet_types::{FunctionName, InvocationQuotas, RevisionNumber, TenantName, TrafficSplit};
use serde::Serialize;
use sqlx::Row as _;

use crate::change::{self, Action, States};
use crate::database::{Connection, Row, Tx, json, now, parsed, signed, time, to_json, unsigned};
use crate::{Actor, Page, PendingActivation, Precondition, Revision, Store, StoreError, approval, revision};

/// A function, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Function {
    /// Its name, unique within the tenant.
    pub name: FunctionName,
    /// The id of the change that made it, which tells it from others that had its name before.
    pub id: u64,
    /// How its calls are divided. Empty: no revision is active.
    pub traffic: TrafficSplit,
    /// Its newest revision, active or not.
    pub latest: Option<RevisionNumber>,
    /// The id of the change that made it what it is: higher after every change, and not used again
    /// by a later function of the same name.
    pub version: u64,
    /// The most that its invocations may use.
    pub quotas: InvocationQuotas,
    /// The id of the change since which a change of its traffic needs a second person; `None`: it needs none.
    pub approval_since: Option<u64>,
    /// What waits for that person.
    pub pending: Option<PendingActivation>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// One thing that a function's owner says of it.
#[derive(Clone, Debug)]
pub enum FunctionSetting {
    /// The most that its invocations may use: all of its quotas.
    Quotas(InvocationQuotas),
    /// Whether a change of its traffic needs a second person.
    NeedsApproval(bool),
}

impl Function {
    /// What tells this state of the function from every other.
    pub fn tag(&self) -> String {
        self.version.to_string()
    }
}

/// One row of the routing table.
#[derive(Clone, Debug)]
pub struct Route {
    /// Whose function it is.
    pub tenant: TenantName,
    /// The function.
    pub function: Function,
    /// The revisions in its traffic split, in the split's order.
    pub revisions: Vec<Revision>,
}

/// The columns of a function, followed by what the caller wants of them.
macro_rules! select_functions {
    ($rest:literal) => {
        concat!(
            "SELECT f.tenant, f.name, f.id, f.version, f.quotas, f.approval_since, f.pending, f.created_at,
                    f.updated_at, s.shares,
                    (SELECT MAX(r.number) FROM revisions r
                     WHERE r.tenant = f.tenant AND r.function = f.name) AS latest
             FROM functions f
             LEFT JOIN splits s ON s.tenant = f.tenant AND s.function = f.name AND s.id = f.split ",
            $rest
        )
    };
}

impl Store {
    /// Functions of a tenant, by name.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn functions(
        &self,
        tenant: &TenantName,
        page: &Page<FunctionName>,
    ) -> Result<Vec<Function>, StoreError> {
        let rows =
            sqlx::query(select_functions!("WHERE f.tenant = $1 AND f.name > $2 ORDER BY f.name LIMIT $3"))
                .bind(tenant.as_str())
                // No name is empty.
                .bind(page.after.as_ref().map_or("", FunctionName::as_str))
                .bind(i64::from(page.limit))
                .fetch_all(self.database.reader())
                .await?;
        rows.iter().map(from_row).collect()
    }

    /// The function, if this tenant has it.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn function(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
    ) -> Result<Option<Function>, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        find(&mut connection, tenant, name).await
    }

    /// Every function of every tenant with the revisions that it calls, all of one moment.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn all_routes(&self) -> Result<Vec<Route>, StoreError> {
        let mut tx = self.database.snapshot().await?;
        let rows = sqlx::query(select_functions!("ORDER BY f.tenant, f.name")).fetch_all(&mut *tx).await?;
        let mut routes = Vec::with_capacity(rows.len());
        for row in &rows {
            let tenant: TenantName = parsed(row, "tenant")?;
            let function = from_row(row)?;
            let mut revisions = Vec::with_capacity(function.traffic.shares().len());
            for share in function.traffic.shares() {
                revisions.push(revision::get(&mut tx, &tenant, &function.name, share.revision).await?);
            }
            routes.push(Route { tenant, function, revisions });
        }
        Ok(routes)
    }

    /// The ids of all functions, with their tenants: for the host's own upkeep.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn function_ids(&self) -> Result<HashSet<(TenantName, u64)>, StoreError> {
        let rows = sqlx::query("SELECT tenant, id FROM functions").fetch_all(self.database.reader()).await?;
        rows.iter().map(|row| Ok((parsed(row, "tenant")?, unsigned(row, "id")?))).collect()
    }

    /// Sets what a function's owner says of it, in place of what it was. Without the need of a second person,
    /// nothing waits for one.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::Changed`], or if the metastore fails.
    pub async fn set_function(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        name: &FunctionName,
        setting: FunctionSetting,
        precondition: &Precondition,
    ) -> Result<Function, StoreError> {
        let mut tx = self.database.write().await?;
        let before = get(&mut tx, tenant, name).await?;
        precondition.check(before.tag())?;
        let mut after = before.clone();
        let action = match setting {
            FunctionSetting::Quotas(quotas) => {
                after.quotas = quotas;
                Action::FunctionSetQuotas
            }
            FunctionSetting::NeedsApproval(true) if before.approval_since.is_some() => return Ok(before),
            FunctionSetting::NeedsApproval(needed) => {
                let next = change::next_id(&mut tx, tenant).await?;
                after.approval_since = needed.then_some(next);
                after.pending = after.pending.filter(|_| needed);
                Action::FunctionSetApproval
            }
        };
        let states = States { before: Some(&before), after: Some(&after) };
        let version = change::record(&mut tx, tenant, actor, action, &subject(name), states).await?;
        sqlx::query("UPDATE functions SET quotas = $1, approval_since = $2 WHERE tenant = $3 AND name = $4")
            .bind(to_json(&after.quotas))
            .bind(after.approval_since.map(signed))
            .bind(tenant.as_str())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        approval::set(&mut tx, tenant, name, after.pending.as_ref()).await?;
        set_version(&mut tx, tenant, name, version).await?;
        let changed = get(&mut tx, tenant, name).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Removes a function with all its revisions and secrets, and gives what it was. Its revision numbers
    /// stay used.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::NeedsApproval`], [`StoreError::Changed`], or if the
    /// metastore fails.
    pub async fn delete_function(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        name: &FunctionName,
        precondition: &Precondition,
    ) -> Result<Function, StoreError> {
        let mut tx = self.database.write().await?;
        let function = get(&mut tx, tenant, name).await?;
        precondition.check(function.tag())?;
        if function.approval_since.is_some() {
            // Else one person could make it anew, with any traffic.
            return Err(StoreError::NeedsApproval(name.clone()));
        }
        revision::release_artifacts(&mut tx, tenant, name, None).await?;
        for statement in [
            "DELETE FROM secrets WHERE tenant = $1 AND function = $2",
            "DELETE FROM splits WHERE tenant = $1 AND function = $2",
            "DELETE FROM revisions WHERE tenant = $1 AND function = $2",
            "DELETE FROM functions WHERE tenant = $1 AND name = $2",
        ] {
            sqlx::query(statement).bind(tenant.as_str()).bind(name.as_str()).execute(&mut *tx).await?;
        }
        let states = States { before: Some(&function), after: None };
        change::record(&mut tx, tenant, actor, Action::FunctionDelete, &subject(name), states).await?;
        fail::fail_point!("store::function::deleted");
        tx.commit().await?;
        fail::fail_point!("store::function::committed");
        Ok(function)
    }
}

/// How the record of changes names a function.
pub(crate) fn subject(name: &FunctionName) -> String {
    format!("functions/{name}")
}

/// The function, if it is there.
pub(crate) async fn find(
    connection: &mut Connection,
    tenant: &TenantName,
    name: &FunctionName,
) -> Result<Option<Function>, StoreError> {
    let row = sqlx::query(select_functions!("WHERE f.tenant = $1 AND f.name = $2"))
        .bind(tenant.as_str())
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(from_row).transpose()
}

/// The function, which must be there.
pub(crate) async fn get(
    connection: &mut Connection,
    tenant: &TenantName,
    name: &FunctionName,
) -> Result<Function, StoreError> {
    find(connection, tenant, name).await?.ok_or_else(|| StoreError::NoFunction(name.clone()))
}

/// The function, which is made if it is not there.
pub(crate) async fn find_or_create(
    tx: &mut Tx,
    actor: &Actor,
    tenant: &TenantName,
    name: &FunctionName,
) -> Result<Function, StoreError> {
    if let Some(function) = find(tx, tenant, name).await? {
        return Ok(function);
    }
    create(tx, actor, tenant, name).await?;
    get(tx, tenant, name).await
}

/// Makes a function without revisions.
async fn create(
    tx: &mut Tx,
    actor: &Actor,
    tenant: &TenantName,
    name: &FunctionName,
) -> Result<(), StoreError> {
    // It may have been deleted since the request was let in.
    let quotas = crate::tenant::get(tx, tenant).await?.quotas;
    if let Some(limit) = quotas.functions {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM functions WHERE tenant = $1")
            .bind(tenant.as_str())
            .fetch_one(&mut **tx)
            .await?;
        if count >= i64::from(limit) {
            return Err(StoreError::QuotaExceeded { quota: "functions", limit: limit.into() });
        }
    }
    let states = States { before: None, after: Some(&serde_json::json!({ "name": name })) };
    let version = change::record(tx, tenant, actor, Action::FunctionCreate, &subject(name), states).await?;
    let at = now().as_microsecond();
    sqlx::query(
        "INSERT INTO functions (tenant, name, id, version, created_at, updated_at)
         VALUES ($1, $2, $3, $3, $4, $5)",
    )
    .bind(tenant.as_str())
    .bind(name.as_str())
    .bind(version)
    .bind(at)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Says that the change `version` made the function what it is.
pub(crate) async fn set_version(
    tx: &mut Tx,
    tenant: &TenantName,
    name: &FunctionName,
    version: i64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE functions SET version = $1, updated_at = $2 WHERE tenant = $3 AND name = $4")
        .bind(version)
        .bind(now().as_microsecond())
        .bind(tenant.as_str())
        .bind(name.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn from_row(row: &Row) -> Result<Function, StoreError> {
    let shares: Option<&str> = row.try_get("shares")?;
    let traffic =
        shares.map(serde_json::from_str).transpose().map_err(StoreError::damaged("splits.shares"))?;
    let latest = match row.try_get::<Option<i64>, _>("latest")? {
        Some(_) => Some(RevisionNumber(unsigned(row, "latest")?)),
        None => None,
    };
    Ok(Function {
        name: parsed(row, "name")?,
        id: unsigned(row, "id")?,
        traffic: traffic.unwrap_or_default(),
        latest,
        version: unsigned(row, "version")?,
        quotas: match row.try_get::<Option<&str>, _>("quotas")? {
            Some(_) => json(row, "quotas")?,
            None => InvocationQuotas::default(),
        },
        approval_since: match row.try_get::<Option<i64>, _>("approval_since")? {
            Some(_) => Some(unsigned(row, "approval_since")?),
            None => None,
        },
        pending: approval::from_row(row)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
