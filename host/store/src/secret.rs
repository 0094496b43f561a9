//! Secrets: set for a function by name, stored encrypted, read for its handlers alone.
//!
//! A revision that takes calls has every secret that its manifest names: one that is not set is found out
//! when the revision is made or given traffic, and one that is needed is not removed.

use jiff::Timestamp;
use modelet_types::{FunctionName, SecretName, SecretValue, Secrets, TenantName};
use serde::Serialize;
use sqlx::Row as _;

use crate::change::{self, Action, Actor, States};
use crate::database::{Connection, Row, Tx, now, parsed, time};
use crate::seal::SealedFor;
use crate::{Function, Revision, Store, StoreError, function, revision};

/// The most secrets of one function.
const MAX_SECRETS: usize = 64;

/// A secret that is set. Its value is not part of what is known about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Secret {
    /// Its name.
    pub name: SecretName,
    /// When it was last set.
    pub set_at: Timestamp,
    /// Who set it.
    pub set_by: Actor,
}

impl Store {
    /// The secrets of a function, by name.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], or if the metastore fails.
    pub async fn secrets(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
    ) -> Result<Vec<Secret>, StoreError> {
        let mut tx = self.database.snapshot().await?;
        function::get(&mut tx, tenant, function).await?;
        let rows = sqlx::query(
            "SELECT name, set_at, set_by FROM secrets WHERE tenant = $1 AND function = $2 ORDER BY name",
        )
        .bind(tenant.as_str())
        .bind(function.as_str())
        .fetch_all(&mut *tx)
        .await?;
        rows.iter().map(from_row).collect()
    }

    /// Sets a secret, in place of the value that it may have. Makes the function if it is not there, since
    /// its first revision may need the secret.
    ///
    /// # Errors
    /// [`StoreError::TooManySecrets`], or if the metastore fails.
    pub async fn set_secret(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        name: &SecretName,
        value: &SecretValue,
    ) -> Result<Secret, StoreError> {
        let mut tx = self.database.write().await?;
        let owner = function::find_or_create(&mut tx, actor, tenant, function).await?;
        let before = find(&mut tx, tenant, function, name).await?;
        if before.is_none() && count(&mut tx, tenant, function).await? >= MAX_SECRETS {
            return Err(StoreError::TooManySecrets { function: function.clone(), max: MAX_SECRETS });
        }
        let secret = Secret { name: name.clone(), set_at: now(), set_by: actor.clone() };
        let sealed = self.sealing_key.seal(&sealed_for(tenant, &owner, name), value);
        sqlx::query(
            "INSERT INTO secrets (tenant, function, name, sealed, set_at, set_by)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (tenant, function, name)
             DO UPDATE SET sealed = excluded.sealed, set_at = excluded.set_at, set_by = excluded.set_by",
        )
        .bind(tenant.as_str())
        .bind(function.as_str())
        .bind(name.as_str())
        .bind(sealed)
        .bind(secret.set_at.as_microsecond())
        .bind(actor.to_string())
        .execute(&mut *tx)
        .await?;
        let states = States { before: before.as_ref(), after: Some(&secret) };
        let subject = subject(function, name);
        let version = change::record(&mut tx, tenant, actor, Action::SecretSet, &subject, states).await?;
        function::set_version(&mut tx, tenant, function, version).await?;
        fail::fail_point!("store::secret::recorded");
        tx.commit().await?;
        fail::fail_point!("store::secret::committed");
        Ok(secret)
    }

    /// Removes a secret that no revision with traffic names.
    ///
    /// # Errors
    /// [`StoreError::NoFunction`], [`StoreError::NoSecret`], [`StoreError::SecretInUse`], or if the
    /// metastore fails.
    pub async fn delete_secret(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        function: &FunctionName,
        name: &SecretName,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        let owner = function::get(&mut tx, tenant, function).await?;
        let Some(secret) = find(&mut tx, tenant, function, name).await? else {
            return Err(StoreError::NoSecret(function.clone(), name.clone()));
        };
        for share in owner.traffic.shares() {
            let revision = revision::get(&mut tx, tenant, function, share.revision).await?;
            if revision.spec.secrets.contains(name) {
                return Err(StoreError::SecretInUse {
                    function: function.clone(),
                    name: name.clone(),
                    revision: share.revision,
                });
            }
        }
        sqlx::query("DELETE FROM secrets WHERE tenant = $1 AND function = $2 AND name = $3")
            .bind(tenant.as_str())
            .bind(function.as_str())
            .bind(name.as_str())
            .execute(&mut *tx)
            .await?;
        let states = States { before: Some(&secret), after: None };
        let subject = subject(function, name);
        let version = change::record(&mut tx, tenant, actor, Action::SecretDelete, &subject, states).await?;
        function::set_version(&mut tx, tenant, function, version).await?;
        Ok(tx.commit().await?)
    }

