//! API keys: who may act for a tenant, and as what. A key itself is never stored, only its digest.

use jiff::{SignedDuration, Timestamp};
use modelet_types::{Digest, FunctionName, KeyId, Role, TenantName};
use serde::Serialize;
use sqlx::Row as _;

use crate::change::{self, Action, Actor, States};
use crate::database::{self, Connection, Row, Tx, json, now, parsed, time, to_json, unsigned};
use crate::{Store, StoreError, request, tenant};

/// The most keys of one tenant that have not ended.
const MAX_KEYS: i64 = 1_000;
/// How long a key is still listed after it has ended.
const KEPT_AFTER_END: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A key, without what would let anybody use it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKey {
    /// Whose it is.
    pub tenant: TenantName,
    /// What it is found by.
    pub id: KeyId,
    /// The first of the keys that it was rotated from, or itself: those of one line are one person's.
    pub person: KeyId,
    /// What it may do.
    pub role: Role,
    /// The functions that it is for; `None`: all of them.
    pub functions: Option<Vec<FunctionName>>,
    /// What it is used for, in its owner's words.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// How long it was to be used when it was made, in seconds; `None`: until it is revoked.
    pub lifetime_s: Option<u64>,
    /// When it was last used, as far as that has been written down.
    pub last_used_at: Option<Timestamp>,
}

/// A key that is to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// What it is found by.
    pub id: KeyId,
    /// What stands for it in the store.
    pub digest: Digest,
    /// What it may do.
    pub role: Role,
    /// The functions that it is for; `None`: all of them.
    pub functions: Option<Vec<FunctionName>>,
    /// What it is used for, in its owner's words.
    pub description: String,
    /// How long it can be used, in seconds; `None`: until it is revoked.
    pub lifetime_s: Option<u64>,
}

/// A key as whoever checks keys needs it.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    /// The digest of its text.
    pub digest: Digest,
}

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT tenant, id, person, digest, role, functions, description, created_at, created_by, expires_at,
                    lifetime_s, last_used_at FROM api_keys ",
            $rest
        )
    };
}

