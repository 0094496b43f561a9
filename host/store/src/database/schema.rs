//! The tables, and how they come to this host's format.

use std::borrow::Cow;
use std::fmt::Display;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Pool, SqlSafeStr as _};

use super::{Connection, Db};
use crate::{StoreConfig, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Brings SQLite's tables to this host's format.
pub(super) async fn migrate_sqlite(pool: &Pool<Db>, shown: impl Display) -> Result<(), StoreError> {
    run(&MIGRATIONS, pool, shown).await
}

/// Brings PostgreSQL's tables to this host's format.
///
/// SQLite compares text by its bytes, and PostgreSQL by the language of the database, unless a column says
/// otherwise: then lists would be in another order, and copies too.
pub(super) async fn migrate_postgres(pool: &Pool<Db>, shown: impl Display) -> Result<(), StoreError> {
    let mut migrations = MIGRATIONS.migrations.to_vec();
    for migration in &mut migrations {
        let sql = migration.sql.as_str().replace(" TEXT", " TEXT COLLATE \"C\"");
        migration.sql = AssertSqlSafe(sql).into_sql_str();
    }
    run(&Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT }, pool, shown).await
}

async fn run(migrator: &Migrator, pool: &Pool<Db>, shown: impl Display) -> Result<(), StoreError> {
    migrator.run(pool).await.map_err(|source| match source {
        MigrateError::VersionMissing(found) => {
            StoreError::NewerMetastore { metastore: shown.to_string(), found, known: newest() }
        }
        MigrateError::Execute(sqlx::Error::Database(error))
        | MigrateError::ExecuteMigration(sqlx::Error::Database(error), _)
            if error.code().is_some_and(|code| code == super::postgres::INSUFFICIENT_PRIVILEGE) =>
        {
            StoreError::MayNotCreateTables {
                metastore: shown.to_string(),
                source: sqlx::Error::Database(error),
            }
        }
        source => StoreError::Migrate { metastore: shown.to_string(), source },
    })
}

/// Checks that a metastore which may not be changed has this host's format.
pub(crate) async fn check_format(
    connection: &mut Connection,
    config: &StoreConfig,
) -> Result<(), StoreError> {
    let statement = "SELECT MAX(version) FROM _sqlx_migrations";
    let found: Result<Option<i64>, sqlx::Error> = sqlx::query_scalar(statement).fetch_one(connection).await;
    let metastore = config.to_string();
    match found {
        Ok(Some(found)) if found > newest() => {
            Err(StoreError::NewerMetastore { metastore, found, known: newest() })
        }
        Ok(Some(found)) if found < newest() => Err(StoreError::OlderMetastore { metastore }),
        Ok(Some(_)) => Ok(()),
        // There is no such table.
        Ok(None) | Err(sqlx::Error::Database(_)) => Err(StoreError::NothingToCopy { metastore }),
        Err(error) => Err(error.into()),
    }
}

/// The newest migration that this host knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}
