//! The end of old changes: which are removed, and the signed checkpoint from which the chain goes on.
//!
//! The first change of a tenant stays: that of the default tenant is what a metastore is known by (`belonging.rs`),
//! and it says of each who made it and when. So does the last, so that there always is something to chain to.

use jiff::Timestamp;
use modelet_types::TenantName;
use serde_json::json;
use sqlx::Row as _;

use crate::anchor::Flaw;
use crate::change::{self, Action, States};
use crate::database::{Connection, Row, now, signed, unsigned};
use crate::{Actor, Anchor, AuditKey, ChainBreak, ChainHead, PublicKey, Store, StoreError};

/// The action of the change that tells of it.
pub(crate) const ACTION: &str = "changes.forget";

/// The most changes that are removed in one transaction: other changes wait for it.
const MOST: i64 = 20_000;

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Where the chain goes on from.
    pub checkpoint: Anchor,
    /// How many changes are gone.
    pub removed: u64,
    /// Whether there may be more to forget.
    pub is_more: bool,
}

impl Store {
    /// Removes changes of a tenant that were made before `until`, if all of them are as they were recorded, and as
    /// they are `known`; writes a checkpoint in their place, signed with `key`, and a change that tells of it. Gives
    /// `None` if there is nothing to forget.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn forget_changes(
        &self,
        key: &AuditKey,
        tenant: &TenantName,
        until: Timestamp,
        known: &[ChainHead],
        trusted: &[PublicKey],
    ) -> Result<Result<Option<Forgotten>, ChainBreak>, StoreError> {
        let Some((last, is_more)) = self.last_to_forget(tenant, until).await? else { return Ok(Ok(None)) };
        // With what is signed below, so that it is the hash which the changes give.
        let known = [known, &[last]].concat();
        if let Err(broken) = self.verify_changes(tenant, &known, trusted).await? {
            return Ok(Err(broken));
        }
        let checkpoint = Anchor::checkpoint(key, now(), tenant, last);
        let mut tx = self.database.write().await?;
        let removed = sqlx::query("DELETE FROM changes WHERE tenant = $1 AND id > 1 AND id <= $2")
            .bind(tenant.as_str())
            .bind(signed(last.id))
            .execute(&mut *tx)
            .await?
            .rows_affected();
        sqlx::query("DELETE FROM audit_checkpoints WHERE tenant = $1")
            .bind(tenant.as_str())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO audit_checkpoints (tenant, id, hash, at, public_key, signature)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(tenant.as_str())
        .bind(signed(last.id))
        .bind(last.hash.to_hex())
        .bind(checkpoint.at.as_microsecond())
        .bind(checkpoint.key.map(String::from).unwrap_or_default())
        .bind(checkpoint.signature.map(String::from).unwrap_or_default())
        .execute(&mut *tx)
        .await?;
        let told = json!({ "up_to": last.id, "hash": last.hash, "removed": removed });
        let states = States { before: None, after: Some(&told) };
        let actor = Actor::host("upkeep");
        change::record(&mut tx, tenant, &actor, Action::ChangesForget, "changes", states).await?;
        tx.commit().await?;
        Ok(Ok(Some(Forgotten { checkpoint, removed, is_more })))
    }

    /// The last change that may go, and whether more may; `None` if none may, or nothing but what tells of changes
    /// that went before: or a tenant of whom nothing changes would get one such change for another for ever.
    async fn last_to_forget(
        &self,
        tenant: &TenantName,
        until: Timestamp,
    ) -> Result<Option<(ChainHead, bool)>, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        let row = sqlx::query(
            "SELECT MIN(id) AS first, MAX(id) AS last, MIN(CASE WHEN at >= $2 THEN id END) AS young
             FROM changes WHERE tenant = $1 AND id > 1",
        )
        .bind(tenant.as_str())
        .bind(until.as_microsecond())
        .fetch_one(&mut connection)
        .await?;
        let number = |column: &str| row.try_get::<Option<i64>, _>(column);
        let (Some(first), Some(last)) = (number("first")?, number("last")?) else { return Ok(None) };
        let old = (last - 1).min(number("young")?.unwrap_or(last) - 1);
        let last = old.min(first + MOST - 1);
        let row = sqlx::query(
            "SELECT id, hash, (SELECT COUNT(*) FROM changes WHERE tenant = $1 AND id > 1 AND id <= $2 AND action <> $3)
             AS others FROM changes WHERE tenant = $1 AND id = $2 AND id > 1",
        )
        .bind(tenant.as_str())
        .bind(last)
        .bind(ACTION)
        .fetch_optional(&mut connection)
        .await?;
        match row {
            Some(row) if row.try_get::<i64, _>("others")? > 0 => {
                let head = ChainHead { id: unsigned(&row, "id")?, hash: change::stored_hash(&row)? };
                Ok(Some((head, last < old)))
            }
            _ => Ok(None),
        }
    }

    /// The checkpoints of all tenants that one of the keys `trusted` has signed.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn checkpoints(&self, trusted: &[PublicKey]) -> Result<Vec<Anchor>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant, id, hash, at, public_key, signature FROM audit_checkpoints ORDER BY tenant",
        )
        .fetch_all(self.database.reader())
        .await?;
        let signed = |anchor: &Anchor| anchor.is_signed_by(trusted);
        Ok(rows.iter().filter_map(from_row).filter(signed).collect())
    }
}

/// The checkpoint of a tenant, if it has one, and one of the keys `trusted` has signed it.
pub(crate) async fn checkpoint(
    connection: &mut Connection,
    tenant: &TenantName,
    trusted: &[PublicKey],
) -> Result<Result<Option<Anchor>, ChainBreak>, StoreError> {
    let row = sqlx::query(
        "SELECT tenant, id, hash, at, public_key, signature FROM audit_checkpoints WHERE tenant = $1",
    )
    .bind(tenant.as_str())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(Ok(None)) };
    let Some(anchor) = from_row(&row) else {
        let id = unsigned(&row, "id").unwrap_or_default();
        return Ok(Err(ChainBreak { id, reason: "its checkpoint cannot be read".into() }));
    };
    Ok(match anchor.check(trusted) {
        Ok(()) => Ok(Some(anchor)),
        Err(flaw) => Err(broken(&anchor, flaw)),
    })
}

fn broken(anchor: &Anchor, flaw: Flaw) -> ChainBreak {
    ChainBreak { id: anchor.id, reason: format!("its checkpoint {}", flaw.as_str()).into() }
}

/// Reads what somebody may have written who is not a host: `None` if it makes no sense.
fn from_row(row: &Row) -> Option<Anchor> {
    let text = |column: &str| row.try_get::<String, _>(column).ok();
    Some(Anchor {
        at: Timestamp::from_microsecond(row.try_get("at").ok()?).ok()?,
        tenant: text("tenant")?.parse().ok()?,
        id: unsigned(row, "id").ok()?,
        hash: text("hash").as_deref().and_then(modelet_types::Digest::from_hex)?,
        checkpoint: true,
        key: Some(text("public_key")?.parse().ok()?),
        signature: Some(text("signature")?.try_into().ok()?),
    })
}
