//! The rows: which tables there are, and how they get from one database to another.

use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Row as _};

use super::CopyProgress;
use crate::StoreError;
use crate::database::{Connection, Database, Row, Tx};

/// Rows that are written in one statement.
const BATCH: usize = 100;

/// A table, with what its columns hold.
struct Table {
    name: &'static str,
    /// Columns of text, and then those of numbers. Those of the key, in the key's order, by name.
    texts: &'static [&'static str],
    numbers: &'static [&'static str],
    key: &'static str,
}

/// All of them, in an order in which no row comes before one that it refers to.
const TABLES: &[Table] = &[
    Table { name: "counters", texts: &["tenant", "name"], numbers: &["last"], key: "tenant, name" },
    Table {
        name: "changes",
        texts: &["tenant", "actor", "action", "subject", "before_json", "after_json", "origin", "hash"],
        numbers: &["id", "at"],
        key: "tenant, id",
    },
    Table {
        name: "audit_checkpoints",
        texts: &["tenant", "hash", "public_key", "signature"],
        numbers: &["id", "at"],
        key: "tenant",
    },
    Table {
        name: "tenants",
        texts: &["name", "trust", "created_by", "quotas", "plan"],
        numbers: &["created_at", "deleted_at"],
        key: "name",
    },
    Table {
        name: "api_keys",
        texts: &["tenant", "id", "person", "digest", "role", "functions", "description", "created_by"],
        numbers: &["created_at", "expires_at", "lifetime_s", "last_used_at"],
        key: "tenant, id",
    },
    Table {
        name: "artifacts",
        texts: &["tenant", "digest"],
        numbers: &["size_bytes", "created_at", "used_at"],
        key: "tenant, digest",
    },
    Table {
        name: "functions",
        texts: &["tenant", "name", "quotas", "pending"],
        numbers: &["id", "version", "split", "approval_since", "created_at", "updated_at"],
        key: "tenant, name",
    },
    Table {
        name: "revisions",
        texts: &["tenant", "function", "spec", "details", "created_by"],
        numbers: &["number", "created_at"],
        key: "tenant, function, number",
    },
    Table {
        name: "revision_artifacts",
        texts: &["tenant", "function", "digest"],
        numbers: &["revision"],
        key: "tenant, function, revision, digest",
    },
    Table {
        name: "splits",
        texts: &["tenant", "function", "shares"],
        numbers: &["id", "previous", "created_at"],
        key: "tenant, function, id",
    },
    Table {
        name: "secrets",
        texts: &["tenant", "function", "name", "sealed", "set_by"],
        numbers: &["set_at"],
        key: "tenant, function, name",
    },
    Table {
        name: "usage_hours",
        texts: &["tenant", "function"],
        numbers: &[
            "hour",
            "revision",
            "invocations",
            "failed",
            "cold",
            "not_billed",
            "duration_ms",
            "memory_mib_ms",
            "cpu_us",
            "inference_cpu_us",
            "request_bytes",
            "response_bytes",
        ],
        key: "tenant, hour, function, revision",
    },
    Table { name: "usage_cursors", texts: &["ledger"], numbers: &["segment", "position"], key: "ledger" },
    Table {
        name: "usage_export_cursors",
        texts: &["ledger"],
        numbers: &["segment", "position"],
        key: "ledger",
    },
    Table {
        name: "requests",
        texts: &["tenant", "actor", "request", "fingerprint", "subject"],
        numbers: &["at"],
        key: "tenant, actor, request",
    },
];

impl Table {
    fn columns(&self) -> String {
        [self.texts, self.numbers].concat().join(", ")
    }

    /// The statement that adds `rows` rows.
    fn insert(&self, rows: usize) -> String {
        let width = self.texts.len() + self.numbers.len();
        let row = |row: usize| {
            let places: Vec<String> =
                (1..=width).map(|column| format!("${}", row * width + column)).collect();
            format!("({})", places.join(", "))
        };
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!("INSERT INTO {} ({}) VALUES {}", self.name, self.columns(), rows.join(", "))
    }
}

/// How many rows there are in all tables.
pub(super) async fn count_all(connection: &mut Connection) -> Result<u64, StoreError> {
    let mut rows = 0;
    for table in TABLES {
        rows += count(connection, table).await?;
    }
    Ok(rows)
}

async fn count(connection: &mut Connection, table: &Table) -> Result<u64, StoreError> {
    let statement = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", table.name));
    let count: i64 = sqlx::query_scalar(statement).fetch_one(connection).await?;
    Ok(count.unsigned_abs())
}

/// Copies all rows that the snapshot has, in one transaction of the target, and gives their number.
pub(super) async fn copy_rows(
    snapshot: &mut Connection,
    target: &Database,
    progress: &mut (impl FnMut(CopyProgress) + Send),
) -> Result<u64, StoreError> {
    let total = count_all(snapshot).await?;
    let mut rows = 0;
    let mut tx = target.write().await?;
    for table in TABLES {
        let statement =
            AssertSqlSafe(format!("SELECT {} FROM {} ORDER BY {}", table.columns(), table.name, table.key));
        let mut source = sqlx::query(statement).fetch(&mut *snapshot).try_chunks(BATCH);
        while let Some(batch) = source.try_next().await.map_err(|error| StoreError::from(error.1))? {
            insert(&mut tx, table, &batch).await?;
            rows += batch.len() as u64;
            progress(CopyProgress::Rows { rows, total });
        }
    }
    let arrived = count_all(&mut tx).await?;
    if (rows, arrived) != (total, total) {
        let detail = format!("{total} rows were to be copied, and {arrived} arrived");
        return Err(StoreError::damaged("the copy of the metastore")(detail));
    }
    tx.commit().await?;
    Ok(rows)
}

async fn insert(tx: &mut Tx, table: &Table, batch: &[Row]) -> Result<(), StoreError> {
    let mut query = sqlx::query(AssertSqlSafe(table.insert(batch.len())));
    for row in batch {
        for column in table.texts {
            let text: Option<String> = row.try_get(column)?;
            if text.as_ref().is_some_and(|text| text.contains('\0')) {
                let what = format!("{}.{column}", table.name);
                let detail =
                    "it has the character U+0000, which PostgreSQL does not take: revoke the key that has it"
                        .to_owned();
                return Err(StoreError::damaged(what)(detail));
            }
            query = query.bind(text);
        }
        for column in table.numbers {
            query = query.bind(row.try_get::<Option<i64>, _>(column)?);
        }
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A table or a column that a migration adds must be in the list.
    #[tokio::test]
    async fn every_column_of_every_table_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("m.sqlite3"), None).await.unwrap();
        let rows = sqlx::query(
            "SELECT m.name AS of, c.name AS name, c.type AS type FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
        )
        .fetch_all(database.reader())
        .await
        .unwrap();
        let text = |row: &Row, column: &str| row.try_get::<String, _>(column).unwrap();
        let stored: BTreeSet<_> =
            rows.iter().map(|row| (text(row, "of"), text(row, "name"), text(row, "type"))).collect();
        let listed = TABLES.iter().flat_map(|table| {
            let typed = |names: &'static [&'static str], kind: &'static str| {
                names.iter().map(move |name| (table.name.to_owned(), (*name).to_owned(), kind.to_owned()))
            };
            typed(table.texts, "TEXT").chain(typed(table.numbers, "BIGINT"))
        });
        assert_eq!(listed.collect::<BTreeSet<_>>(), stored);
    }
}
