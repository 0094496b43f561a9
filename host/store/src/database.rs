//! The SQL connection: how the metastore is opened, how it counts and how it writes time.
//!
//! The statements of this crate are portable between SQLite and PostgreSQL; this module is the
//! only one that knows which it is talking to.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use modelet_types::TenantName;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Pool, Row as _, Sqlite, Transaction};

use crate::StoreError;

/// The database system.
pub(crate) type Db = Sqlite;
/// A row of a result.
pub(crate) type Row = <Db as sqlx::Database>::Row;
/// A connection, within a transaction or not.
pub(crate) type Connection = <Db as sqlx::Database>::Connection;
/// An open transaction.
pub(crate) type Tx = Transaction<'static, Db>;

const READERS: u32 = 4;
/// How long a statement waits for another process, such as a backup, to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The metastore's connections.
pub(crate) struct Database {
    readers: Pool<Db>,
    /// One connection: SQLite has one writer at a time, and waiting for it in the pool is fair and
    /// blocks no thread.
    writer: Pool<Db>,
}

impl Database {
    pub(crate) async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit is synced: an acknowledged change survives a loss of power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                // There is no network that could have cut a connection while it lay idle.
                .test_before_acquire(false)
                .after_release(|connection, _| Box::pin(reusable(connection)))
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        sqlx::migrate!()
            .run(&writer)
            .await
            .map_err(|source| StoreError::Migrate { path: file.to_owned(), source })?;
        let readers = pool(READERS).connect_with(options).await?;
        Ok(Self { readers, writer })
    }

    /// For single statements that change nothing.
    pub(crate) fn reader(&self) -> &Pool<Db> {
        &self.readers
    }

    /// A transaction over one unchanging state of all tables.
    pub(crate) async fn snapshot(&self) -> Result<Tx, StoreError> {
        Ok(self.readers.begin().await?)
    }

    /// A transaction that will write. Dropped without a commit, it leaves nothing.
    pub(crate) async fn write(&self) -> Result<Tx, StoreError> {
        // SQLite's default would take the write lock at the first write, and fail if the file had
        // changed since the first read.
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether a connection that is given back can be used again; one that cannot is closed, and the
/// next call opens another.
///
/// After some errors, a full disk among them, SQLite rolls back by itself. The rollback that sqlx
/// sends then fails, and sqlx counts a transaction as open that it would never let anyone out of.
async fn reusable(connection: &mut Connection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The rollback of a dropped transaction may still be on its way; commands are done in order.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// The next number of a tenant's sequence; 1 is the first. No number is ever given twice.
pub(crate) async fn next_number(tx: &mut Tx, tenant: &TenantName, name: &str) -> Result<i64, StoreError> {
    let number = sqlx::query_scalar(
        "INSERT INTO counters (tenant, name, last) VALUES ($1, $2, 1)
         ON CONFLICT (tenant, name) DO UPDATE SET last = counters.last + 1
         RETURNING last",
    )
    .bind(tenant.as_str())
    .bind(name)
    .fetch_one(&mut **tx)
    .await?;
    Ok(number)
}

/// Now, as precise as the metastore keeps it.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).expect("the present is a time")
}

/// Reads a time.
pub(crate) fn time(row: &Row, column: &str) -> Result<Timestamp, StoreError> {
    let microseconds: i64 = row.try_get(column)?;
    Timestamp::from_microsecond(microseconds).map_err(StoreError::damaged(column))
}

/// Reads a text that is a name, a digest or the like.
pub(crate) fn parsed<T>(row: &Row, column: &str) -> Result<T, StoreError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(StoreError::damaged(column))
}

/// Reads a number that is not negative.
pub(crate) fn unsigned(row: &Row, column: &str) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column)?;
    number.try_into().map_err(StoreError::damaged(column))
}

/// Writes a number; only those over 2⁶³, which nothing here counts to, do not fit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads a text that is JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &str) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(StoreError::damaged(column))
}

/// Writes JSON.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the vocabulary has a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open() -> (Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Database::open(&folder.path().join("metastore.sqlite3")).await.unwrap(), folder)
    }

    #[tokio::test]
    async fn writing_goes_on_after_a_full_disk() {
        let (database, _folder) = open().await;
        let tenant: TenantName = "a".parse().unwrap();
        // A limit of the one connection, at what it has now, stands for the end of the disk.
        sqlx::query("PRAGMA max_page_count = 1").execute(&database.writer).await.unwrap();
        let mut tx = database.write().await.unwrap();
        let error = sqlx::query("INSERT INTO counters (tenant, name, last) VALUES ('a', $1, 1)")
            .bind("x".repeat(1 << 20))
            .execute(&mut *tx)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("full"), "{error}");
        drop(tx);

        let mut tx = database.write().await.unwrap();
        assert_eq!(next_number(&mut tx, &tenant, "changes").await.unwrap(), 1);
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_transaction_keeps_its_connection() {
        let (database, _folder) = open().await;
        sqlx::query("PRAGMA cache_size = 77").execute(&database.writer).await.unwrap();
        let mut tx = database.write().await.unwrap();
        sqlx::query("INSERT INTO counters (tenant, name, last) VALUES ('a', 'b', 1)")
            .execute(&mut *tx)
            .await
            .unwrap();
        drop(tx);
        let setting: i64 = sqlx::query_scalar("PRAGMA cache_size").fetch_one(&database.writer).await.unwrap();
        assert_eq!(setting, 77);
    }
}
