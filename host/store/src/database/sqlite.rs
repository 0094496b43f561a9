//! SQLite: a file in the data folder, and what its connections are told.

use std::io;
use std::path::Path;
use std::str::FromStr as _;

use sqlx::any::AnyConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use super::{Database, Kind, Raw, pool, schema};
use crate::StoreError;

const READERS: u32 = 4;

/// What every connection is told first. The log is written ahead, so that readers and the writer do not wait
/// for each other. Every commit is synced: an acknowledged change survives a loss of power. A statement waits
/// ten seconds for another process, such as a backup, to let go of the file.
const SETTINGS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                        PRAGMA foreign_keys = ON";

/// A file, as sqlx is told of it.
pub(crate) fn options(file: &Path, mode: &str) -> Result<AnyConnectOptions, StoreError> {
    let refused =
        || StoreError::io("open", file)(io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"));
    let path = file.to_str().ok_or_else(refused)?;
    // Every byte but letters and digits is escaped: what is in a path must not mean anything in a URL.
    let escaped: String =
        path.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
    Ok(AnyConnectOptions::from_str(&format!("sqlite:{escaped}?mode={mode}"))?)
}

pub(super) async fn open(file: &Path) -> Result<Database, StoreError> {
    let options = options(file, "rwc")?;
    let pool = |connections| {
        pool(connections)
            // There is no network that could have cut a connection while it lay idle.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
            })
    };
    let writer = pool(1).connect_with(options.clone()).await?;
    schema::migrate_sqlite(&writer, file.display()).await?;
    let readers = pool(READERS).connect_with(options).await?;
    Ok(Database { readers, writer, kind: Kind::Sqlite })
}

/// A connection that only reads. The log of a host beside it can be read, since it is written ahead.
pub(super) async fn connect_reader(file: &Path) -> Result<Raw, StoreError> {
    let mut connection = options(file, "rw")?.connect().await?;
    connection.execute("PRAGMA busy_timeout = 10000; PRAGMA query_only = ON").await?;
    Ok(connection)
}
