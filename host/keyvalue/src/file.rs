//! One function's file: an SQLite database, and what is done in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, Sqlite, Transaction};

use crate::operation::{Entries, MAX_PAGE_KEYS, check_bytes};
use crate::{ENTRY_BYTES, Error, MAX_BATCH_BYTES, MAX_VALUE_BYTES, Page, Sum, Swapped, Usage};

/// The format of the file, in `user_version`.
const FORMAT: i64 = 1;

/// How long a statement waits for another process, such as a backup, to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the database holds in memory of its file.
const CACHE_KIB: u32 = 512;

const SCHEMA: [&str; 3] = [
    // `id` stays with a key and is never given again, so that pages can be told apart by it. `version` is
    // of the last write, and never given again either.
    "CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        value BLOB NOT NULL
    )",
    "CREATE TABLE totals (keys INTEGER NOT NULL, bytes INTEGER NOT NULL, version INTEGER NOT NULL)",
    "INSERT INTO totals (keys, bytes, version) VALUES (0, 0, 0)",
];

/// An open file.
pub(crate) struct File(SqliteConnection);

impl File {
    /// Opens a file that is there; an empty one becomes a store that holds nothing.
    pub(crate) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit is synced: an acknowledged write survives a loss of power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        let format: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
        match format {
            FORMAT => {}
            0 => {
                let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
                for statement in SCHEMA {
                    sqlx::query(statement).execute(&mut *tx).await?;
                }
                sqlx::query("PRAGMA user_version = 1").execute(&mut *tx).await?;
                tx.commit().await?;
            }
            newer => {
                let detail = format!("the file has format {newer}, and this host reads up to {FORMAT}");
                return Err(sqlx::Error::Configuration(detail.into()));
            }
        }
        Ok(Self(connection))
    }

    /// Begins a turn: nothing of it is seen or kept before [`Turn::commit`].
    pub(crate) async fn begin(&mut self, writes: bool) -> Result<Turn<'_>, sqlx::Error> {
        // A transaction that begins by reading and then writes would fail if another process, such as a
        // backup, had come between.
        let mut tx = self.0.begin_with(if writes { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
        let row = sqlx::query("SELECT keys, bytes, version FROM totals").fetch_one(&mut *tx).await?;
        let totals = Totals {
            keys: unsigned(&row, "keys")?,
            bytes: unsigned(&row, "bytes")?,
            version: unsigned(&row, "version")?,
        };
        Ok(Turn { tx, totals, before: totals })
    }

    /// Gives the room of what was deleted back to the disk, and closes the file.
    pub(crate) async fn close(mut self) -> Result<(), sqlx::Error> {
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut self.0).await?;
        if free > 0 {
            sqlx::query("PRAGMA incremental_vacuum").execute(&mut self.0).await?;
        }
        self.0.close().await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Totals {
    keys: u64,
    bytes: u64,
    /// The last that was given to a write.
    version: u64,
}

/// One transaction. An operation in it that answers with an [`Error`] has changed nothing; after an error
/// of the database the turn is of no use.
pub(crate) struct Turn<'f> {
    tx: Transaction<'f, Sqlite>,
    totals: Totals,
    before: Totals,
}

/// What an operation comes to.
pub(crate) type Done<T> = Result<Result<T, Error>, sqlx::Error>;

