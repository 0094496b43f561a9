//! Usage by the hour: added to from a host's ledger, each record once, and summed up for bills.

use jiff::Timestamp;
use modelet_types::{FunctionName, RevisionNumber, TenantName, Usage};
use sqlx::Row as _;

use crate::database::{Connection, Row, Tx, parsed, signed, unsigned};
use crate::{Store, StoreError};

const HOUR_S: i64 = 3_600;

/// The hour in which a moment is, counted since 1970, UTC.
pub fn hour_of(moment: Timestamp) -> i64 {
    // Rounded down, also before 1970, which `as_second` is not.
    moment.as_microsecond().div_euclid(HOUR_S * 1_000_000)
}

/// The first moment of an hour.
pub fn hour_start(hour: i64) -> Timestamp {
    Timestamp::from_second(hour.saturating_mul(HOUR_S)).unwrap_or(Timestamp::MAX)
}

/// How far a ledger has been added up: a segment's number, and bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageCursor {
    /// The segment.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// A table that says how far ledgers have been read for something: what finds a ledger's place, and what sets it.
pub(crate) struct Cursors {
    find: &'static str,
    set: &'static str,
}

/// How far ledgers have been added up.
const ADDED: Cursors = Cursors {
    find: "SELECT segment, position FROM usage_cursors WHERE ledger = $1",
    set: "INSERT INTO usage_cursors (ledger, segment, position) VALUES ($1, $2, $3)
          ON CONFLICT (ledger) DO UPDATE SET segment = excluded.segment, position = excluded.position",
};

/// How far they have been exported.
pub(crate) const EXPORTED: Cursors = Cursors {
    find: "SELECT segment, position FROM usage_export_cursors WHERE ledger = $1",
    set: "INSERT INTO usage_export_cursors (ledger, segment, position) VALUES ($1, $2, $3)
          ON CONFLICT (ledger) DO UPDATE SET segment = excluded.segment, position = excluded.position",
};

impl Cursors {
    /// How far a ledger was read; `None`: never.
    pub(crate) async fn find(
        &self,
        connection: &mut Connection,
        ledger: &str,
    ) -> Result<Option<UsageCursor>, StoreError> {
        let row = sqlx::query(self.find).bind(ledger).fetch_optional(connection).await?;
        let cursor = |row: Row| {
            Ok(UsageCursor { segment: unsigned(&row, "segment")?, offset: unsigned(&row, "position")? })
        };
        row.map(cursor).transpose()
    }

    /// Notes how far it was read.
    pub(crate) async fn set(&self, tx: &mut Tx, ledger: &str, cursor: UsageCursor) -> Result<(), StoreError> {
        sqlx::query(self.set)
            .bind(ledger)
            .bind(signed(cursor.segment))
            .bind(signed(cursor.offset))
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// The usage of one revision in one hour.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageHour {
    /// Who pays.
    pub tenant: TenantName,
    /// The hour in which the invocations began, counted since 1970, UTC.
    pub hour: i64,
    /// What was called.
    pub function: FunctionName,
    /// What answered.
    pub revision: RevisionNumber,
    /// The sums.
    pub usage: Usage,
}

/// Which usage is asked for.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// From this hour on.
    pub from_hour: i64,
    /// Before this hour.
    pub to_hour: i64,
    /// Of this function alone.
    pub function: Option<FunctionName>,
    /// How many hours are one row's; 0: all of them.
    pub hours_per_row: i64,
    /// Whether each function has its own rows.
    pub by_function: bool,
    /// Whether each revision has its own rows; by function then, too.
    pub by_revision: bool,
    /// The most rows.
    pub limit: u32,
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageSum {
    /// The first hour of the row.
    pub hour: i64,
    /// The function, if rows are divided by it.
    pub function: Option<FunctionName>,
    /// The revision, if rows are divided by it.
    pub revision: Option<RevisionNumber>,
    /// The sums.
    pub usage: Usage,
}

/// The sums of the picked rows. PostgreSQL's own are `NUMERIC`.
macro_rules! sums {
    () => {
        "CAST(SUM(invocations) AS BIGINT) AS invocations, CAST(SUM(failed) AS BIGINT) AS failed,
         CAST(SUM(cold) AS BIGINT) AS cold, CAST(SUM(not_billed) AS BIGINT) AS not_billed,
         CAST(SUM(duration_ms) AS BIGINT) AS duration_ms,
         CAST(SUM(memory_mib_ms) AS BIGINT) AS memory_mib_ms, CAST(SUM(cpu_us) AS BIGINT) AS cpu_us,
         CAST(SUM(inference_cpu_us) AS BIGINT) AS inference_cpu_us,
         CAST(SUM(request_bytes) AS BIGINT) AS request_bytes,
         CAST(SUM(response_bytes) AS BIGINT) AS response_bytes"
    };
}

impl Store {
    /// How far a ledger, by its id, has been added up.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn usage_cursor(&self, ledger: &str) -> Result<UsageCursor, StoreError> {
        let mut connection = self.database.reader().acquire().await?;
        Ok(ADDED.find(&mut connection, ledger).await?.unwrap_or_default())
    }

