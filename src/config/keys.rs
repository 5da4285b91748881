//! The table of keys: for each its name, the form of its value and its default. What a key means is in
//! `docs/configuration.md`; what values it takes is said where [`super::Config::load`] reads it.

use super::sources::Sources;
use Default::{From, Is, SameAs, Unset};
use Form::{Bool, Duration, Integer, List, Secret, Text, Url};

/// One key of the configuration.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) default: Default,
}

/// How a value is written in TOML. In the environment and in flags everything is text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// Text that is never shown, and may be given as a file.
    Secret,
    /// A database URL: a secret of which all but the password may be shown.
    Url,
    Duration,
    Integer,
    Bool,
    List,
}

impl Form {
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Secret | Url)
    }
}

/// What holds when no source names the key.
pub(super) enum Default {
    Is(&'static str),
    From(fn(&Sources) -> String),
    SameAs(&'static str),
    Unset,
}

/// Every key there is, in the order in which `countersign config` prints them.
#[rustfmt::skip] // A table is read by its columns.
pub(super) const KEYS: &[Key] = &[
    Key { name: "server.listen", form: Text, default: Is("127.0.0.1:50051") },
    Key { name: "server.public_url", form: Text, default: Is("http://127.0.0.1:50051") },
    Key { name: "server.cors_origins", form: List, default: Is("") },
    Key { name: "server.trusted_proxies", form: List, default: Is("") },
    Key { name: "server.reflection", form: Bool, default: Is("true") },
    Key { name: "server.drain_delay", form: Duration, default: Is("0s") },
    Key { name: "server.drain_timeout", form: Duration, default: Is("20s") },
    Key { name: "database.url", form: Url, default: Is("sqlite://countersign.db") },
    Key { name: "database.direct_url", form: Url, default: SameAs("database.url") },
    Key { name: "database.max_connections", form: Integer, default: Is("16") },
    Key { name: "database.migrate_on_start", form: Bool, default: Is("true") },
    Key { name: "secrets.master_key", form: Secret, default: Unset },
    Key { name: "tokens.audience", form: Text, default: Is("countersign") },
    Key { name: "tokens.access_ttl", form: Duration, default: Is("15m") },
    Key { name: "tokens.refresh_ttl", form: Duration, default: Is("30d") },
    Key { name: "tokens.refresh_idle", form: Duration, default: Is("7d") },
    Key { name: "tokens.refresh_reuse_grace", form: Duration, default: Is("10s") },
    Key { name: "passwords.min_length", form: Integer, default: Is("8") },
    Key { name: "passwords.memory_kib", form: Integer, default: Is("19456") },
    Key { name: "passwords.iterations", form: Integer, default: Is("2") },
    Key { name: "passwords.parallelism", form: Integer, default: Is("1") },
    Key { name: "passwords.max_concurrent", form: Integer, default: From(|s| s.cores.clamp(1, 1024).to_string()) },
    Key { name: "passwords.max_queue", form: Integer, default: Is("256") },
    Key { name: "accounts.registration", form: Text, default: Is("open") },
    Key { name: "accounts.default_scopes", form: List, default: Is("") },
    Key { name: "accounts.require_verified_email", form: Bool, default: Is("false") },
    Key { name: "mail.transport", form: Text, default: Is("log") },
    Key { name: "mail.dir", form: Text, default: Is("mail") },
    Key { name: "mail.smtp_url", form: Secret, default: Unset },
    Key { name: "mail.from", form: Text, default: Unset },
    Key { name: "mail.templates_dir", form: Text, default: Unset },
    Key { name: "mail.verify_url", form: Text, default: Unset },
    Key { name: "mail.reset_url", form: Text, default: Unset },
    Key { name: "mail.change_email_url", form: Text, default: Unset },
    Key { name: "mail.pages", form: Bool, default: Is("true") },
    Key { name: "throttle.account_free_failures", form: Integer, default: Is("4") },
    Key { name: "throttle.account_max_delay", form: Duration, default: Is("15m") },
    Key { name: "throttle.account_max_failures", form: Integer, default: Is("100") },
    Key { name: "throttle.address_failures_per_minute", form: Integer, default: Is("30") },
    Key { name: "throttle.mails_per_hour", form: Integer, default: Is("3") },
    Key { name: "telemetry.log_format", form: Text, default: From(|s| if s.terminal { "text" } else { "json" }.into()) },
    Key { name: "telemetry.log_level", form: Text, default: Is("info") },
];

/// The key of that exact name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether `name` is a section, that is, whether keys begin with it and a dot.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The key that was probably meant by `name`: the same key in another section, else one a few letters away.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &'static str| name.rsplit('.').next();
    let elsewhere = KEYS.iter().find(|key| last(key.name) == name.rsplit('.').next());
    let close = || {
        let distance = |key: &&Key| strsim::damerau_levenshtein(key.name, name);
        KEYS.iter().min_by_key(distance).filter(|key| distance(key) <= 3)
    };
    elsewhere.or_else(close).map(|key| key.name)
}
