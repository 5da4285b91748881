//! Connections and transactions.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bb8::{ManageConnection, PooledConnection};
use diesel::IntoSql;
use diesel::connection::AnsiTransactionManager;
use diesel::sqlite::SqliteConnection;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, TransactionManager,
    pooled_connection::{AsyncDieselConnectionManager, bb8::Pool},
    sync_connection_wrapper::SyncConnectionWrapper,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{Instrument, Span, info_span};

use super::{
    Error, Result,
    connect::{CONNECT_TIMEOUT, PostgresTarget, postgres, sqlite},
    sql_types::SqlTime,
};
use crate::types::{Clock, Time};

pub(super) type PgConn = AsyncPgConnection;
pub(super) type SqliteConn = SyncConnectionWrapper<SqliteConnection>;

/// A connection of the pool, or one of its own beside it.
pub(super) enum Held<M: ManageConnection> {
    Pooled(PooledConnection<'static, M>),
    Own(Box<M::Connection>),
}

impl<M: ManageConnection> Deref for Held<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        match self {
            Self::Pooled(conn) => conn,
            Self::Own(conn) => conn,
        }
    }
}

impl<M: ManageConnection> DerefMut for Held<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        match self {
            Self::Pooled(conn) => conn,
            Self::Own(conn) => conn,
        }
    }
}

/// How long an answer may take. A server that is well gives up before, by its `statement_timeout`, so this is for one
/// that is silent; and a request, which may take 10 s (S60), still learns of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(9);

/// A database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) database: Database,
    /// One permit for each connection. The pool serves newcomers before those who wait; this queue is fair.
    pub(super) connections: Arc<Semaphore>,
    pub(super) max_connections: u32,
    pub(super) clock: Clock,
}

#[derive(Clone)]
pub(super) enum Database {
    Postgres {
        pool: Pool<PgConn>,
        /// The way around a pooler, for migrations.
        direct: Arc<PostgresTarget>,
    },
    Sqlite {
        pool: Pool<SqliteConn>,
        /// SQLite writes one transaction at a time; waiting for a permit is fair and blocks no thread, unlike its busy
        /// handler.
        writers: Arc<Semaphore>,
        path: Arc<Path>,
    },
}

/// One connection, whichever database it is to.
pub struct Conn {
    pub(super) inner: Inner,
    clock: Clock,
    /// Set while an answer is waited for.
    pub(super) waiting: bool,
    /// Given back after the connection.
    _permit: Option<OwnedSemaphorePermit>,
}

#[expect(clippy::large_enum_variant, reason = "made once a request, and never moved about in bulk")]
pub(super) enum Inner {
    Postgres(Held<AsyncDieselConnectionManager<PgConn>>),
    Sqlite(Held<AsyncDieselConnectionManager<SqliteConn>>),
}

/// Expands a query once for each database, with `$c` bound to the concrete connection, so that each expansion is checked
/// against its dialect.
macro_rules! run {
    ($conn:expr, $c:ident => $body:expr) => {{
        use tracing::Instrument as _;
        let conn: &mut $crate::store::Conn = $conn;
        match &mut conn.inner {
            $crate::store::conn::Inner::Postgres(c) => {
                let $c: &mut $crate::store::conn::PgConn = &mut *c;
                $crate::store::conn::answer(&mut conn.waiting, async { $body })
                    .instrument($crate::store::conn::query_span(module_path!()))
                    .await
            }
            $crate::store::conn::Inner::Sqlite(c) => {
                let $c: &mut $crate::store::conn::SqliteConn = &mut *c;
                $crate::store::conn::answer(&mut conn.waiting, async { $body })
                    .instrument($crate::store::conn::query_span(module_path!()))
                    .await
            }
        }
    }};
}
pub(super) use run;

/// Removes up to `$limit` rows of a table whose `$time` is before `$end`.
macro_rules! sweep {
    ($tx:expr, $table:ident, $key:ident, $time:ident, $end:expr, $limit:expr) => {{
        let old = diesel::alias!($table as old);
        let old = old
            .filter(old.field($table::$time).lt($end))
            .select(old.field($table::$key))
            .limit($limit);
        let query = diesel::delete($table::table)
            .filter($table::$key.eq_any(old))
            // What was given more time meanwhile stays.
            .filter($table::$time.lt($end));
        $crate::store::conn::run!($tx, c => Ok(query.execute(c).await?))
    }};
}
pub(super) use sweep;

