//! PostgreSQL: what is looked at before it is used, and what its connections are told.

use std::time::{Duration, Instant};

use sqlx::any::AnyConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::time::{sleep, timeout};

use super::term::{self, Claim};
use super::{Database, Kind, MetastoreUrl, Raw, pool, schema};
use crate::StoreError;

const READERS: u32 = 8;

/// How long a connection is waited for, also one that has to be made anew.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a lock that another host has is waited for: a database sees a moment after the end of a host
/// that it has ended.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer to a statement is waited for: longer than the database itself would take to give up.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(12);

/// What begins a transaction that sees one state of all tables.
pub(super) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// PostgreSQL's code for what a role may not do.
pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What every connection is told first. A commit is on the disk before it is answered, whatever the database's
/// own setting. Nothing runs or waits for ever, and the database finds out within half a minute that a host
/// is gone whose machine did not say so, and gives its lock free.
const SETTINGS: &str = "
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
    SET statement_timeout = '10s';
    SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '60s';
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '25s'";

/// Connections that are there to read are held to it.
const READ_ONLY: &str = "SET default_transaction_read_only = on";

pub(super) async fn open(url: &MetastoreUrl) -> Result<Database, StoreError> {
    let options = url.options()?;
    look(url, &options).await?;
    let claim = Claim::new(url);
    let writer = {
        let claim = claim.clone();
        let pool = pool(1).acquire_timeout(CONNECT_PATIENCE).after_connect(move |connection, _| {
            let claim = claim.clone();
            Box::pin(async move {
                connection.execute(SETTINGS).await?;
                claim.take(connection).await
            })
        });
        // It has the lock, so it is never closed for its age.
        pool.idle_timeout(None).max_lifetime(None).connect_lazy_with(options.clone())
    };
    // A change of a large table may take its time. There is but one connection, which all of this goes through.
    claim.explain(writer.execute("SET statement_timeout = 0").await)?;
    schema::migrate_postgres(&writer, url).await?;
    writer.execute("SET statement_timeout = '10s'").await?;
    let readers = pool(READERS).acquire_timeout(CONNECT_PATIENCE).after_connect(|connection, _| {
        Box::pin(async move {
            connection.execute(SETTINGS).await?;
            connection.execute(READ_ONLY).await.map(drop)
        })
    });
    let readers = readers.connect_lazy_with(options);
    Ok(Database { readers, writer, kind: Kind::Postgres(claim) })
}

/// Connects once by itself, since a pool tries again where trying again is of no use, and keeps the reason.
async fn look(url: &MetastoreUrl, options: &AnyConnectOptions) -> Result<(), StoreError> {
    let mut connection = connect(url, options).await?;
    let facts = "SELECT current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS is_standby";
    let row = connection.fetch_one(facts).await?;
    let unfit = |reason| Err(StoreError::UnfitMetastore { metastore: url.to_string(), reason });
    if row.try_get::<&str, _>("encoding")? != "UTF8" {
        return unfit(
            "its encoding is not UTF8: make one with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`",
        );
    }
    if row.try_get("is_standby")? {
        return unfit("it is a standby, which takes no writes: give the address of the primary");
    }
    let began = Instant::now();
    while !term::try_lock(&mut connection).await? {
        if began.elapsed() > LOCK_PATIENCE {
            return Err(StoreError::MetastoreTaken { metastore: url.to_string() });
        }
        sleep(Duration::from_millis(50)).await;
    }
    // The writer's connection takes it next.
    term::unlock(&mut connection).await?;
    Ok(connection.close().await?)
}

/// A connection that only reads, for as long as it takes.
pub(super) async fn connect_reader(url: &MetastoreUrl) -> Result<Raw, StoreError> {
    let mut connection = connect(url, &url.options()?).await?;
    connection.execute(READ_ONLY).await?;
    // A copy takes as long as its artifacts do, and a role's own setting may end what is idle.
    connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0").await?;
    Ok(connection)
}

/// A connection outside of the pools.
async fn connect(url: &MetastoreUrl, options: &AnyConnectOptions) -> Result<Raw, StoreError> {
    let metastore = || url.to_string();
    let error = match timeout(CONNECT_PATIENCE, options.connect()).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(error)) => error,
        Err(_) => sqlx::Error::PoolTimedOut,
    };
    let code = match &error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        _ => String::new(),
    };
    Err(match code.as_str() {
        "28000" | "28P01" => StoreError::MetastoreRefuses { metastore: metastore(), source: error },
        "3D000" => StoreError::NoMetastore { metastore: metastore(), source: error },
        _ => StoreError::Unreachable { metastore: metastore(), source: error },
    })
}
