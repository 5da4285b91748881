//! The configuration: a file, over it the environment, over it flags, read whole into typed values before anything
//! starts, every fault reported at once.
//!
//! Owns the keys, their defaults and their bounds (`keys` is the table; `docs/configuration.md` is for readers). Does
//! not own what the values are used for, nor the surroundings: `main` passes the environment in, prints the faults, and
//! hands the result to `app`. It is long because every section stands here, as what is read and where it is read.
//!
//! A new key is a line in the table, a field below, a line in [`Config::load`] (for `oauth.*` in `oauth`) and a row in the
//! documentation.

mod faults;
mod keys;
mod oauth;
mod parse;
mod reader;
mod settings;
mod sources;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};

use crate::types::{Scopes, Throttle, TokenFormat};

pub use faults::{Fault, Faults};
pub use settings::Setting;
pub use sources::{Origin, Sources};

/// The whole configuration. Its `Debug` shows no secret.
#[derive(Debug)]
pub struct Config {
    /// The listening side.
    pub server: Server,
    /// Where everything is kept.
    pub database: Database,
    /// Keys that are not in the database.
    pub secrets: Secrets,
    /// Access and refresh tokens.
    pub tokens: Tokens,
    /// Password rules and hashing.
    pub passwords: Passwords,
    /// Who may register, and with what.
    pub accounts: Accounts,
    /// How credentials are answered for.
    pub validation: Validation,
    /// How mail leaves the house, and where its links lead.
    pub mail: Mail,
    /// Sign-in with other services' accounts.
    pub oauth: Oauth,
    /// How often something may fail.
    pub throttle: Throttle,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// `server.*`
#[derive(Debug)]
pub struct Server {
    /// Where gRPC, gRPC-web and REST are served.
    pub listen: SocketAddr,
    /// Where what services ask is served, and nothing else; when set, it is not served at `listen`.
    pub internal_listen: Option<SocketAddr>,
    /// Where metrics and probes are served, if they are.
    pub metrics_listen: Option<SocketAddr>,
    /// What encrypts `listen` and `internal_listen`.
    pub tls: ServerTls,
    /// The issuer, and the beginning of links; without a slash at the end.
    pub public_url: String,
    /// Origins whose pages may call, each exactly as a browser sends it.
    pub cors_origins: Vec<String>,
    /// Networks whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
    /// How long calls are still taken after readiness went false.
    pub drain_delay: Duration,
    /// How long calls in flight may take to finish after that.
    pub drain_timeout: Duration,
}

/// `server.tls.*`: PEM files. Certificate and key are both there or neither, and an authority never without them.
#[derive(Debug)]
pub struct ServerTls {
    /// The certificate, and what leads from it to its authority.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Who has to have signed the certificates of clients; then none comes without one.
    pub client_ca: Option<PathBuf>,
}

/// `database.*`
#[derive(Debug)]
pub struct Database {
    /// A `sqlite:` or `postgres://` URL, known only to begin like one.
    pub url: SecretString,
    /// The same database past a pooler; equal to `url` unless set.
    pub direct_url: SecretString,
    /// The size of the pool.
    pub max_connections: u32,
    /// Whether `serve` applies migrations.
    pub migrate_on_start: bool,
}

/// `secrets.*`
#[derive(Debug)]
pub struct Secrets {
    /// What signing keys are wrapped under. Always there with PostgreSQL; with SQLite one is made when it is missing.
    pub master_key: Option<SecretBox<[u8; 32]>>,
    /// Master keys before that one, under which something may still be wrapped.
    pub previous_master_keys: Vec<SecretBox<[u8; 32]>>,
}

/// `tokens.*`
#[derive(Debug)]
pub struct Tokens {
    /// How access tokens are written.
    pub format: TokenFormat,
    /// The audience of access tokens.
    pub audience: String,
    /// How long an access token is valid.
    pub access_ttl: Duration,
    /// How long a signing key signs until the next takes over; zero for never.
    pub rotate_every: Duration,
    /// How long a session lives, however often it is refreshed.
    pub refresh_ttl: Duration,
    /// How long a session lives without being refreshed, within `refresh_ttl`.
    pub refresh_idle: Duration,
    /// How long a used refresh token still yields its successor (S17).
    pub refresh_reuse_grace: Duration,
}

/// `passwords.*`
#[derive(Debug)]
pub struct Passwords {
    /// The shortest password, in code points (S1).
    pub min_length: usize,
    /// Memory of argon2id, in KiB (S5).
    pub memory_kib: u32,
    /// Passes of argon2id.
    pub iterations: u32,
    /// Lanes of argon2id.
    pub parallelism: u32,
    /// Hashes computed at once (S61).
    pub max_concurrent: usize,
    /// Hashes that may wait for their turn.
    pub max_queue: usize,
}

/// `accounts.*`
#[derive(Debug)]
pub struct Accounts {
    /// Whether people may register.
    pub registration: Registration,
    /// The scopes of a new account.
    pub default_scopes: Scopes,
    /// Whether somebody may sign in only once their address is proven.
    pub require_verified_email: bool,
}

/// `validation.*`
#[derive(Debug)]
pub struct Validation {
    /// How long credentials are answered from memory while the database is away.
    pub max_staleness: Duration,
    /// Access tokens, and API keys, that are held in memory at most.
    pub cache_entries: usize,
}

/// `mail.*`
#[derive(Debug)]
pub struct Mail {
    /// The way out.
    pub transport: MailTransport,
    /// For [`MailTransport::File`]: where to.
    pub dir: PathBuf,
    /// For [`MailTransport::Smtp`]: the server, in lettre's form, and perhaps a password.
    pub smtp_url: Option<SecretString>,
    /// The sender; always there with [`MailTransport::Smtp`].
    pub from: Option<String>,
    /// Where the operator's own templates are.
    pub templates_dir: Option<PathBuf>,
    /// Links with `{token}` in them; unset: to the built-in pages.
    pub verify_url: Option<String>,
    /// As `verify_url`.
    pub reset_url: Option<String>,
    /// As `verify_url`.
    pub change_email_url: Option<String>,
    /// Whether the built-in pages are served.
    pub pages: bool,
}

/// `oauth.*`
#[derive(Debug)]
pub struct Oauth {
    /// Where a sign-in may lead back to, each matched exactly (S49).
    pub redirect_uris: Vec<String>,
    /// Whether a sign-in must have been started here.
    pub require_state: bool,
    /// By the name that clients call them by.
    pub providers: BTreeMap<String, Provider>,
}

/// `oauth.providers.<name>.*`
#[derive(Debug)]
pub struct Provider {
    /// What it speaks.
    pub kind: ProviderKind,
    /// What the provider calls this service.
    pub client_id: String,
    /// What it knows this service by.
    pub client_secret: SecretString,
    /// Scopes to ask for; when empty, those of the kind.
    pub scopes: Vec<String>,
    /// Always there with [`ProviderKind::Oidc`], never with [`ProviderKind::Github`]; compared exactly (S48).
    pub issuer: Option<String>,
    /// Only with [`ProviderKind::Github`], and only if it is not at github.com; so are the next two.
    pub authorization_url: Option<String>,
    /// As `authorization_url`.
    pub token_url: Option<String>,
    /// As `authorization_url`; without a slash at the end.
    pub api_url: Option<String>,
    /// Whether it may be at a private address, and be called without TLS. When `false`, every URL above is https (S50).
    pub allow_private_hosts: bool,
}

/// `telemetry.*`
#[derive(Debug)]
pub struct Telemetry {
    /// How a log line is written.
    pub log_format: LogFormat,
    /// Directives of a `tracing_subscriber::EnvFilter`, known to be valid.
    pub log_level: String,
    /// Where traces are sent to, by OTLP over gRPC, if they are; without user and password.
    pub otlp_endpoint: Option<String>,
    /// Which part of the traces that begin here is kept, from 0 to 1.
    pub trace_ratio: f64,
}

/// Whether people may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Anybody may.
    Open,
    /// Accounts are made by the operator.
    Closed,
}

