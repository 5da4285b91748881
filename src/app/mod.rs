//! Wiring: from a configuration to a running service. It alone knows all rooms.

mod lock_file;
mod mail;
mod master_key;
mod provider;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        Doors, doors,
        server::serve,
        tls::{Fault as TlsFault, Follower, Tls},
    },
    config::{Config, Registration},
    crypto::{
        password::{Params, PasswordHasher, StartError as HasherError},
        tokens::Parties,
    },
    domain::{Domain, LoadError, Settings},
    mail::Mailer,
    store::{self, ConnectError, Store},
    types::Clock,
    worker,
};
use lock_file::LockFile;
pub use mail::mailer;

/// How long the last question of the operator's tools may take when all else is over.
const LAST_SCRAPE: Duration = Duration::from_secs(1);

/// A service that is ready to run. Its ports are bound, so that its addresses are known and calls may already queue.
pub struct App {
    listener: TcpListener,
    internal_listener: Option<TcpListener>,
    metrics_listener: Option<TcpListener>,
    tls: Option<(Tls, Follower)>,
    clock: Clock,
    doors: Doors,
    ready: watch::Sender<bool>,
    domain: Arc<Domain>,
    /// Cancelled when it begins to go away.
    leaving: CancellationToken,
    /// Cancelled when no new connection is taken any more.
    draining: CancellationToken,
    drain_delay: Duration,
    drain_timeout: Duration,
    _lock: Option<LockFile>,
}

/// Why the service does not start. One line each, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value that only its use shows to be wrong.
    #[error("{key}: {problem}")]
    Config {
        /// The configuration key.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The database does not answer, or is in use.
    #[error("{key}: {cause}")]
    Database {
        /// The configuration key.
        key: &'static str,
        /// What it said, or did not.
        cause: String,
    },
    /// A port cannot be bound.
    #[error("{key}: cannot listen on {address}: {cause}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        cause: io::Error,
    },
    /// A fault of ours, or a broken machine.
    #[error("{0}")]
    Internal(String),
}

impl From<ConnectError> for StartError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Url { key, problem } => Self::Config { key, problem },
            ConnectError::Unavailable(cause) => Self::Database { key: "database.url", cause },
        }
    }
}

impl From<TlsFault> for StartError {
    fn from(TlsFault { key, problem }: TlsFault) -> Self {
        Self::Config { key, problem }
    }
}

impl From<store::Error> for StartError {
    fn from(error: store::Error) -> Self {
        Self::Database { key: "database.url", cause: error.to_string() }
    }
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => error.into(),
            LoadError::WrongMasterKey(_) => {
                Self::Config { key: "secrets.master_key", problem: error.to_string() }
            }
            LoadError::Crypto(error) => Self::Internal(error.to_string()),
        }
    }
}

