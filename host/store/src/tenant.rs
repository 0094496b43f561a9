//! Tenants: who owns functions, artifacts and keys. A tenant's name is never given twice.

use jiff::Timestamp;
use modelet_types::{Digest, Quotas, TenantName, Trust};
use serde::Serialize;
use sqlx::Row as _;

use crate::change::{self, Action, Actor, States};
use crate::database::{Connection, Row, json, now, parsed, time, to_json};
use crate::{Page, Precondition, Store, StoreError, request};

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// How far the operator trusts it.
    pub trust: Trust,
    /// What it pays, by the name of a plan; `None`: the default.
    pub plan: Option<String>,
    /// The most that it may use.
    pub quotas: Quotas,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
}

impl Tenant {
    /// What tells what the operator says of the tenant from everything else that could be said.
    pub fn tag(&self) -> String {
        let said = (self.trust, &self.plan, &self.quotas);
        Digest::of(to_json(&said).as_bytes()).to_hex()[..TAG_DIGITS].to_owned()
    }
}

/// One thing that the operator says of a tenant.
#[derive(Clone, Debug)]
pub enum TenantSetting {
    /// How far it is trusted.
    Trust(Trust),
    /// What it pays, by the name of a plan.
    Plan(String),
    /// The most that it may use: all of its quotas.
    Quotas(Quotas),
}

const SUBJECT: &str = "tenant";
/// Enough of a digest that two different ones are not met.
const TAG_DIGITS: usize = 16;

impl Store {
    /// Tenants, by name.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn tenants(&self, page: &Page<TenantName>) -> Result<Vec<Tenant>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, trust, plan, quotas, created_at, created_by FROM tenants
             WHERE deleted_at IS NULL AND name > $1 ORDER BY name LIMIT $2",
        )
        .bind(page.after.as_ref().map_or("", TenantName::as_str))
        .bind(i64::from(page.limit))
        .fetch_all(self.database.reader())
        .await?;
        rows.iter().map(from_row).collect()
    }

    /// One tenant.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`], or if the metastore fails.
    pub async fn tenant(&self, name: &TenantName) -> Result<Tenant, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        get(&mut connection, name).await
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// [`StoreError::TenantNameTaken`], [`StoreError::Repeated`], or if the metastore fails.
    pub async fn create_tenant(
        &self,
        actor: &Actor,
        name: &TenantName,
        trust: Trust,
    ) -> Result<Tenant, StoreError> {
        // Not by the name, or the same key with another name would be another request's.
        let requests = TenantName::default_tenant();
        let mut tx = self.database.write().await?;
        request::check(&mut tx, &requests, actor).await?;
        let taken = sqlx::query("SELECT deleted_at FROM tenants WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(row) = taken {
            let was_deleted = row.try_get::<Option<i64>, _>("deleted_at")?.is_some();
            return Err(StoreError::TenantNameTaken { name: name.clone(), was_deleted });
        }
        let tenant = Tenant {
            name: name.clone(),
            trust,
            plan: None,
            quotas: Quotas::default(),
            created_at: now(),
            created_by: actor.clone(),
        };
        sqlx::query("INSERT INTO tenants (name, trust, created_at, created_by) VALUES ($1, $2, $3, $4)")
            .bind(name.as_str())
            .bind(trust.as_str())
            .bind(tenant.created_at.as_microsecond())
            .bind(actor.to_string())
            .execute(&mut *tx)
            .await?;
        let states = States { before: None, after: Some(&tenant) };
        change::record(&mut tx, name, actor, Action::TenantCreate, SUBJECT, states).await?;
        request::done(&mut tx, &requests, actor, SUBJECT).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    /// Makes the tenant of a host on which no tenants were made, if it was never there.
    pub(crate) async fn ensure_default_tenant(&self) -> Result<(), StoreError> {
        let name = TenantName::default_tenant();
        match self.create_tenant(&Actor::host("start"), &name, Trust::Trusted).await {
            Ok(_) | Err(StoreError::TenantNameTaken { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets what the operator says of a tenant, in place of what it was.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`], [`StoreError::Changed`], or if the metastore fails.
    pub async fn set_tenant(
        &self,
        actor: &Actor,
        name: &TenantName,
        setting: TenantSetting,
        precondition: &Precondition,
    ) -> Result<Tenant, StoreError> {
        let mut tx = self.database.write().await?;
        let before = get(&mut tx, name).await?;
        precondition.check(before.tag())?;
        let mut tenant = before.clone();
        let (statement, value, action) = match setting {
            TenantSetting::Trust(trust) => {
                tenant.trust = trust;
                let statement = "UPDATE tenants SET trust = $1 WHERE name = $2";
                (statement, trust.as_str().to_owned(), Action::TenantSetTrust)
            }
            TenantSetting::Plan(plan) => {
                tenant.plan = Some(plan.clone());
                ("UPDATE tenants SET plan = $1 WHERE name = $2", plan, Action::TenantSetPlan)
            }
            TenantSetting::Quotas(quotas) => {
                let value = to_json(&quotas);
                tenant.quotas = quotas;
                ("UPDATE tenants SET quotas = $1 WHERE name = $2", value, Action::TenantSetQuotas)
            }
        };
        sqlx::query(statement).bind(value).bind(name.as_str()).execute(&mut *tx).await?;
        let states = States { before: Some(&before), after: Some(&tenant) };
        change::record(&mut tx, name, actor, action, SUBJECT, states).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    /// Deletes a tenant that has no function, with its keys. Its name stays taken.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`], [`StoreError::TenantHasFunctions`], [`StoreError::Changed`], or if the
    /// metastore fails.
    pub async fn delete_tenant(
        &self,
        actor: &Actor,
        name: &TenantName,
        precondition: &Precondition,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        let tenant = get(&mut tx, name).await?;
        precondition.check(tenant.tag())?;
        let functions: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM functions WHERE tenant = $1")
            .bind(name.as_str())
            .fetch_one(&mut *tx)
            .await?;
        if functions > 0 {
            return Err(StoreError::TenantHasFunctions { name: name.clone(), functions });
        }
        sqlx::query("DELETE FROM api_keys WHERE tenant = $1").bind(name.as_str()).execute(&mut *tx).await?;
        sqlx::query("UPDATE tenants SET deleted_at = $1 WHERE name = $2")
            .bind(now().as_microsecond())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        let states = States { before: Some(&tenant), after: None };
        change::record(&mut tx, name, actor, Action::TenantDelete, SUBJECT, states).await?;
        Ok(tx.commit().await?)
    }
}

/// The tenant, which must be there.
pub(crate) async fn get(connection: &mut Connection, name: &TenantName) -> Result<Tenant, StoreError> {
    let row = sqlx::query(
        "SELECT name, trust, plan, quotas, created_at, created_by FROM tenants WHERE name = $1 AND deleted_at IS NULL",
    )
    .bind(name.as_str())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(from_row).transpose()?.ok_or_else(|| StoreError::NoTenant(name.clone()))
}

fn from_row(row: &Row) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        name: parsed(row, "name")?,
        trust: parsed(row, "trust")?,
        plan: row.try_get("plan")?,
        quotas: match row.try_get::<Option<&str>, _>("quotas")? {
            Some(_) => json(row, "quotas")?,
            None => Quotas::default(),
        },
        created_at: time(row, "created_at")?,
        created_by: change::actor(row, "created_by")?,
    })
}
