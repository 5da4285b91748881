//! What is so when nothing is set, and that the documentation says the same.

use super::*;

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let (config, settings) = Setup::new().load();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.server.public_url, "http://127.0.0.1:50051");
    assert!(config.server.cors_origins.is_empty() && config.server.trusted_proxies.is_empty());
    assert!(config.server.reflection && config.database.migrate_on_start);
    assert_eq!(config.server.drain_delay, Duration::ZERO);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(20));
    assert_eq!(config.database.url.expose_secret(), "sqlite://countersign.db");
    assert_eq!(config.database.direct_url.expose_secret(), "sqlite://countersign.db");
    assert_eq!(config.database.max_connections, 16);
    assert!(config.secrets.master_key.is_none());
    assert_eq!(config.tokens.format, TokenFormat::Paseto);
    assert_eq!(config.tokens.audience, "countersign");
    assert_eq!(config.tokens.access_ttl, Duration::from_mins(15));
    assert_eq!(config.tokens.rotate_every, Duration::from_hours(90 * 24)); // S30
    assert_eq!(config.tokens.refresh_ttl, Duration::from_hours(30 * 24));
    assert_eq!(config.tokens.refresh_idle, Duration::from_hours(7 * 24));
    assert_eq!(config.tokens.refresh_reuse_grace, Duration::from_secs(10));
    let passwords = &config.passwords;
    assert_eq!((passwords.min_length, passwords.memory_kib), (8, 19_456)); // S1, S5
    assert_eq!((passwords.iterations, passwords.parallelism), (2, 1));
    assert_eq!((passwords.max_concurrent, passwords.max_queue), (3, 256)); // S61: as many as cores
    assert_eq!(config.accounts.registration, Registration::Open);
    assert_eq!(config.accounts.default_scopes.to_list(), "");
    assert!(!config.accounts.require_verified_email);
    let validation = &config.validation;
    assert_eq!((validation.max_staleness, validation.cache_entries), (Duration::from_mins(5), 100_000)); // S62
    let mail = &config.mail;
    assert_eq!((mail.transport, mail.dir.as_path()), (MailTransport::Log, Path::new("mail")));
    assert!(mail.smtp_url.is_none() && mail.from.is_none() && mail.templates_dir.is_none() && mail.pages);
    assert_eq!((&mail.verify_url, &mail.reset_url, &mail.change_email_url), (&None, &None, &None));
    let oauth = &config.oauth;
    assert!(oauth.redirect_uris.is_empty() && !oauth.require_state && oauth.providers.is_empty()); // S49
    let throttle = &config.throttle;
    assert_eq!((throttle.account_free_failures, throttle.account_max_failures), (4, 100)); // S8
    assert_eq!(throttle.account_max_delay, Duration::from_mins(15)); // S8
    assert_eq!(throttle.address_failures_per_minute, 30); // S12
    assert_eq!(throttle.mails_per_hour, 3); // S13
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert_eq!(config.telemetry.log_level, "info");
    assert!(config.telemetry.otlp_endpoint.is_none() && config.telemetry.trace_ratio >= 1.0);
    assert_eq!(config.server.metrics_listen.unwrap().to_string(), "127.0.0.1:9464");
    assert!(settings.iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn the_log_is_text_on_a_terminal() {
    let mut setup = Setup::new();
    setup.sources.terminal = true;
    assert_eq!(setup.load().0.telemetry.log_format, LogFormat::Text);
}

#[test]
fn every_key_of_the_table_is_read_once_in_its_order() {
    let read: Vec<String> = Setup::new().load().1.into_iter().map(|setting| setting.key).collect();
    let table: Vec<&str> = keys::KEYS.iter().map(|key| key.name).collect();
    assert_eq!(read, table);
}

#[test]
fn the_documentation_has_every_key_with_its_default() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let providers = std::collections::BTreeSet::from(["<name>".to_owned()]);
    let keys: Vec<_> = keys::all(&providers).collect();
    assert_eq!(rows.len(), keys.len());
    for (row, (name, key)) in rows.iter().zip(keys) {
        let default = match key.default {
            keys::Default::Is("") => "`[]`".to_owned(),
            keys::Default::Is(text) | keys::Default::SameAs(text) => format!("`{text}`"),
            keys::Default::From(_) | keys::Default::Unset => String::new(),
        };
        assert!(row.starts_with(&format!("| `{name}` | {default}")), "{name}: {row}");
    }
}

/// The blocks of code of the documentation in this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_examples_of_the_documentation_load() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let [toml, provider] = blocks(&text, "toml")[..] else { panic!("{text}") };
    let [shell, secret] = blocks(&text, "sh")[..] else { panic!("{text}") };
    let mut by_environment = Setup::new();
    let mut by_flag = Setup::new();
    for line in shell.lines() {
        if let Some((name, value)) = line.strip_prefix("export ").and_then(|rest| rest.split_once('=')) {
            by_environment = by_environment.env(name, value);
            by_flag = by_flag.env(name, value);
        } else {
            let address = line.strip_prefix("countersign serve --listen ").unwrap();
            by_flag = by_flag.flag("server.listen", "--listen", address);
        }
    }
    let all = [Setup::new().toml(toml), by_environment, by_flag].map(|setup| setup.load().0.server);
    for server in &all {
        assert_eq!(server.listen, all[0].listen);
        assert_eq!(server.cors_origins, all[0].cors_origins);
        assert!(!server.cors_origins.is_empty());
    }

    let (name, value) = secret.trim().strip_prefix("export ").unwrap().split_once('=').unwrap();
    let oauth = Setup::new().toml(provider).env(name, value).load().0.oauth;
    assert_eq!(oauth.providers["github"].kind, ProviderKind::Github);
    assert_eq!(oauth.providers["github"].client_secret.expose_secret(), value);
    assert!(!oauth.redirect_uris.is_empty());
}
