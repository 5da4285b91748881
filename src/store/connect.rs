//! From a URL to a pool.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use bb8::Pool;
use diesel::ConnectionError;
use diesel_async::{
    AsyncConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Store,
    conn::{Database, PgConn, SqliteConn},
    tls::Tls,
};
use crate::types::Clock;

/// How long a request waits for a connection, and how long one may take to be made: a database that is away makes a
/// clear error in bounded time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What bounds a statement, a lock and a forgotten transaction on the server's side.
const POSTGRES_SETUP: &str = "SET statement_timeout = '8s'; SET lock_timeout = '5s'; \
     SET idle_in_transaction_session_timeout = '15s'; SET application_name = 'countersign'";

/// FULL, so that what was acknowledged is on the disk (S19).
const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON";

/// Which database, and how much of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `sqlite://path` or `postgres://…`, which may carry a password.
    pub url: SecretString,
    /// The same database without a pooler in between, for migrations.
    pub direct_url: SecretString,
    /// Connections at most.
    pub max_connections: u32,
}

/// Why no pool could be made of the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be read. The text does not repeat it.
    #[error("{0}")]
    Url(String),
    /// The database does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// How a PostgreSQL is reached.
pub(super) struct Postgres {
    config: tokio_postgres::Config,
    tls: Option<Tls>,
}

/// A database URL, read.
pub(super) enum Target {
    Sqlite(String),
    Postgres(Box<Postgres>),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, ConnectError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(['?', '\0']) || path == ":memory:" {
                return Err(ConnectError::Url("a SQLite URL is sqlite://PATH of a file".into()));
            }
            return Ok(Self::Sqlite(path.to_owned()));
        }
        let (rest, tls) = Tls::from_url(url).map_err(ConnectError::Url)?;
        let mut config: tokio_postgres::Config =
            rest.parse().map_err(|e: tokio_postgres::Error| ConnectError::Url(e.to_string()))?;
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(Duration::from_secs(15))
            .tcp_user_timeout(Duration::from_secs(10));
        if tls.is_none() {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        }
        Ok(Self::Postgres(Box::new(Postgres { config, tls })))
    }
}

/// The file that a URL names, if it is one of SQLite.
pub fn sqlite_path(url: &str) -> Option<String> {
    match Target::parse(url) {
        Ok(Target::Sqlite(path)) => Some(path),
        Ok(Target::Postgres(_)) | Err(_) => None,
    }
}

pub(super) async fn postgres(target: &Postgres) -> diesel::ConnectionResult<PgConn> {
    // The driver's own time-out ends with the TCP connection; a server that then says nothing is as good as none.
    let connected = timeout(CONNECT_TIMEOUT, greet(target)).await;
    connected.unwrap_or_else(|_| Err(ConnectionError::BadConnection("no answer in time".into())))
}

async fn greet(target: &Postgres) -> diesel::ConnectionResult<PgConn> {
    let Postgres { config, tls } = target;
    let bad = |e: tokio_postgres::Error| ConnectionError::BadConnection(describe(&e));
    let mut conn = if let Some(tls) = tls {
        let (client, connection) = config.connect(tls.connector()).await.map_err(bad)?;
        PgConn::try_from_client_and_connection(client, connection).await?
    } else {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(bad)?;
        PgConn::try_from_client_and_connection(client, connection).await?
    };
    conn.batch_execute(POSTGRES_SETUP).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// The error with its cause: `tokio_postgres` keeps the part that helps ("password authentication failed") in the latter.
fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

pub(super) async fn sqlite(path: &str) -> diesel::ConnectionResult<SqliteConn> {
    // SQLite would make the file readable for others, and its journals like it.
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.map_err(|e| ConnectionError::BadConnection(format!("cannot open {path}: {e}")))?;
    let mut conn = SqliteConn::establish(path).await?;
    conn.batch_execute(SQLITE_SETUP).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// Hands out only connections that are not known to be dead; asking the server each time would cost a round trip.
fn manager<C: PoolableConnection + 'static>(
    custom_setup: diesel_async::pooled_connection::SetupCallback<C>,
) -> AsyncDieselConnectionManager<C> {
    let mut config = ManagerConfig::default();
    config.custom_setup = custom_setup;
    config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|conn: &mut C| {
        let alive =
            if conn.is_broken() { Err(diesel::result::Error::BrokenTransactionManager) } else { Ok(()) };
        Box::pin(std::future::ready(alive))
    }));
    AsyncDieselConnectionManager::new_with_config("", config)
}

impl Store {
    /// Opens the database, and asks it for one answer.
    ///
    /// # Errors
    /// When the URL is not understood or the database does not answer.
    pub async fn connect(settings: Settings, clock: Clock) -> Result<Self, ConnectError> {
        let size = settings.max_connections;
        let pool = match Target::parse(settings.url.expose_secret())? {
            Target::Postgres(target) => {
                let target = Arc::new(*target);
                let manager = manager::<PgConn>(Box::new(move |_| {
                    let target = target.clone();
                    Box::pin(async move { postgres(&target).await })
                }));
                Database::Postgres(builder(size).build(manager).await.map_err(unavailable)?)
            }
            Target::Sqlite(path) => {
                let manager = manager::<SqliteConn>(Box::new(move |_| {
                    let path = path.clone();
                    Box::pin(async move { sqlite(&path).await })
                }));
                let pool = builder(size).build(manager).await.map_err(unavailable)?;
                Database::Sqlite(pool, Arc::new(Semaphore::new(1)))
            }
        };
        let store = Self { pool, clock, settings: Arc::new(settings) };
        store.check().await?;
        Ok(store)
    }

    /// One answer, or why not. The pool's own time-out would hide the cause.
    async fn check(&self) -> Result<(), ConnectError> {
        match Target::parse(self.settings.url.expose_secret())? {
            Target::Postgres(target) => postgres(&target).await.map(drop),
            Target::Sqlite(path) => sqlite(&path).await.map(drop),
        }
        .map_err(unavailable)
    }

    /// Whether this is SQLite, and in which file.
    pub fn sqlite_path(&self) -> Option<String> {
        sqlite_path(self.settings.url.expose_secret())
    }
}

fn unavailable(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::Unavailable(error.to_string())
}

fn builder<C: PoolableConnection + 'static>(max_size: u32) -> bb8::Builder<AsyncDieselConnectionManager<C>>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection,
{
    Pool::builder().max_size(max_size).connection_timeout(CONNECT_TIMEOUT).test_on_check_out(true)
}