impl Store {
    /// The keys of a tenant, the oldest first.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn api_keys(&self, tenant: &TenantName) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query(select_keys!("WHERE tenant = $1 ORDER BY created_at, id"))
            .bind(tenant.as_str())
            .fetch_all(self.database.reader())
            .await?;
        rows.iter().map(|row| Ok(from_row(row)?.key)).collect()
    }

    /// The keys of all tenants, for whoever checks them.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn stored_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows = sqlx::query(select_keys!("")).fetch_all(self.database.reader()).await?;
        rows.iter().map(from_row).collect()
    }

    /// One key, for whoever checks it.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn stored_key(&self, tenant: &TenantName, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        find(&mut connection, tenant, id).await
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`], [`StoreError::InvalidText`], [`StoreError::TooManyKeys`],
    /// [`StoreError::Repeated`], or if the metastore fails.
    pub async fn create_api_key(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        new: NewApiKey,
    ) -> Result<ApiKey, StoreError> {
        let mut tx = self.database.write().await?;
        request::check(&mut tx, tenant, actor).await?;
        let person = new.id;
        let key = create(&mut tx, actor, tenant, new, person).await?;
        request::done(&mut tx, tenant, actor, &subject(key.id)).await?;
        fail::fail_point!("store::api_key::recorded");
        tx.commit().await?;
        Ok(key)
    }

    /// Makes the successor of a key, which may do the same, and lets the key itself end at `ends_at` if it
    /// does not end before.
    ///
    /// # Errors
    /// [`StoreError::NoKey`], [`StoreError::KeyEnded`], [`StoreError::TooManyKeys`],
    /// [`StoreError::Repeated`], or if the metastore fails.
    pub async fn rotate_api_key(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: KeyId,
        ends_at: Timestamp,
        successor: impl FnOnce(ApiKey) -> NewApiKey,
    ) -> Result<ApiKey, StoreError> {
        let mut tx = self.database.write().await?;
        request::check(&mut tx, tenant, actor).await?;
        let before = get(&mut tx, tenant, id).await?.key;
        if before.expires_at.is_some_and(|expires| expires <= now()) {
            return Err(StoreError::KeyEnded(id));
        }
        let ends_at = before.expires_at.map_or(ends_at, |expires| expires.min(ends_at));
        sqlx::query("UPDATE api_keys SET expires_at = $1 WHERE tenant = $2 AND id = $3")
            .bind(ends_at.as_microsecond())
            .bind(tenant.as_str())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        let after = ApiKey { expires_at: Some(ends_at), ..before.clone() };
        let states = States { before: Some(&before), after: Some(&after) };
        change::record(&mut tx, tenant, actor, Action::KeyRotate, &subject(id), states).await?;
        let person = before.person;
        let key = create(&mut tx, actor, tenant, successor(before), person).await?;
        request::done(&mut tx, tenant, actor, &subject(key.id)).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`StoreError::NoKey`], or if the metastore fails.
    pub async fn revoke_api_key(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: KeyId,
    ) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        let key = get(&mut tx, tenant, id).await?.key;
        sqlx::query("DELETE FROM api_keys WHERE tenant = $1 AND id = $2")
            .bind(tenant.as_str())
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        let states = States { before: Some(&key), after: None };
        change::record(&mut tx, tenant, actor, Action::KeyRevoke, &subject(id), states).await?;
        Ok(tx.commit().await?)
    }

    /// Writes down when keys were last used. That is no change of the tenant's data, and leaves no record.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn set_last_used(&self, used: &[(TenantName, KeyId, Timestamp)]) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        for (tenant, id, at) in used {
            sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE tenant = $2 AND id = $3")
                .bind(at.as_microsecond())
                .bind(tenant.as_str())
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

/// How the record of changes names a key.
pub(crate) fn subject(id: KeyId) -> String {
    format!("keys/{id}")
}

async fn create(
    tx: &mut Tx,
    actor: &Actor,
    tenant: &TenantName,
    new: NewApiKey,
    person: KeyId,
) -> Result<ApiKey, StoreError> {
    tenant::get(tx, tenant).await?;
    // Other texts are names, or JSON, which writes it with other characters.
    if new.description.contains('\0') {
        return Err(StoreError::InvalidText { field: "description" });
    }
    let long_ago = now().saturating_sub(KEPT_AFTER_END).unwrap_or(Timestamp::MIN);
    sqlx::query("DELETE FROM api_keys WHERE tenant = $1 AND expires_at < $2")
        .bind(tenant.as_str())
        .bind(long_ago.as_microsecond())
        .execute(&mut **tx)
        .await?;
    let live = "SELECT COUNT(*) FROM api_keys WHERE tenant = $1 AND (expires_at IS NULL OR expires_at > $2)";
    let count: i64 = sqlx::query_scalar(live)
        .bind(tenant.as_str())
        .bind(now().as_microsecond())
        .fetch_one(&mut **tx)
        .await?;
    if count >= MAX_KEYS {
        return Err(StoreError::TooManyKeys { max: MAX_KEYS });
    }
    let NewApiKey { id, digest, role, functions, description, lifetime_s } = new;
    let created_at = now();
    let end = |seconds| created_at.checked_add(SignedDuration::from_secs(seconds));
    let lifetime = lifetime_s.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    let expires_at = lifetime.map(|seconds| end(seconds).unwrap_or_else(|_| database::latest()));
    let key = ApiKey {
        tenant: tenant.clone(),
        id,
        person,
        role,
        functions,
        description,
        created_at,
        created_by: actor.clone(),
        expires_at,
        lifetime_s,
        last_used_at: None,
    };
    sqlx::query(
        "INSERT INTO api_keys (tenant, id, digest, role, functions, description, created_at, created_by,
                               expires_at, lifetime_s, person)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(tenant.as_str())
    .bind(id.to_string())
    .bind(digest.to_string())
    .bind(role.as_str())
    .bind(key.functions.as_ref().map(to_json))
    .bind(&key.description)
    .bind(key.created_at.as_microsecond())
    .bind(actor.to_string())
    .bind(key.expires_at.map(Timestamp::as_microsecond))
    .bind(lifetime)
    .bind(person.to_string())
    .execute(&mut **tx)
    .await?;
    let states = States { before: None, after: Some(&key) };
    change::record(tx, tenant, actor, Action::KeyCreate, &subject(id), states).await?;
    Ok(key)
}

async fn find(
    connection: &mut Connection,
    tenant: &TenantName,
    id: KeyId,
) -> Result<Option<StoredKey>, StoreError> {
    let row = sqlx::query(select_keys!("WHERE tenant = $1 AND id = $2"))
        .bind(tenant.as_str())
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(from_row).transpose()
}

async fn get(connection: &mut Connection, tenant: &TenantName, id: KeyId) -> Result<StoredKey, StoreError> {
    find(connection, tenant, id).await?.ok_or(StoreError::NoKey(id))
}

/// The first key of the line that a row's key is in; `None` for one of before there were lines, which is by itself.
pub(crate) fn first_of_line(row: &Row) -> Result<Option<KeyId>, StoreError> {
    match row.try_get::<Option<&str>, _>("person")? {
        Some(_) => parsed(row, "person").map(Some),
        None => Ok(None),
    }
}

fn from_row(row: &Row) -> Result<StoredKey, StoreError> {
    let optional_time = |column: &str| match row.try_get::<Option<i64>, _>(column)? {
        Some(_) => time(row, column).map(Some),
        None => Ok(None),
    };
    let functions = match row.try_get::<Option<&str>, _>("functions")? {
        Some(_) => Some(json(row, "functions")?),
        None => None,
    };
    let key = ApiKey {
        tenant: parsed(row, "tenant")?,
        id: parsed(row, "id")?,
        person: match first_of_line(row)? {
            Some(person) => person,
            None => parsed(row, "id")?,
        },
        role: parsed(row, "role")?,
        functions,
        description: row.try_get("description")?,
        created_at: time(row, "created_at")?,
        created_by: change::actor(row, "created_by")?,
        expires_at: optional_time("expires_at")?,
        lifetime_s: match row.try_get::<Option<i64>, _>("lifetime_s")? {
            Some(_) => Some(unsigned(row, "lifetime_s")?),
            None => None,
        },
        last_used_at: optional_time("last_used_at")?,
    };
    Ok(StoredKey { key, digest: parsed(row, "digest")? })
}