    /// Adds what stands in the ledger before `cursor`, in one transaction with the cursor itself.
    ///
    /// # Errors
    /// If the metastore fails: then nothing was added.
    pub async fn add_usage(
        &self,
        ledger: &str,
        cursor: UsageCursor,
        hours: &[UsageHour],
    ) -> Result<(), StoreError> {
        let mut tx = self.database.write().await?;
        for UsageHour { tenant, hour, function, revision, usage } in hours {
            sqlx::query(
                "INSERT INTO usage_hours (tenant, hour, function, revision, invocations, failed, cold,
                     not_billed, duration_ms, memory_mib_ms, cpu_us, inference_cpu_us, request_bytes,
                     response_bytes)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                 ON CONFLICT (tenant, hour, function, revision) DO UPDATE SET
                     invocations = usage_hours.invocations + excluded.invocations,
                     failed = usage_hours.failed + excluded.failed,
                     cold = usage_hours.cold + excluded.cold,
                     not_billed = usage_hours.not_billed + excluded.not_billed,
                     duration_ms = usage_hours.duration_ms + excluded.duration_ms,
                     memory_mib_ms = usage_hours.memory_mib_ms + excluded.memory_mib_ms,
                     cpu_us = usage_hours.cpu_us + excluded.cpu_us,
                     inference_cpu_us = usage_hours.inference_cpu_us + excluded.inference_cpu_us,
                     request_bytes = usage_hours.request_bytes + excluded.request_bytes,
                     response_bytes = usage_hours.response_bytes + excluded.response_bytes",
            )
            .bind(tenant.as_str())
            .bind(hour)
            .bind(function.as_str())
            .bind(signed(revision.0))
            .bind(signed(usage.invocations))
            .bind(signed(usage.failed))
            .bind(signed(usage.cold))
            .bind(signed(usage.not_billed))
            .bind(signed(usage.duration_ms))
            .bind(signed(usage.memory_mib_ms))
            .bind(signed(usage.cpu_us))
            .bind(signed(usage.inference_cpu_us))
            .bind(signed(usage.request_bytes))
            .bind(signed(usage.response_bytes))
            .execute(&mut *tx)
            .await?;
        }
        ADDED.set(&mut tx, ledger, cursor).await?;
        fail::fail_point!("store::usage::added");
        tx.commit().await?;
        fail::fail_point!("store::usage::committed");
        Ok(())
    }

    /// The usage of a tenant, by time, then by function and revision.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn usage(&self, tenant: &TenantName, query: &UsageQuery) -> Result<Vec<UsageSum>, StoreError> {
        let UsageQuery { from_hour, to_hour, function, hours_per_row, by_function, by_revision, limit } =
            query;
        // Every row has the beginning of the query's first hour if rows are not divided by time.
        let per_row = if *hours_per_row == 0 { (to_hour - from_hour).max(1) } else { *hours_per_row };
        let origin = if *hours_per_row == 0 { *from_hour } else { 0 };
        let rows = sqlx::query(concat!(
            "SELECT row_hour, row_function, row_revision, ",
            sums!(),
            "
             FROM (SELECT (hour - $1) / $2 * $2 + $1 AS row_hour,
                       CASE WHEN $3 THEN function END AS row_function,
                       CASE WHEN $4 THEN revision END AS row_revision, usage_hours.*
                   FROM usage_hours
                   WHERE tenant = $5 AND hour >= $6 AND hour < $7 AND ($8 IS NULL OR function = $8)) AS picked
             GROUP BY row_hour, row_function, row_revision
             ORDER BY row_hour, row_function, row_revision LIMIT $9"
        ))
        .bind(origin)
        .bind(per_row)
        .bind(*by_function || *by_revision)
        .bind(*by_revision)
        .bind(tenant.as_str())
        .bind(from_hour)
        .bind(to_hour)
        .bind(function.as_ref().map(FunctionName::as_str))
        .bind(i64::from(*limit))
        .fetch_all(self.database.reader())
        .await?;
        rows.iter().map(sum_from).collect()
    }

    /// What every tenant has used since `from_hour`.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn usage_since(&self, from_hour: i64) -> Result<Vec<(TenantName, Usage)>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT tenant, ",
            sums!(),
            " FROM usage_hours WHERE hour >= $1 GROUP BY tenant"
        ))
        .bind(from_hour)
        .fetch_all(self.database.reader())
        .await?;
        rows.iter().map(|row| Ok((parsed(row, "tenant")?, usage_from(row)?))).collect()
    }

    /// What every function has used since `from_hour`, and since it was made: what one of its name used that is
    /// gone is not its own.
    ///
    /// # Errors
    /// If the metastore fails.
    pub async fn usage_by_function_since(
        &self,
        from_hour: i64,
    ) -> Result<Vec<(TenantName, FunctionName, Usage)>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT usage_hours.tenant, usage_hours.function, ",
            sums!(),
            " FROM usage_hours
              JOIN functions ON functions.tenant = usage_hours.tenant AND functions.name = usage_hours.function
              WHERE hour >= $1 AND hour >= functions.created_at / 3600000000
              GROUP BY usage_hours.tenant, usage_hours.function"
        ))
        .bind(from_hour)
        .fetch_all(self.database.reader())
        .await?;
        let usage = |row: &Row| Ok((parsed(row, "tenant")?, parsed(row, "function")?, usage_from(row)?));
        rows.iter().map(usage).collect()
    }
}

fn sum_from(row: &Row) -> Result<UsageSum, StoreError> {
    let function = match row.try_get::<Option<&str>, _>("row_function")? {
        Some(_) => Some(parsed(row, "row_function")?),
        None => None,
    };
    let revision = match row.try_get::<Option<i64>, _>("row_revision")? {
        Some(_) => Some(RevisionNumber(unsigned(row, "row_revision")?)),
        None => None,
    };
    Ok(UsageSum { hour: row.try_get("row_hour")?, function, revision, usage: usage_from(row)? })
}

fn usage_from(row: &Row) -> Result<Usage, StoreError> {
    Ok(Usage {
        invocations: unsigned(row, "invocations")?,
        failed: unsigned(row, "failed")?,
        cold: unsigned(row, "cold")?,
        not_billed: unsigned(row, "not_billed")?,
        duration_ms: unsigned(row, "duration_ms")?,
        memory_mib_ms: unsigned(row, "memory_mib_ms")?,
        cpu_us: unsigned(row, "cpu_us")?,
        inference_cpu_us: unsigned(row, "inference_cpu_us")?,
        request_bytes: unsigned(row, "request_bytes")?,
        response_bytes: unsigned(row, "response_bytes")?,
    })
}
