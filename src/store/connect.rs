//! From a URL to a pool.

use std::{
    fmt::Display,
    fs::OpenOptions,
    io::ErrorKind,
    num::NonZero,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use bb8::Pool;
use diesel::ConnectionError;
use diesel_async::{
    AsyncConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    Store,
    conn::{Database, PgConn, SqliteConn},
    tls::Tls,
};
use crate::types::Clock;

/// How long a request waits for a connection, and how long one may take to be made: a database that is away makes a
/// clear error in bounded time.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What bounds a statement, a lock and a forgotten transaction on the server's side.
const POSTGRES_SETUP: &str = "SET statement_timeout = '8s'; SET lock_timeout = '5s'; \
     SET idle_in_transaction_session_timeout = '15s'";

/// FULL, so that what was acknowledged is on the disk (S19). A small cache of each connection's own (KiB): the file is in the
/// system's.
const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA cache_size = -512";

/// Which database, and how much of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `sqlite://path` or `postgres://…`, which may carry a password.
    pub url: SecretString,
    /// The same database without a pooler in between, for migrations.
    pub direct_url: SecretString,
    /// Connections at most; of SQLite never more than two beside one for each core.
    pub max_connections: u32,
}

/// Why no pool could be made of the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A URL cannot be read. The text does not repeat it.
    #[error("{key}: {problem}")]
    Url {
        /// The configuration key.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The database does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// How a PostgreSQL is reached.
pub(super) struct PostgresTarget {
    config: tokio_postgres::Config,
    tls: Option<Tls>,
}

/// A database URL, read.
enum Target {
    Sqlite(PathBuf),
    Postgres(Box<PostgresTarget>),
}

impl Target {
    fn parse(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(['?', '\0']) || path == ":memory:" {
                return Err("a SQLite URL is sqlite://PATH of a file".into());
            }
            return Ok(Self::Sqlite(path.into()));
        }
        let (rest, tls) = Tls::from_url(url)?;
        let mut config: tokio_postgres::Config =
            rest.parse().map_err(|e: tokio_postgres::Error| e.to_string())?;
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(Duration::from_secs(15))
            .tcp_user_timeout(Duration::from_secs(10));
        if config.get_application_name().is_none() {
            config.application_name("countersign");
        }
        Ok(Self::Postgres(Box::new(PostgresTarget { config, tls })))
    }
}

/// The file that a URL names, if it is one of SQLite.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    match Target::parse(url) {
        Ok(Target::Sqlite(path)) => Some(path),
        Ok(Target::Postgres(_)) | Err(_) => None,
    }
}

pub(super) async fn postgres(target: &PostgresTarget) -> diesel::ConnectionResult<PgConn> {
    // The time-out of tokio_postgres ends with TCP's handshake; who answers that may still say nothing.
    let late = |_| ConnectionError::BadConnection(format!("no answer within {CONNECT_TIMEOUT:?}"));
    timeout(CONNECT_TIMEOUT, open_postgres(target)).await.map_err(late)?
}

async fn open_postgres(target: &PostgresTarget) -> diesel::ConnectionResult<PgConn> {
    let PostgresTarget { config, tls } = target;
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

pub(super) async fn sqlite(path: &Path) -> diesel::ConnectionResult<SqliteConn> {
    let cannot =
        |why: &dyn Display| ConnectionError::BadConnection(format!("cannot open {}: {why}", path.display()));
    // SQLite would make the file readable for others, and its journals like it. One that is there must not be opened: to
    // close it again would drop the locks that this process's connections hold on it, as POSIX has it.
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(cannot(&error)),
        Ok(_) | Err(_) => {}
    }
    let name = path.to_str().ok_or_else(|| cannot(&"its name is not UTF-8"))?;
    let mut conn = SqliteConn::establish(name).await?;
    // While another process turns the write-ahead log on, SQLite refuses at once, whatever its busy time-out is.
    let set_up = async {
        loop {
            match conn.batch_execute(SQLITE_SETUP).await {
                Err(error) if error.to_string().contains("database is locked") => {
                    sleep(Duration::from_millis(10)).await;
                }
                done => break done,
            }
        }
    };
    let done = timeout(CONNECT_TIMEOUT, set_up).await.map_err(|_| cannot(&"it is locked"))?;
    done.map_err(ConnectionError::CouldntSetupConfiguration)?;
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
    pub async fn connect(settings: &Settings, clock: Clock) -> Result<Self, ConnectError> {
        let bad = |key| move |problem| ConnectError::Url { key, problem };
        let url = Target::parse(settings.url.expose_secret()).map_err(bad("database.url"))?;
        let direct =
            Target::parse(settings.direct_url.expose_secret()).map_err(bad("database.direct_url"))?;
        let size = match url {
            Target::Postgres(_) => settings.max_connections,
            Target::Sqlite(_) => settings.max_connections.min(sqlite_connections()),
        };
        // The first connection is made here: the pool's own time-out would hide why it fails.
        let database = match (url, direct) {
            (Target::Postgres(target), Target::Postgres(direct)) => {
                postgres(&target).await.map_err(unavailable)?;
                let target = Arc::new(*target);
                let manager = manager::<PgConn>(Box::new(move |_| {
                    let target = target.clone();
                    Box::pin(async move { postgres(&target).await })
                }));
                let pool = builder(size).build(manager).await.map_err(unavailable)?;
                Database::Postgres { pool, direct: Arc::new(*direct) }
            }
            (Target::Sqlite(path), Target::Sqlite(_)) => {
                sqlite(&path).await.map_err(unavailable)?;
                let path: Arc<Path> = path.into();
                let of_pool = path.clone();
                let manager = manager::<SqliteConn>(Box::new(move |_| {
                    let path = of_pool.clone();
                    Box::pin(async move { sqlite(&path).await })
                }));
                let pool = builder(size).build(manager).await.map_err(unavailable)?;
                Database::Sqlite { pool, writers: Arc::new(Semaphore::new(1)), path }
            }
            _ => {
                return Err(bad("database.direct_url")(
                    "is another kind of database than database.url".into(),
                ));
            }
        };
        let connections = Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(usize::MAX)));
        Ok(Self { database, connections, max_connections: size, clock })
    }

    /// Whether this is SQLite, and in which file.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.database {
            Database::Sqlite { path, .. } => Some(path),
            Database::Postgres { .. } => None,
        }
    }
}

/// As many as can be of use at once, since the file is on this machine. Each runs on a thread of its own, which leaves a heap
/// behind.
fn sqlite_connections() -> u32 {
    let cores = available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX).saturating_add(2)
}

fn unavailable(error: impl Display) -> ConnectError {
    ConnectError::Unavailable(error.to_string())
}

fn builder<C: PoolableConnection + 'static>(max_size: u32) -> bb8::Builder<AsyncDieselConnectionManager<C>>
where
    AsyncDieselConnectionManager<C>: bb8::ManageConnection,
{
    Pool::builder().max_size(max_size).connection_timeout(CONNECT_TIMEOUT).test_on_check_out(true)
}
