//! The table of keys: for each its name, the form of its value and its default. What a key means is in
//! `docs/configuration.md`; what values it takes is said where [`super::Config::load`] reads it.
//!
//! Providers are named by the operator, so their keys are a table of templates, which holds for each name that the sources
//! have.

use std::collections::BTreeSet;

use super::sources::Sources;
use Default::{From, Is, SameAs, Unset};
use Form::{Bool, Duration, Integer, List, Ratio, Secret, SecretList, Text, Url};

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
    /// A number with a fraction.
    Ratio,
    Bool,
    List,
    /// A list of secrets, which may be given as a file, one a line.
    SecretList,
}

impl Form {
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Secret | SecretList | Url)
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
    Key { name: "server.internal_listen", form: Text, default: Unset },
    Key { name: "server.metrics_listen", form: Text, default: Is("127.0.0.1:9464") },
    Key { name: "server.tls.cert", form: Text, default: Unset },
    Key { name: "server.tls.key", form: Text, default: Unset },
    Key { name: "server.tls.client_ca", form: Text, default: Unset },
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
    Key { name: "secrets.previous_master_keys", form: SecretList, default: Is("") },
    Key { name: "tokens.format", form: Text, default: Is("paseto") },
    Key { name: "tokens.audience", form: Text, default: Is("countersign") },
    Key { name: "tokens.access_ttl", form: Duration, default: Is("15m") },
    Key { name: "tokens.rotate_every", form: Duration, default: Is("90d") },
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
    Key { name: "validation.max_staleness", form: Duration, default: Is("5m") },
    Key { name: "validation.cache_entries", form: Integer, default: Is("100000") },
    Key { name: "mail.transport", form: Text, default: Is("log") },
    Key { name: "mail.dir", form: Text, default: Is("mail") },
    Key { name: "mail.smtp_url", form: Secret, default: Unset },
    Key { name: "mail.from", form: Text, default: Unset },
    Key { name: "mail.templates_dir", form: Text, default: Unset },
    Key { name: "mail.verify_url", form: Text, default: Unset },
    Key { name: "mail.reset_url", form: Text, default: Unset },
    Key { name: "mail.change_email_url", form: Text, default: Unset },
    Key { name: "mail.pages", form: Bool, default: Is("true") },
    Key { name: "oauth.redirect_uris", form: List, default: Is("") },
    Key { name: "oauth.require_state", form: Bool, default: Is("false") },
    Key { name: "throttle.account_free_failures", form: Integer, default: Is("4") },
    Key { name: "throttle.account_max_delay", form: Duration, default: Is("15m") },
    Key { name: "throttle.account_max_failures", form: Integer, default: Is("100") },
    Key { name: "throttle.address_failures_per_minute", form: Integer, default: Is("30") },
    Key { name: "throttle.mails_per_hour", form: Integer, default: Is("3") },
    Key { name: "telemetry.log_format", form: Text, default: From(|s| if s.terminal { "text" } else { "json" }.into()) },
    Key { name: "telemetry.log_level", form: Text, default: Is("info") },
    Key { name: "telemetry.otlp_endpoint", form: Text, default: Unset },
    Key { name: "telemetry.trace_ratio", form: Ratio, default: Is("1.0") },
];

/// What the keys of providers begin with; the name of the provider, a dot and one of [`PROVIDER_KEYS`] follow.
pub(super) const PROVIDERS: &str = "oauth.providers.";

/// The keys of every provider, named by what follows the provider's name.
#[rustfmt::skip] // A table is read by its columns.
pub(super) const PROVIDER_KEYS: &[Key] = &[
    Key { name: "kind", form: Text, default: Unset },
    Key { name: "client_id", form: Text, default: Unset },
    Key { name: "client_secret", form: Secret, default: Unset },
    Key { name: "scopes", form: List, default: Is("") },
    Key { name: "issuer", form: Text, default: Unset },
    Key { name: "authorization_url", form: Text, default: Unset },
    Key { name: "token_url", form: Text, default: Unset },
    Key { name: "api_url", form: Text, default: Unset },
    Key { name: "allow_private_hosts", form: Bool, default: Is("false") },
];

/// The name of a provider's key.
pub(super) fn of_provider(provider: &str, key: &str) -> String {
    format!("{PROVIDERS}{provider}.{key}")
}

/// Takes the name of a provider's key apart, into the provider and what follows; that may be no key. `None` when it does
/// not begin as such a name does.
pub(super) fn provider(name: &str) -> Option<(&str, &str)> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let parts = name.strip_prefix(PROVIDERS)?.split_once('.');
    // No capitals, which the environment could not tell apart; `_`, since a variable cannot hold `-`.
    parts.filter(|(provider, _)| (1..=32).contains(&provider.len()) && provider.chars().all(allowed))
}

/// The providers that these keys belong to.
pub(super) fn providers<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    names.filter_map(|name| provider(name)).map(|(provider, _)| provider.to_owned()).collect()
}

/// Every key there is when these are the providers, by its whole name.
pub(super) fn all(providers: &BTreeSet<String>) -> impl Iterator<Item = (String, &'static Key)> {
    let of_providers = providers
        .iter()
        .flat_map(|provider| PROVIDER_KEYS.iter().map(move |key| (of_provider(provider, key.name), key)));
    KEYS.iter().map(|key| (key.name.to_owned(), key)).chain(of_providers)
}

/// The key of that exact name; of a provider's key, the template.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    let (table, name) = provider(name).map_or((KEYS, name), |(_, key)| (PROVIDER_KEYS, key));
    table.iter().find(|key| key.name == name)
}

/// Whether `name` is a section, that is, whether keys begin with it and a dot.
pub(super) fn is_section(name: &str) -> bool {
    let beginning = format!("{name}.");
    let mut names = KEYS.iter().map(|key| key.name).chain([PROVIDERS]);
    names.any(|name| name.starts_with(&beginning)) || is_provider(name)
}

/// Whether `name` is the section of one provider.
pub(super) fn is_provider(name: &str) -> bool {
    provider(&format!("{name}.")).is_some_and(|(_, key)| key.is_empty())
}

/// The key that was probably meant by `name`: of the same provider, or the same key in another section, or else one a few
/// letters away.
pub(super) fn nearest(name: &str) -> Option<String> {
    if let Some((provider, key)) = provider(name) {
        return closest(PROVIDER_KEYS, key).map(|key| of_provider(provider, key));
    }
    let last = name.rsplit('.').next();
    let elsewhere = KEYS.iter().map(|key| key.name).find(|key| key.rsplit('.').next() == last);
    elsewhere.or_else(|| closest(KEYS, name)).map(str::to_owned)
}

/// The key at most three letters away, but not one that shares no letter with `name`.
fn closest(table: &'static [Key], name: &str) -> Option<&'static str> {
    let distance = |key: &&str| strsim::damerau_levenshtein(key, name);
    let key = table.iter().map(|key| key.name).min_by_key(distance)?;
    (distance(&key) <= 3.min(name.len().saturating_sub(1))).then_some(key)
}
