//! The SQL connection: how the metastore is opened, how it counts and how it writes time.
//!
//! The statements of this crate are portable between SQLite and PostgreSQL, and go to either through the
//! one driver of sqlx that knows both. `sqlite` and `postgres` are the only modules that know which it is.

mod limited;
mod postgres;
mod schema;
mod sqlite;
mod term;
mod url;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use modelet_types::TenantName;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, Connection as _, Pool, Row as _};
use tokio::time::timeout;

use crate::StoreError;

pub(crate) use limited::{Connection, Reader, Tx};
pub(crate) use schema::check_format;
pub(crate) use sqlite::options as sqlite_options;
use term::Claim;
pub use url::MetastoreUrl;

/// The database system.
pub(crate) type Db = Any;
/// A row of a result.
pub(crate) type Row = <Db as sqlx::Database>::Row;
/// A connection as sqlx has it.
type Raw = <Db as sqlx::Database>::Connection;

/// How long a connection that is given back may take to end its transaction.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

/// The metastore's connections.
pub(crate) struct Database {
    readers: Pool<Db>,
    /// One connection: SQLite has one writer at a time, and so has a host on PostgreSQL, whose connection
    /// holds the lock that keeps other hosts away. Waiting for it in the pool is fair and blocks no thread.
    writer: Pool<Db>,
    kind: Kind,
}

/// Which database it is, and what begins a transaction there.
enum Kind {
    Sqlite,
    Postgres(Claim),
}

impl Database {
    /// Opens a metastore for a host, and brings it to this host's format. Without a URL it is `file`.
    pub(crate) async fn open(file: &Path, url: Option<&MetastoreUrl>) -> Result<Self, StoreError> {
        // Any call but the first does nothing.
        sqlx::any::install_default_drivers();
        match url {
            Some(url) => postgres::open(url).await,
            None => sqlite::open(file).await,
        }
    }

    /// For single statements that change nothing.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { pool: &self.readers, limit: self.limit() }
    }

    /// How long an answer is waited for.
    fn limit(&self) -> Option<Duration> {
        match self.kind {
            Kind::Sqlite => None,
            Kind::Postgres(_) => Some(postgres::ANSWER_PATIENCE),
        }
    }

    /// A transaction over one unchanging state of all tables.
    pub(crate) async fn snapshot(&self) -> Result<Tx, StoreError> {
        let begun = match self.kind {
            Kind::Sqlite => self.readers.begin().await?,
            Kind::Postgres(_) => self.readers.begin_with(postgres::SNAPSHOT).await?,
        };
        Ok(Tx::new(begun, self.limit()))
    }

    /// A transaction that will write. Dropped without a commit, it leaves nothing.
    pub(crate) async fn write(&self) -> Result<Tx, StoreError> {
        let begun = match &self.kind {
            // SQLite's default would take the write lock at the first write, and fail if the file had
            // changed since the first read.
            Kind::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await?,
            Kind::Postgres(claim) => {
                claim.check()?;
                claim.explain(self.writer.begin().await)?
            }
        };
        Ok(Tx::new(begun, self.limit()))
    }

    /// Notes the term that this host has begun: whether it is still the last is looked at whenever the writer's
    /// connection has to be made anew.
    pub(crate) fn begin_term(&self, term: u64) {
        if let Kind::Postgres(claim) = &self.kind {
            claim.begin(signed(term));
        }
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A connection that only reads, beside the host that may have the metastore open.
pub(crate) async fn connect_reader(
    file: &Path,
    url: Option<&MetastoreUrl>,
) -> Result<Connection, StoreError> {
    sqlx::any::install_default_drivers();
    let connection = match url {
        Some(url) => postgres::connect_reader(url).await?,
        None => sqlite::connect_reader(file).await?,
    };
    Ok(Connection::own(connection))
}

/// Begins a transaction over one unchanging state of all tables, which ends with the connection.
pub(crate) async fn begin_snapshot(connection: &mut Connection, is_postgres: bool) -> Result<(), StoreError> {
    let begin = if is_postgres { postgres::SNAPSHOT } else { "BEGIN" };
    sqlx::query(begin).execute(connection).await?;
    Ok(())
}

/// What all pools have in common.
fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .after_release(|connection, _| Box::pin(reusable(connection)))
}

/// Whether a connection that is given back can be used again; one that cannot is closed, and the
/// next call opens another.
///
/// After some errors, a full disk among them, SQLite rolls back by itself. The rollback that sqlx
/// sends then fails, and sqlx counts a transaction as open that it would never let anyone out of.
async fn reusable(connection: &mut Raw) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The rollback of a dropped transaction may still be on its way; commands are done in order.
        let answer = timeout(RELEASE_PATIENCE, connection.ping()).await;
        answer.map_err(|_| sqlx::Error::PoolTimedOut)??;
    }
    Ok(!connection.is_in_transaction())
}

/// The next number of a tenant's sequence; 1 is the first. No number is ever given twice.
pub(crate) async fn next_number(tx: &mut Tx, tenant: &TenantName, name: &str) -> Result<i64, StoreError> {
    next_of(tx, tenant.as_str(), name).await
}

/// The same of any sequence.
pub(crate) async fn next_of(tx: &mut Tx, owner: &str, name: &str) -> Result<i64, StoreError> {
    let number = sqlx::query_scalar(
        "INSERT INTO counters (tenant, name, last) VALUES ($1, $2, 1)
         ON CONFLICT (tenant, name) DO UPDATE SET last = counters.last + 1
         RETURNING last",
    )
    .bind(owner)
    .bind(name)
    .fetch_one(&mut **tx)
    .await?;
    Ok(number)
}

/// The last number that a sequence has given; 0 if it never gave one.
pub(crate) async fn last_of(connection: &mut Connection, owner: &str, name: &str) -> Result<i64, StoreError> {
    let last: Option<i64> = sqlx::query_scalar("SELECT last FROM counters WHERE tenant = $1 AND name = $2")
        .bind(owner)
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(last.unwrap_or_default())
}

/// Now, as precise as the metastore keeps it.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).expect("the present is a time")
}

/// The latest time that can be read back: as microseconds, not all that is in the last second can.
pub(crate) fn latest() -> Timestamp {
    Timestamp::from_second(Timestamp::MAX.as_second()).expect("the last second is a time")
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
        (Database::open(&folder.path().join("metastore.sqlite3"), None).await.unwrap(), folder)
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
