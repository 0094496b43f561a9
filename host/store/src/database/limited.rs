//! Connections that do not wait for an answer for ever.
//!
//! A database ends what takes it too long by itself; but where the network swallows what it says, nobody ever
//! hears of that, and a host that waits would write no more until it is started again. So what goes to
//! PostgreSQL has a time on this side too. SQLite needs none: there is no network.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Describe, Either, Error, Execute, Executor, Pool, SqlStr, Transaction};
use tokio::time::timeout;

/// A connection, within a transaction or not.
pub(crate) struct Connection {
    held: Held,
    limit: Option<Duration>,
}

enum Held {
    Transaction(Transaction<'static, Any>),
    Pooled(PoolConnection<Any>),
    Own(AnyConnection),
}

impl Connection {
    /// One that is nobody else's, and may take its time.
    pub(super) fn own(connection: AnyConnection) -> Self {
        Self { held: Held::Own(connection), limit: None }
    }

    fn raw(&mut self) -> &mut AnyConnection {
        match &mut self.held {
            Held::Transaction(transaction) => transaction,
            Held::Pooled(connection) => connection,
            Held::Own(connection) => connection,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// An open transaction. Dropped without a commit, it leaves nothing.
pub(crate) struct Tx(Connection);

impl Tx {
    pub(super) fn new(transaction: Transaction<'static, Any>, limit: Option<Duration>) -> Self {
        Self(Connection { held: Held::Transaction(transaction), limit })
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        let Connection { held, limit } = self.0;
        match held {
            Held::Transaction(transaction) => in_time(limit, transaction.commit()).await,
            Held::Pooled(_) | Held::Own(_) => unreachable!("a transaction is made of one"),
        }
    }
}

impl Deref for Tx {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// A pool, for single statements.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(super) pool: &'a Pool<Any>,
    pub(super) limit: Option<Duration>,
}

impl Reader<'_> {
    pub(crate) async fn acquire(&self) -> Result<Connection, Error> {
        Ok(Connection { held: Held::Pooled(self.pool.acquire().await?), limit: self.limit })
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// Ends as an answer that did not come.
async fn in_time<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match limit {
        None => answer.await,
        Some(limit) => timeout(limit, answer).await.unwrap_or_else(|_| Err(late())),
    }
}

fn late() -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer"))
}

/// The same for each answer of several.
fn each_in_time<'e, T: Send + 'e>(
    limit: Option<Duration>,
    answers: BoxStream<'e, Result<T, Error>>,
) -> BoxStream<'e, Result<T, Error>> {
    let Some(limit) = limit else { return answers };
    let next = move |answers: Option<BoxStream<'e, Result<T, Error>>>| async move {
        let mut answers = answers?;
        match timeout(limit, answers.next()).await {
            Ok(answer) => Some((answer?, Some(answers))),
            Err(_) => Some((Err(late()), None)),
        }
    };
    stream::unfold(Some(answers), next).boxed()
}

/// What an executor has to have, for one that asks `$executor` within `$limit`.
macro_rules! execute_in_time {
    ($self:ident, $limit:expr, $executor:expr) => {
        type Database = Any;

        fn fetch_many<'e, 'q: 'e, E>(
            $self,
            query: E,
        ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
        where
            'c: 'e,
            E: 'q + Execute<'q, Any>,
        {
            each_in_time($limit, $executor.fetch_many(query))
        }

        fn fetch_optional<'e, 'q: 'e, E>($self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
        where
            'c: 'e,
            E: 'q + Execute<'q, Any>,
        {
            in_time($limit, $executor.fetch_optional(query)).boxed()
        }

        fn prepare_with<'e>(
            $self,
            sql: SqlStr,
            parameters: &'e [AnyTypeInfo],
        ) -> BoxFuture<'e, Result<AnyStatement, Error>>
        where
            'c: 'e,
        {
            in_time($limit, $executor.prepare_with(sql, parameters)).boxed()
        }

        fn describe<'e>($self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
        where
            'c: 'e,
        {
            in_time($limit, $executor.describe(sql)).boxed()
        }
    };
}

impl<'c> Executor<'c> for &'c mut Connection {
    execute_in_time!(self, self.limit, self.raw());
}

impl<'c> Executor<'c> for Reader<'c> {
    execute_in_time!(self, self.limit, self.pool);
}