/// How mail leaves the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTransport {
    /// To standard output, links included: for a laptop.
    Log,
    /// Into files.
    File,
    /// To a mail server.
    Smtp,
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// OAuth 2.0, and GitHub's own API.
    Github,
    /// OpenID Connect as LinkedIn has it.
    Linkedin,
    /// OpenID Connect by discovery.
    Oidc,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Longer than a key is published before it signs, and after: with the longest access tokens and `validation.max_staleness`, 24
/// hours and a minute.
const MIN_ROTATE_EVERY: Duration = Duration::from_hours(48);

const BOOL: &[(&str, bool)] = &[("true", true), ("false", false)];
const TOKEN_FORMAT: &[(&str, TokenFormat)] = &[("paseto", TokenFormat::Paseto), ("jwt", TokenFormat::Jwt)];
const REGISTRATION: &[(&str, Registration)] =
    &[("open", Registration::Open), ("closed", Registration::Closed)];
const MAIL_TRANSPORT: &[(&str, MailTransport)] =
    &[("log", MailTransport::Log), ("file", MailTransport::File), ("smtp", MailTransport::Smtp)];
const PROVIDER_KIND: &[(&str, ProviderKind)] =
    &[("github", ProviderKind::Github), ("linkedin", ProviderKind::Linkedin), ("oidc", ProviderKind::Oidc)];