impl App {
    /// Opens everything that the service needs, and binds its port.
    pub async fn build(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let tls = Tls::load(&config.server, clock.now())?;
        let listener = listen("server.listen", config.server.listen).await?;
        let internal_listener = listen_if("server.internal_listen", config.server.internal_listen).await?;
        let metrics_listener = listen_if("server.metrics_listen", config.server.metrics_listen).await?;
        // What is wrong with mail is told before a database is made.
        let mailer = mailer(config)?;
        let store = connect(config, clock.clone()).await?;
        // One process a file: a second would not see what the first keeps in memory.
        let lock = store.sqlite_path().map(LockFile::acquire).transpose()?;
        ready_schema(config, &store).await?;
        mail::warn(config, &mailer);
        let domain = Arc::new(domain(config, store, clock.clone(), Some(mailer)).await?);
        domain.begin_following().await?;
        // Not before it is known whether the database answers.
        let (ready, watched) = watch::channel(false);
        let (leaving, draining) = (CancellationToken::new(), CancellationToken::new());
        let doors = doors(&domain, &config.server, config.mail.pages, watched, &leaving, &draining)
            .await
            .map_err(|error| StartError::Internal(format!("the protos cannot be served: {error}")))?;
        let (drain_delay, drain_timeout) = (config.server.drain_delay, config.server.drain_timeout);
        Ok(Self {
            listener,
            internal_listener,
            metrics_listener,
            tls,
            clock,
            doors,
            ready,
            domain,
            leaving,
            draining,
            drain_delay,
            drain_timeout,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where it listens for services and gateways, when that is apart.
    pub fn internal_address(&self) -> io::Result<Option<SocketAddr>> {
        self.internal_listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Where it listens for the operator's tools, if it does.
    pub fn metrics_address(&self) -> io::Result<Option<SocketAddr>> {
        self.metrics_listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `shutdown` resolves, then drains: first it is known to be going away, after `server.drain_delay` it
    /// takes no new connection, and calls under way have `server.drain_timeout` to finish.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            internal_listener,
            metrics_listener,
            tls,
            clock,
            doors,
            ready,
            domain,
            leaving,
            draining,
            drain_delay,
            drain_timeout,
            _lock,
        } = self;
        let Doors { public, internal, limits, operator, operator_limits, metrics } = doors;
        let stopped = CancellationToken::new();
        // It answers to the end: that the service is going away is what it has to tell.
        let operator = tokio::spawn({
            let stopped = stopped.clone();
            async move {
                if let Some(listener) = metrics_listener {
                    serve(listener, operator, None, operator_limits, stopped.cancelled(), LAST_SCRAPE).await;
                }
            }
        });
        let (tls, certificates) = tls.unzip();
        let certificates = tokio::spawn({
            let stopped = stopped.clone();
            async move {
                if let Some(certificates) = certificates {
                    certificates.run(metrics, clock, stopped).await;
                }
            }
        });
        let follow = tokio::spawn(worker::follow_changes(domain.clone(), stopped.clone()));
        let readiness = tokio::spawn(worker::watch_readiness(domain.clone(), ready, leaving.clone()));
        let post = tokio::spawn(worker::deliver_mails(domain.clone(), draining.clone(), drain_timeout));
        let sweep = tokio::spawn(worker::sweep(domain.clone(), stopped.clone()));
        let rewrap = tokio::spawn(worker::rewrap(domain.clone(), stopped.clone()));
        let keys = tokio::spawn(worker::rotate_keys(domain.clone(), stopped.clone()));
        let house = tokio::spawn(worker::keep_house(domain, stopped.clone()));
        let goodbye = async {
            shutdown.await;
            tracing::info!("draining");
            leaving.cancel();
            tokio::time::sleep(drain_delay).await;
            draining.cancel();
        };
        let serve_until_then =
            |listener, app| serve(listener, app, tls.clone(), limits, draining.cancelled(), drain_timeout);
        let internal = async {
            match internal_listener.zip(internal) {
                Some((listener, app)) => serve_until_then(listener, app).await,
                None => 0,
            }
        };
        let ((), cut, cut_internal) = tokio::join!(goodbye, serve_until_then(listener, public), internal);
        let cut = cut + cut_internal;
        if cut > 0 {
            tracing::warn!(connections = cut, "cut after server.drain_timeout");
        }
        stopped.cancel();
        // A panic in any of them was logged when it happened.
        let _ = tokio::join!(follow, readiness, post, sweep, rewrap, keys, house, operator, certificates);
    }
}

/// Listens where an address is given.
async fn listen_if(
    key: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<TcpListener>, StartError> {
    match address {
        Some(address) => listen(key, address).await.map(Some),
        None => Ok(None),
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen { key, address, cause })
}

/// Opens the database that the configuration names.
pub async fn connect(config: &Config, clock: Clock) -> Result<Store, StartError> {
    let settings = store::Settings {
        url: config.database.url.clone(),
        direct_url: config.database.direct_url.clone(),
        max_connections: config.database.max_connections,
    };
    Ok(Store::connect(&settings, clock).await?)
}

/// Migrates, or makes sure that nothing is pending.
pub async fn ready_schema(config: &Config, store: &Store) -> Result<(), StartError> {
    if config.database.migrate_on_start {
        for name in migrate(config, store).await? {
            tracing::info!(name, "migrated");
        }
        return Ok(());
    }
    let pending = pending_migrations(config, store).await?.join(", ");
    if pending.is_empty() {
        return Ok(());
    }
    let cause = format!(
        "migrations are pending ({pending}); run `countersign migrate`, or set database.migrate_on_start"
    );
    Err(StartError::Database { key: "database.url", cause })
}

/// Applies what is pending; the names of what was.
pub async fn migrate(config: &Config, store: &Store) -> Result<Vec<String>, StartError> {
    store.migrate().await.map_err(|error| on_the_direct_way(config, &error))
}

/// The names of what is pending.
pub async fn pending_migrations(config: &Config, store: &Store) -> Result<Vec<String>, StartError> {
    store.pending_migrations().await.map_err(|error| on_the_direct_way(config, &error))
}

fn on_the_direct_way(config: &Config, error: &store::Error) -> StartError {
    let database = &config.database;
    let same = database.url.expose_secret() == database.direct_url.expose_secret();
    let key = if same { "database.url" } else { "database.direct_url" };
    StartError::Database { key, cause: error.to_string() }
}

/// The use cases over an open database with the right schema. Who sends no mail needs no mailer.
pub async fn domain(
    config: &Config,
    store: Store,
    clock: Clock,
    mailer: Option<Mailer>,
) -> Result<Domain, StartError> {
    let master_key = master_key::obtain(config, &store).await?;
    let passwords = &config.passwords;
    let params = Params {
        memory_kib: passwords.memory_kib,
        iterations: passwords.iterations,
        parallelism: passwords.parallelism,
    };
    let hasher =
        PasswordHasher::start(params, passwords.max_concurrent, passwords.max_queue).map_err(|error| {
            match error {
                HasherError::Params(_) => {
                    StartError::Config { key: "passwords.memory_kib", problem: error.to_string() }
                }
                HasherError::Thread(_) => StartError::Internal(error.to_string()),
            }
        })?;
    let providers = provider::providers(config)?;
    Ok(Domain::start(store, clock, hasher, master_key, mailer, providers, settings(config)).await?)
}

fn settings(config: &Config) -> Settings {
    Settings {
        parties: Parties {
            issuer: config.server.public_url.clone(),
            audience: config.tokens.audience.clone(),
        },
        token_format: config.tokens.format,
        access_ttl: config.tokens.access_ttl,
        rotate_every: Some(config.tokens.rotate_every).filter(|every| !every.is_zero()),
        refresh_ttl: config.tokens.refresh_ttl,
        refresh_idle: config.tokens.refresh_idle,
        refresh_reuse_grace: config.tokens.refresh_reuse_grace,
        min_password_length: config.passwords.min_length,
        registration_open: config.accounts.registration == Registration::Open,
        default_scopes: config.accounts.default_scopes.clone(),
        require_verified_email: config.accounts.require_verified_email,
        max_staleness: config.validation.max_staleness,
        cache_entries: config.validation.cache_entries,
        throttle: config.throttle.clone(),
        links: mail::links(config),
        redirect_uris: config.oauth.redirect_uris.clone(),
        require_state: config.oauth.require_state,
    }
}

/// Where SQLite's master key is kept when none is configured.
pub fn generated_master_key(config: &Config) -> Option<PathBuf> {
    let path = store::sqlite_path(config.database.url.expose_secret())?;
    config.secrets.master_key.is_none().then(|| master_key::path_beside(&path))
}