/// The span of a query of the module that has it: a table's. Only within a request's, so that what happens without one is no
/// trace of its own; and never with a value (S57).
pub(super) fn query_span(module: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let table = module.rsplit("::").next().unwrap_or_default();
    info_span!(
        "query",
        otel.name = format_args!("query {table}"),
        otel.kind = "client",
        db.collection.name = table
    )
}

/// Waits for the database's answer, but not for ever.
pub(super) async fn answer<T>(waiting: &mut bool, answer: impl Future<Output = Result<T>>) -> Result<T> {
    *waiting = true;
    let answer =
        timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| Error::Unavailable("no answer in time".into()))?;
    *waiting = false;
    answer
}

/// The connections of the pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolStats {
    /// Open, and at nobody's service.
    pub idle: u32,
    /// At somebody's service.
    pub used: u32,
    /// At most.
    pub max: u32,
}

diesel::define_sql_function! {
    /// PostgreSQL's clock, which runs on within a transaction.
    fn clock_timestamp() -> SqlTime;
}

impl Store {
    /// A connection for reading: what writes takes a [`Tx`]. `Unavailable` when none comes free, or none can be made, in
    /// five seconds.
    pub async fn conn(&self) -> Result<Conn> {
        let span = if Span::current().is_none() { Span::none() } else { info_span!("connection") };
        self.take_conn().instrument(span).await
    }

    async fn take_conn(&self) -> Result<Conn> {
        let permit = timeout(CONNECT_TIMEOUT, self.connections.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Unavailable("no connection came free in time".into()))?;
        let inner = match &self.database {
            Database::Postgres { pool, .. } => Inner::Postgres(Held::Pooled(pool.get_owned().await?)),
            Database::Sqlite { pool, .. } => Inner::Sqlite(Held::Pooled(pool.get_owned().await?)),
        };
        // The semaphores are never closed.
        Ok(Conn { inner, clock: self.clock.clone(), waiting: false, _permit: permit.ok() })
    }

    /// What OpenTelemetry calls this database.
    fn system(&self) -> &'static str {
        match &self.database {
            Database::Postgres { .. } => "postgresql",
            Database::Sqlite { .. } => "sqlite",
        }
    }

    /// The connections, as they are now.
    pub fn pool_stats(&self) -> PoolStats {
        let state = match &self.database {
            Database::Postgres { pool, .. } => pool.state(),
            Database::Sqlite { pool, .. } => pool.state(),
        };
        let (idle, open) = (state.idle_connections, state.connections);
        PoolStats { idle, used: open.saturating_sub(idle), max: self.max_connections }
    }

    /// A connection beside the pool, for one who keeps it and must not wait in line. It leads around a pooler.
    pub(super) async fn own_conn(&self) -> Result<Conn> {
        let inner = match &self.database {
            Database::Postgres { direct, .. } => {
                Inner::Postgres(Held::Own(Box::new(postgres(direct).await?)))
            }
            Database::Sqlite { path, .. } => Inner::Sqlite(Held::Own(Box::new(sqlite(path).await?))),
        };
        Ok(Conn { inner, clock: self.clock.clone(), waiting: false, _permit: None })
    }

    /// Runs `work` in a transaction: commits on `Ok`, rolls back on `Err`. A request that is cancelled meanwhile leaves
    /// nothing behind, either.
    pub async fn tx<T, E: From<Error>>(
        &self,
        work: impl AsyncFnOnce(&mut Tx) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let span = if Span::current().is_none() {
            Span::none()
        } else {
            info_span!("transaction", otel.kind = "client", db.system.name = self.system())
        };
        self.run_tx(work).instrument(span).await
    }

    async fn run_tx<T, E: From<Error>>(
        &self,
        work: impl AsyncFnOnce(&mut Tx) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut tx = self.begin().await?;
        match work(&mut tx).await {
            Ok(value) => {
                tx.commit().await?;
                Ok(value)
            }
            Err(error) => {
                // When that fails the connection is closed, which rolls back as well.
                if let Err(cause) = tx.rollback().await {
                    tracing::debug!(%cause, "rollback failed");
                }
                Err(error)
            }
        }
    }

    /// Begins a transaction. [`tx`](Self::tx) ends it in the right way; dropped without a commit it rolls back, at the
    /// price of its connection.
    pub async fn begin(&self) -> Result<Tx> {
        let permit = match &self.database {
            Database::Postgres { .. } => None,
            Database::Sqlite { writers, .. } => writers.clone().acquire_owned().await.ok(),
        };
        let mut conn = self.conn().await?;
        match &mut conn.inner {
            Inner::Postgres(c) => {
                let begin = async { Ok(Manager::<PgConn>::begin_transaction(&mut **c).await?) };
                answer(&mut conn.waiting, begin).await?;
            }
            // A plain BEGIN that writes later fails with "database is locked" when another has written meanwhile.
            Inner::Sqlite(c) => {
                c.spawn_blocking(|c| AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"))
                    .await?;
            }
        }
        Ok(Tx { conn, after_commit: Vec::new(), _permit: permit })
    }
}