const LOG_FORMAT: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Whether only one of two listeners would get its port. Of port 0 each gets one of its own.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || everywhere)
}

impl Config {
    /// Reads the configuration, and with it what each key is set to and by whom.
    ///
    /// # Errors
    /// All that is wrong with it, the whole of the sources having been read.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<Setting>), Faults> {
        let mut reader = reader::Reader::new(sources);
        let r = &mut reader;
        let config = Self {
            server: Server {
                listen: r.get("server.listen", parse::address),
                internal_listen: r.optional("server.internal_listen", parse::address),
                metrics_listen: r.get("server.metrics_listen", parse::off_or(parse::address)),
                tls: ServerTls {
                    cert: r.optional("server.tls.cert", parse::path),
                    key: r.optional("server.tls.key", parse::path),
                    client_ca: r.optional("server.tls.client_ca", parse::path),
                },
                public_url: r.get("server.public_url", parse::base_url),
                cors_origins: r.list("server.cors_origins", parse::origin),
                trusted_proxies: r.list("server.trusted_proxies", parse::network),
                reflection: r.get("server.reflection", parse::one_of(BOOL)),
                drain_delay: r.get("server.drain_delay", parse::duration("0s", "1h")),
                drain_timeout: r.get("server.drain_timeout", parse::duration("0s", "1h")),
            },
            database: Database {
                url: r.get("database.url", parse::database_url),
                direct_url: r.get("database.direct_url", parse::database_url),
                max_connections: r.get("database.max_connections", parse::number(2..=1000)),
                migrate_on_start: r.get("database.migrate_on_start", parse::one_of(BOOL)),
            },
            secrets: Secrets {
                master_key: r.optional("secrets.master_key", parse::master_key),
                previous_master_keys: r.list("secrets.previous_master_keys", parse::master_key),
            },
            tokens: Tokens {
                format: r.get("tokens.format", parse::one_of(TOKEN_FORMAT)),
                audience: r.get("tokens.audience", parse::name),
                access_ttl: r.get("tokens.access_ttl", parse::duration("1s", "24h")),
                rotate_every: r.get("tokens.rotate_every", parse::duration("0s", "3650d")),
                refresh_ttl: r.get("tokens.refresh_ttl", parse::duration("1s", "365d")),
                refresh_idle: r.get("tokens.refresh_idle", parse::duration("1s", "365d")),
                refresh_reuse_grace: r.get("tokens.refresh_reuse_grace", parse::duration("0s", "5m")),
            },
            passwords: Passwords {
                min_length: r.get("passwords.min_length", parse::number(8..=64)),
                memory_kib: r.get("passwords.memory_kib", parse::number(19_456..=1_048_576)),
                iterations: r.get("passwords.iterations", parse::number(2..=10)),
                parallelism: r.get("passwords.parallelism", parse::number(1..=16)),
                max_concurrent: r.get("passwords.max_concurrent", parse::number(1..=1024)),
                max_queue: r.get("passwords.max_queue", parse::number(1..=65_536)),
            },
            accounts: Accounts {
                registration: r.get("accounts.registration", parse::one_of(REGISTRATION)),
                default_scopes: r.whole("accounts.default_scopes", parse::default_scope, parse::scopes),
                require_verified_email: r.get("accounts.require_verified_email", parse::one_of(BOOL)),
            },
            validation: Validation {
                max_staleness: r.get("validation.max_staleness", parse::duration("1s", "24h")),
                cache_entries: r.get("validation.cache_entries", parse::number(1..=10_000_000)),
            },
            mail: Mail {
                transport: r.get("mail.transport", parse::one_of(MAIL_TRANSPORT)),
                dir: r.get("mail.dir", parse::path),
                smtp_url: r.optional("mail.smtp_url", parse::smtp_url),
                from: r.optional("mail.from", parse::sender),
                templates_dir: r.optional("mail.templates_dir", parse::path),
                verify_url: r.optional("mail.verify_url", parse::link),
                reset_url: r.optional("mail.reset_url", parse::link),
                change_email_url: r.optional("mail.change_email_url", parse::link),
                pages: r.get("mail.pages", parse::one_of(BOOL)),
            },
            oauth: Oauth::read(r),
            throttle: Throttle {
                account_free_failures: r.get("throttle.account_free_failures", parse::number(1..=1000)),
                account_max_delay: r.get("throttle.account_max_delay", parse::duration("1s", "24h")),
                account_max_failures: r.get("throttle.account_max_failures", parse::number(2..=1000)),
                address_failures_per_minute: r
                    .get("throttle.address_failures_per_minute", parse::number(0..=1000)),
                mails_per_hour: r.get("throttle.mails_per_hour", parse::number(1..=100)),
            },
            telemetry: Telemetry {
                log_format: r.get("telemetry.log_format", parse::one_of(LOG_FORMAT)),
                log_level: r.get("telemetry.log_level", parse::log_filter),
                otlp_endpoint: r.optional("telemetry.otlp_endpoint", parse::collector),
                trace_ratio: r.get("telemetry.trace_ratio", parse::ratio),
            },
        };
        config.check_together(r);
        reader.finish().map(|settings| (config, settings))
    }

    /// The rules that no value can break alone.
    fn check_together(&self, r: &mut reader::Reader<'_>) {
        let (url, direct_url) = (self.database.url.expose_secret(), self.database.direct_url.expose_secret());
        let postgres = parse::is_postgres(url);
        r.check(
            &["database.direct_url", "database.url"],
            if postgres { parse::is_postgres(direct_url) } else { direct_url == url },
            "does not lead to the database of database.url: leave it out unless a pooler stands before PostgreSQL",
        );
        r.check(
            &["secrets.master_key", "database.url"],
            self.secrets.master_key.is_some() || !postgres,
            "required with PostgreSQL: make one with `openssl rand -base64 32`",
        );
        let (now, before) = (&self.secrets.master_key, &self.secrets.previous_master_keys);
        r.check(
            &["secrets.previous_master_keys", "secrets.master_key"],
            now.as_ref()
                .is_none_or(|now| before.iter().all(|key| key.expose_secret() != now.expose_secret())),
            "holds secrets.master_key itself",
        );
        let every = self.tokens.rotate_every;
        r.check(
            &["tokens.rotate_every"],
            every.is_zero() || every >= MIN_ROTATE_EVERY,
            "is shorter than two days, for which the key before stays published: 0s turns it off",
        );
        let (mail, throttle) = (&self.mail, &self.throttle);
        let (listen, internal) = (self.server.listen, self.server.internal_listen);
        r.check(
            &["server.internal_listen", "server.listen"],
            !internal.is_some_and(|internal| overlap(internal, listen)),
            "must have another port than server.listen: what it serves is taken off that one",
        );
        let metrics = self.server.metrics_listen;
        let taken = metrics.is_some_and(|metrics| {
            overlap(metrics, listen) || internal.is_some_and(|internal| overlap(metrics, internal))
        });
        r.check(
            &["server.metrics_listen", "server.listen", "server.internal_listen"],
            !taken,
            "must have another port than server.listen and server.internal_listen: off switches it off",
        );
        let ServerTls { cert, key, client_ca } = &self.server.tls;
        for (one, is_there, other, needs_it) in [
            ("server.tls.key", key.is_some(), "server.tls.cert", cert.is_some()),
            ("server.tls.cert", cert.is_some(), "server.tls.key", key.is_some()),
            ("server.tls.cert", cert.is_some(), "server.tls.client_ca", client_ca.is_some()),
            ("server.tls.key", key.is_some(), "server.tls.client_ca", client_ca.is_some()),
        ] {
            r.check(&[one, other], is_there || !needs_it, &format!("required with {other}"));
        }
        let laptop = listen.ip().is_loopback() && internal.is_none_or(|internal| internal.ip().is_loopback());
        r.check(
            &["mail.transport", "server.listen", "server.internal_listen"],
            mail.transport != MailTransport::Log || laptop,
            "log prints the links of mails to standard output, so it is refused unless server.listen, and \
             server.internal_listen if it is set, are loopback addresses: choose smtp or file",
        );
        let smtp = mail.transport == MailTransport::Smtp;
        r.check(
            &["mail.smtp_url", "mail.transport"],
            mail.smtp_url.is_some() || !smtp,
            "required with mail.transport smtp",
        );
        r.check(
            &["mail.from", "mail.transport"],
            mail.from.is_some() || !smtp,
            "required with mail.transport smtp",
        );
        r.check(
            &["throttle.account_max_failures", "throttle.account_free_failures"],
            throttle.account_max_failures > throttle.account_free_failures,
            "must be more than throttle.account_free_failures",
        );
    }

    /// The settings as a TOML document, aligned, secrets masked, the origin of each as a comment. It is for reading: a
    /// masked value is not one that could be loaded.
    pub fn render(settings: &[Setting]) -> String {
        settings::render(settings)
    }
}
