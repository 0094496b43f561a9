//! One host at a time: the lock that the writer's connection holds, and the term in which it holds it.
//!
//! The lock ends with the connection, so the host may lose it to another one. All writing goes through the
//! connection that has the lock, so a host without it writes nothing. But what it remembers of the tables is
//! then out of date: each host that opens the metastore begins a term, and one that gets the lock again in
//! somebody else's term stays out for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use sqlx::Row as _;

use super::{MetastoreUrl, Raw};
use crate::StoreError;
use crate::belonging::TERMS;

/// The number of the lock: "modelet" in ASCII. It is one for each database.
const LOCK: i64 = 0x6d_6f64_656c_6574;

/// What a host knows of its hold on the metastore.
#[derive(Clone)]
pub(super) struct Claim(Arc<State>);

struct State {
    shown: String,
    /// The term that this host began; 0 before.
    term: AtomicI64,
    standing: AtomicU8,
}

/// How the last connection of the writer found the lock.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It was free, or there was no connection since.
    Held,
    /// Another connection has it: of another host, or this host's own that the database still believes in.
    Refused,
    /// Another host had it meanwhile.
    Lost,
}

impl Claim {
    pub(super) fn new(url: &MetastoreUrl) -> Self {
        let standing = AtomicU8::new(Standing::Held as u8);
        Self(Arc::new(State { shown: url.to_string(), term: AtomicI64::new(0), standing }))
    }

    /// Takes the lock on a new connection of the writer, which is then the only one that writes.
    pub(super) async fn take(&self, connection: &mut Raw) -> Result<(), sqlx::Error> {
        let term = self.0.term.load(Ordering::Acquire);
        let mut standing = Standing::Refused;
        if try_lock(connection).await? {
            let unchanged = term == 0 || present(connection).await? == Some(term);
            standing = if unchanged { Standing::Held } else { Standing::Lost };
        }
        self.0.standing.store(standing as u8, Ordering::Release);
        match standing {
            Standing::Held => Ok(()),
            // The connection is closed, and the lock with it.
            Standing::Refused | Standing::Lost => Err(sqlx::Error::Protocol(self.taken().to_string())),
        }
    }

    /// Notes that this host has begun a term.
    pub(super) fn begin(&self, term: i64) {
        self.0.term.store(term, Ordering::Release);
    }

    /// Refuses at once what would wait for a connection that can be had no more.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.0.standing.load(Ordering::Acquire) == Standing::Lost as u8 {
            Err(self.taken())
        } else {
            Ok(())
        }
    }

    /// Says why there is no connection to write with, if another host is the reason.
    pub(super) fn explain<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        match result {
            Ok(value) => Ok(value),
            Err(sqlx::Error::PoolTimedOut)
                if self.0.standing.load(Ordering::Acquire) != Standing::Held as u8 =>
            {
                Err(self.taken())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn taken(&self) -> StoreError {
        StoreError::MetastoreTaken { metastore: self.0.shown.clone() }
    }
}

/// Tries to take the lock for as long as the connection lasts.
pub(super) async fn try_lock(connection: &mut Raw) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT pg_try_advisory_lock($1) AS held").bind(LOCK).fetch_one(connection).await?;
    row.try_get("held")
}

/// Gives it back.
pub(super) async fn unlock(connection: &mut Raw) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(connection).await.map(drop)
}

/// The term that was begun last.
async fn present(connection: &mut Raw) -> Result<Option<i64>, sqlx::Error> {
    let (owner, name) = TERMS;
    sqlx::query_scalar("SELECT last FROM counters WHERE tenant = $1 AND name = $2")
        .bind(owner)
        .bind(name)
        .fetch_optional(connection)
        .await
}