    /// Checks that a function has the secrets that a manifest names. There may be no such function yet.
    ///
    /// # Errors
    /// [`StoreError::SecretNotSet`], or if the metastore fails.
    pub async fn check_secrets(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        names: &[SecretName],
    ) -> Result<(), StoreError> {
        if names.is_empty() {
            return Ok(());
        }
        let mut connection = self.database.reader().acquire().await?;
        check_set(&mut connection, tenant, function, names).await
    }

    /// The values of a function's secrets that are named, for its handlers and for nobody else. Those that
    /// are not set are left out.
    ///
    /// # Errors
    /// [`StoreError::SecretUnreadable`], or if the metastore fails.
    pub async fn secret_values(
        &self,
        tenant: &TenantName,
        function: &Function,
        names: &[SecretName],
    ) -> Result<Secrets, StoreError> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let sealed: Option<String> = sqlx::query_scalar(
                "SELECT sealed FROM secrets WHERE tenant = $1 AND function = $2 AND name = $3",
            )
            .bind(tenant.as_str())
            .bind(function.name.as_str())
            .bind(name.as_str())
            .fetch_optional(self.database.reader())
            .await?;
            if let Some(sealed) = sealed {
                let value = self.sealing_key.open(&sealed_for(tenant, function, name), &sealed);
                let unreadable = |_| StoreError::SecretUnreadable(function.name.clone(), name.clone());
                let value = value.map_err(unreadable)?;
                values.push((name.clone(), value));
            }
        }
        Ok(values.into_iter().collect())
    }

    /// How many secrets are set on this host.
    pub(crate) async fn secret_count(&self) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM secrets");
        Ok(count.fetch_one(self.database.reader()).await?)
    }
}

fn sealed_for<'a>(tenant: &'a TenantName, function: &'a Function, name: &'a SecretName) -> SealedFor<'a> {
    SealedFor { tenant, function: &function.name, function_id: function.id, name }
}

/// How the record of changes names a secret.
fn subject(function: &FunctionName, name: &SecretName) -> String {
    format!("{}/secrets/{name}", function::subject(function))
}

/// Checks that every secret is set, for a revision that is to be made.
pub(crate) async fn check_set(
    connection: &mut Connection,
    tenant: &TenantName,
    function: &FunctionName,
    names: &[SecretName],
) -> Result<(), StoreError> {
    for (index, name) in names.iter().enumerate() {
        if find(connection, tenant, function, name).await?.is_none() {
            let field = format!("secrets[{index}]");
            return Err(StoreError::SecretNotSet { function: function.clone(), name: name.clone(), field });
        }
    }
    Ok(())
}

/// Checks that a revision has its secrets, before it is given traffic.
pub(crate) async fn check_revision(
    tx: &mut Tx,
    tenant: &TenantName,
    revision: &Revision,
) -> Result<(), StoreError> {
    let function = &revision.function;
    for name in &revision.spec.secrets {
        if find(tx, tenant, function, name).await?.is_none() {
            let (function, name) = (function.clone(), name.clone());
            return Err(StoreError::RevisionLacksSecret { function, revision: revision.number, name });
        }
    }
    Ok(())
}

async fn find(
    connection: &mut Connection,
    tenant: &TenantName,
    function: &FunctionName,
    name: &SecretName,
) -> Result<Option<Secret>, StoreError> {
    let row = sqlx::query(
        "SELECT name, set_at, set_by FROM secrets WHERE tenant = $1 AND function = $2 AND name = $3",
    )
    .bind(tenant.as_str())
    .bind(function.as_str())
    .bind(name.as_str())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(from_row).transpose()
}

async fn count(tx: &mut Tx, tenant: &TenantName, function: &FunctionName) -> Result<usize, StoreError> {
    let row = sqlx::query("SELECT COUNT(*) AS count FROM secrets WHERE tenant = $1 AND function = $2")
        .bind(tenant.as_str())
        .bind(function.as_str())
        .fetch_one(&mut **tx)
        .await?;
    let count: i64 = row.try_get("count")?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn from_row(row: &Row) -> Result<Secret, StoreError> {
    Ok(Secret {
        name: parsed(row, "name")?,
        set_at: time(row, "set_at")?,
        set_by: change::actor(row, "set_by")?,
    })
}