impl Turn<'_> {
    /// Makes everything of the turn durable.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        if self.totals != self.before {
            sqlx::query("UPDATE totals SET keys = $1, bytes = $2, version = $3")
                .bind(signed(self.totals.keys))
                .bind(signed(self.totals.bytes))
                .bind(signed(self.totals.version))
                .execute(&mut *self.tx)
                .await?;
        }
        self.tx.commit().await
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage { keys: self.totals.keys, bytes: self.totals.bytes }
    }

    pub(crate) async fn get(&mut self, keys: &[String]) -> Done<Vec<Option<Vec<u8>>>> {
        let mut values = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let value = self.value(key).await?;
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            if let Err(error) = check_bytes(bytes) {
                return Ok(Err(error));
            }
            values.push(value);
        }
        Ok(Ok(values))
    }

    pub(crate) async fn exists(&mut self, key: &str) -> Done<bool> {
        Ok(Ok(self.version(key).await? > 0))
    }

    /// The version of a key's last write; 0 if it is not there.
    pub(crate) async fn version(&mut self, key: &str) -> Result<u64, sqlx::Error> {
        let row = sqlx::query("SELECT version FROM entries WHERE key = $1")
            .bind(key.as_bytes())
            .fetch_optional(&mut *self.tx)
            .await?;
        row.map_or(Ok(0), |row| unsigned(&row, "version"))
    }

    pub(crate) async fn list(&mut self, after: u64) -> Done<Page> {
        let rows = sqlx::query("SELECT id, key FROM entries WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(signed(after))
            .bind(MAX_PAGE_KEYS as i64 + 1)
            .fetch_all(&mut *self.tx)
            .await?;
        let mut page = Page::default();
        let mut last = after;
        for row in &rows {
            if page.keys.len() == MAX_PAGE_KEYS {
                page.next = Some(last);
                break;
            }
            let key: Vec<u8> = row.try_get("key")?;
            page.keys.push(String::from_utf8(key).map_err(|error| sqlx::Error::Decode(error.into()))?);
            last = unsigned(row, "id")?;
        }
        Ok(Ok(page))
    }

    pub(crate) async fn set(&mut self, entries: Entries, limit: u64) -> Done<()> {
        // Of a key that is named twice the last value counts, and it has one size.
        let entries: BTreeMap<String, Vec<u8>> = entries.into_iter().collect();
        let mut totals = self.totals;
        for (key, value) in &entries {
            match self.size(key).await? {
                Some(size) => totals.bytes = totals.bytes.saturating_sub(size),
                None => totals.keys += 1,
            }
            totals.bytes += entry_bytes(key, value.len());
        }
        // A store that is over a limit which was lowered can still be made smaller.
        if totals.bytes > limit && totals.bytes > self.totals.bytes {
            return Ok(Err(Error::Full { held: self.totals.bytes, wanted: totals.bytes, limit }));
        }
        for (key, value) in &entries {
            totals.version += 1;
            sqlx::query(
                "INSERT INTO entries (id, key, version, value) VALUES ($1, $2, $1, $3)
                 ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value",
            )
            .bind(signed(totals.version))
            .bind(key.as_bytes())
            .bind(&value[..])
            .execute(&mut *self.tx)
            .await?;
        }
        self.totals = totals;
        Ok(Ok(()))
    }

    pub(crate) async fn delete(&mut self, keys: &[String]) -> Done<()> {
        for key in keys {
            if let Some(size) = self.size(key).await? {
                sqlx::query("DELETE FROM entries WHERE key = $1")
                    .bind(key.as_bytes())
                    .execute(&mut *self.tx)
                    .await?;
                self.totals.keys = self.totals.keys.saturating_sub(1);
                self.totals.bytes = self.totals.bytes.saturating_sub(size);
            }
        }
        Ok(Ok(()))
    }

    pub(crate) async fn increment(&mut self, key: String, sum: Sum, limit: u64) -> Done<i64> {
        let number = match self.value(&key).await? {
            None => 0,
            Some(value) => match std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok()) {
                Some(number) => number,
                None => {
                    let detail =
                        "the value is not a number: only a whole number in decimal digits can be added to";
                    return Ok(Err(Error::Invalid(detail.into())));
                }
            },
        };
        let Sum { delta, lowest } = sum;
        let Some(sum) = number.checked_add(delta).filter(|sum| *sum >= lowest) else {
            let detail = format!("{number} and {delta} are not between {lowest} and {} together", i64::MAX);
            return Ok(Err(Error::Invalid(detail)));
        };
        let set = self.set(vec![(key, sum.to_string().into_bytes())], limit).await?;
        Ok(set.map(|()| sum))
    }

    pub(crate) async fn swap(
        &mut self,
        key: String,
        version: u64,
        value: Vec<u8>,
        limit: u64,
    ) -> Done<Swapped> {
        let present = self.version(&key).await?;
        if present != version {
            return Ok(Ok(Swapped::Changed(present)));
        }
        let set = self.set(vec![(key, value)], limit).await?;
        Ok(set.map(|()| Swapped::Done))
    }

    async fn value(&mut self, key: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
        sqlx::query_scalar("SELECT value FROM entries WHERE key = $1")
            .bind(key.as_bytes())
            .fetch_optional(&mut *self.tx)
            .await
    }

    /// What a key counts, if it is there.
    async fn size(&mut self, key: &str) -> Result<Option<u64>, sqlx::Error> {
        let row = sqlx::query("SELECT length(value) AS length FROM entries WHERE key = $1")
            .bind(key.as_bytes())
            .fetch_optional(&mut *self.tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let length: i64 = row.try_get("length")?;
        Ok(Some(entry_bytes(key, usize::try_from(length).unwrap_or_default())))
    }
}

// A single value can always be read.
const _: () = assert!(MAX_VALUE_BYTES < MAX_BATCH_BYTES);

fn entry_bytes(key: &str, value_bytes: usize) -> u64 {
    (key.len() + value_bytes) as u64 + ENTRY_BYTES
}

fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Only numbers over 2⁶³, which nothing here counts to, do not fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