type Manager<C> = <C as AsyncConnection>::TransactionManager;

impl Conn {
    /// The time that all replicas agree on: PostgreSQL's clock, or with SQLite, which serves one machine, the machine's.
    /// A clock that was set by hand goes before both.
    pub async fn now(&mut self) -> Result<Time> {
        match (&self.clock, &mut self.inner) {
            (Clock::System, Inner::Postgres(c)) => {
                let query = diesel::select(clock_timestamp());
                answer(&mut self.waiting, async { Ok(query.get_result(&mut **c).await?) }).await
            }
            (clock, _) => Ok(clock.now()),
        }
    }

    /// Asks the database for an answer, to see that it gives one.
    pub async fn ping(&mut self) -> Result<()> {
        let query = diesel::select(1_i32.into_sql::<diesel::sql_types::Integer>());
        run!(self, c => Ok(query.execute(c).await?)).map(drop)
    }
}

impl Drop for Conn {
    /// A connection whose answer nobody waits for any more is closed: it may never come, and whoever used the connection
    /// next would wait for it, too. SQLite, which is on this machine, always comes back.
    fn drop(&mut self) {
        if let (true, Inner::Postgres(c)) = (self.waiting, &mut self.inner) {
            Manager::<PgConn>::transaction_manager_status_mut(&mut **c).set_in_error();
        }
    }
}

/// A transaction. It is also a [`Conn`], so that every query can run in it.
pub struct Tx {
    conn: Conn,
    after_commit: Vec<Box<dyn FnOnce() + Send>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Tx {
    /// Lets this transaction give up a lock that it does not get at once, rather than be part of a deadlock that could end
    /// somebody's request. For housekeeping, which comes again.
    pub async fn give_way(&mut self) -> Result<()> {
        // On SQLite there is one writer at a time.
        if let Inner::Postgres(c) = &mut self.conn.inner {
            let set = diesel::sql_query("SET LOCAL lock_timeout = '100ms'");
            answer(&mut self.conn.waiting, async { Ok(set.execute(&mut **c).await?) }).await?;
        }
        Ok(())
    }

    /// Does something once this transaction is known to last, and not otherwise: a log line, a wake-up.
    pub fn after_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(then));
    }

    /// Makes it last.
    pub async fn commit(mut self) -> Result<()> {
        run!(&mut self.conn, c => commit(c).await)?;
        self.after_commit.drain(..).for_each(|then| then());
        Ok(())
    }

    /// Undoes it.
    pub async fn rollback(mut self) -> Result<()> {
        run!(&mut self.conn, c => rollback(c).await)
    }
}

pub(super) async fn commit<C: AsyncConnection>(conn: &mut C) -> Result<()> {
    Ok(C::TransactionManager::commit_transaction(conn).await?)
}

async fn rollback<C: AsyncConnection>(conn: &mut C) -> Result<()> {
    Ok(C::TransactionManager::rollback_transaction(conn).await?)
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
