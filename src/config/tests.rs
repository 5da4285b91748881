//! What a configuration yields, from sources to values, faults and output. Longer than other files since the bounds of
//! every key are listed here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret as _;

use super::*;

mod mail;
mod oauth;

/// 32 different bytes.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// What no output may hold.
const CANARY: &str = "c4n4ry";

/// Sources in a directory of their own, which goes away with the value.
struct Setup {
    sources: Sources,
    directory: PathBuf,
}

impl Drop for Setup {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).ok();
    }
}

impl Setup {
    fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("countersign-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let sources = Sources {
            file: None,
            env: Vec::new(),
            flags: Vec::new(),
            cores: 3,
            terminal: false,
            directory: directory.clone(),
        };
        Self { sources, directory }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.join(name), text).unwrap();
        self
    }

    fn toml(self, text: &str) -> Self {
        self.file("countersign.toml", text)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, key: &'static str, flag: &'static str, value: &str) -> Self {
        self.sources.flags.push((key, flag, value.to_owned()));
        self
    }

    fn load(&self) -> (Config, Vec<Setting>) {
        Config::load(&self.sources).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn faults(&self) -> Vec<String> {
        let faults = Config::load(&self.sources).map(|_| ()).expect_err("a faulty configuration was taken");
        faults.to_string().lines().map(str::to_owned).collect()
    }
}

fn with(name: &str, value: &str) -> Setup {
    Setup::new().env(name, value)
}

fn setting<'a>(settings: &'a [Setting], key: &str) -> &'a Setting {
    settings.iter().find(|setting| setting.key == key).unwrap()
}

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
fn a_later_source_wins_and_is_named() {
    let toml =
        "[server]\nlisten = '127.0.0.1:1'\n[tokens]\naudience = 'file'\n[database]\nmax_connections = 5\n";
    let setup = Setup::new()
        .toml(toml)
        .env("COUNTERSIGN_SERVER__LISTEN", "127.0.0.1:2")
        .env("COUNTERSIGN_TOKENS__AUDIENCE", "env")
        .flag("server.listen", "--listen", "127.0.0.1:3");
    let (config, settings) = setup.load();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.tokens.audience, "env");
    assert_eq!(config.database.max_connections, 5);
    assert_eq!(setting(&settings, "server.listen").origin, Origin::Flag("--listen"));
    let variable = Origin::Env("COUNTERSIGN_TOKENS__AUDIENCE".to_owned());
    assert_eq!(setting(&settings, "tokens.audience").origin, variable);
    let file = Origin::File("countersign.toml".to_owned());
    assert_eq!(setting(&settings, "database.max_connections").origin, file);
}

#[test]
fn every_fault_is_listed_with_key_value_and_origin() {
    let toml = "[server]\nreflection = 'yes'\ncors_origins = ['https://a.example/', '*']\n\
                [tokens]\naccess_ttl = 900\n[passwords]\nmin_length = 7\nmemory_kib = 1.5\n";
    let setup = Setup::new()
        .toml(toml)
        .env("COUNTERSIGN_SERVER__LISTEN", "abc")
        .env("COUNTERSIGN_DATABASE__MAX_CONNECTIONS", "many")
        .env("COUNTERSIGN_SERVER__LISTN", "127.0.0.1:1")
        .flag("server.public_url", "--public-url", "https://a.example/");
    let mut faults = setup.faults();
    faults.sort();
    let expected = [
        "database.max_connections: \"many\" is not a whole number from 2 to 1000 (COUNTERSIGN_DATABASE__MAX_CONNECTIONS)",
        "passwords.memory_kib: expected a whole number, found a float (countersign.toml)",
        "passwords.min_length: \"7\" is not a whole number from 8 to 64 (countersign.toml)",
        "server.cors_origins: \"*\" is not allowed: name each origin, like https://app.example.com (countersign.toml)",
        "server.cors_origins: \"https://a.example/\" is not an origin like https://app.example.com or \
         http://localhost:3000: leave out what follows the host (countersign.toml)",
        "server.listen: \"abc\" is not an address like 127.0.0.1:50051 (COUNTERSIGN_SERVER__LISTEN)",
        "server.listn: unknown key, did you mean server.listen? (COUNTERSIGN_SERVER__LISTN)",
        "server.public_url: \"https://a.example/\" ends in a slash: leave it out (--public-url)",
        "server.reflection: expected true or false, without quotes, found a string (countersign.toml)",
        "tokens.access_ttl: expected a duration in quotes, like \"15m\", found an integer (countersign.toml)",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn unknown_keys_are_faults_and_the_key_that_was_meant_is_offered() {
    let toml = "listen = 1\nserver = 2\n[post]\nfrom = 'a'\n[tokens.access_ttl]\nx = 1\n";
    assert_eq!(
        Setup::new().toml(toml).faults(),
        [
            "listen: unknown key, did you mean server.listen? (countersign.toml)",
            "post: unknown key (countersign.toml)",
            "server: is a section, not a key (countersign.toml)",
            "tokens.access_ttl: expected a duration in quotes, like \"15m\", found a table (countersign.toml)",
        ]
    );
    // A fault stays one line, whatever the key is called.
    let faults = Setup::new().toml("\"a\\nb\" = 1\n").faults();
    assert_eq!(faults, ["a\\nb: unknown key (countersign.toml)"]);
    let toml = "[server.tls]\ncert = 'a'\n";
    assert_eq!(Setup::new().toml(toml).faults(), ["server.tls: unknown key (countersign.toml)"]);
    assert_eq!(
        with("COUNTERSIGN_AUTH__REGISTRATION", "open").faults(),
        [
            "auth.registration: unknown key, did you mean accounts.registration? (COUNTERSIGN_AUTH__REGISTRATION)"
        ]
    );
    // Only secrets can be given as a file.
    assert_eq!(with("COUNTERSIGN_SERVER__LISTEN_FILE", "x").faults().len(), 1);
}

#[test]
fn variables_without_two_underscores_are_other_programs() {
    let setup = with("COUNTERSIGN_PORT", "tcp://10.0.0.1:50051")
        .env("COUNTERSIGN_SERVICE_HOST", "10.0.0.1")
        .env("COUNTERSIGN__X", "1")
        .env("OTHER_SERVER__LISTEN", "abc");
    assert!(setup.load().1.iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn a_named_file_must_be_there_and_any_file_must_be_toml() {
    let mut setup = Setup::new();
    setup.sources.file = Some("other.toml".into());
    assert_eq!(
        setup.faults(),
        ["other.toml: cannot be read: No such file or directory (os error 2) (--config)"]
    );

    let setup = setup.file("other.toml", "[server]\nlisten = '127.0.0.1:7'\n");
    let (config, settings) = setup.load();
    assert_eq!(config.server.listen.port(), 7);
    assert_eq!(setting(&settings, "server.listen").origin.to_string(), "other.toml");

    let faults = Setup::new().toml(&format!("[secrets]\nmaster_key = {CANARY}\n")).faults();
    assert!(
        faults.len() == 1 && faults[0].starts_with("countersign.toml: line 2, column 14: "),
        "{faults:?}"
    );
    assert!(!faults[0].contains(CANARY), "{faults:?}"); // S57
}

#[test]
fn values_of_the_wrong_type_are_faults_even_if_overridden() {
    let setup = Setup::new().toml("server.listen = 5\n").env("COUNTERSIGN_SERVER__LISTEN", "127.0.0.1:1");
    assert_eq!(setup.faults(), ["server.listen: expected a string, found an integer (countersign.toml)"]);
    assert_eq!(
        Setup::new().toml("accounts.default_scopes = 'a'\n").faults(),
        [
            "accounts.default_scopes: expected a list of strings, like [\"one\", \"two\"], found a string (countersign.toml)"
        ]
    );
    assert_eq!(Setup::new().toml("accounts.default_scopes = ['a', 1]\n").faults().len(), 1);
}

#[test]
fn an_integer_may_be_a_string_and_a_list_is_separated_by_commas() {
    let setup = Setup::new()
        .toml("passwords.min_length = '12'\npasswords.max_queue = 9\n")
        .env("COUNTERSIGN_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1")
        .env("COUNTERSIGN_SERVER__CORS_ORIGINS", "")
        .env("COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES", "read,write:all");
    let (config, settings) = setup.load();
    assert_eq!((config.passwords.min_length, config.passwords.max_queue), (12, 9));
    assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8", "::1/128"].map(|n| n.parse::<IpNet>().unwrap()));
    assert!(config.server.cors_origins.is_empty());
    assert_eq!(config.accounts.default_scopes.to_list(), "read write:all");
    assert_eq!(setting(&settings, "accounts.default_scopes").value, "read,write:all");
}

#[test]
fn a_secret_can_be_the_content_of_a_file() {
    let setup = Setup::new()
        .file("key", &format!("{KEY}\n"))
        .file("url", "postgres://u:p@h/d\n")
        .toml("database.url_file = 'url'\n")
        .env("COUNTERSIGN_SECRETS__MASTER_KEY_FILE", "key");
    let (config, settings) = setup.load();
    assert_eq!(config.secrets.master_key.unwrap().expose_secret()[31], 31);
    assert_eq!(config.database.url.expose_secret(), "postgres://u:p@h/d");
    let origin = &setting(&settings, "secrets.master_key").origin;
    assert_eq!(origin.to_string(), "COUNTERSIGN_SECRETS__MASTER_KEY_FILE");

    // Another source may use the other form: that is precedence, not a contradiction.
    let setup = setup.env("COUNTERSIGN_DATABASE__URL", "sqlite://x.db");
    assert_eq!(setup.load().0.database.url.expose_secret(), "sqlite://x.db");
}

#[test]
fn a_secret_in_both_forms_or_in_a_missing_file_is_one_fault() {
    let setup = with("COUNTERSIGN_SECRETS__MASTER_KEY", KEY)
        .file("key", KEY)
        .env("COUNTERSIGN_SECRETS__MASTER_KEY_FILE", "key");
    assert_eq!(
        setup.faults(),
        [
            "secrets.master_key: is given twice, as secrets.master_key and as secrets.master_key_file: leave one out \
          (COUNTERSIGN_SECRETS__MASTER_KEY_FILE)"
        ]
    );
    // Whoever mixes the forms up has put the secret where a path belongs: S57 holds all the same.
    let setup = with("COUNTERSIGN_SECRETS__MASTER_KEY_FILE", CANARY)
        .env("COUNTERSIGN_DATABASE__URL", "postgres://h/d");
    assert_eq!(
        setup.faults(),
        ["secrets.master_key: the file cannot be read: No such file or directory (os error 2) \
          (COUNTERSIGN_SECRETS__MASTER_KEY_FILE)"]
    );
}

// S59
#[test]
fn the_master_key_is_32_bytes_that_differ_and_postgresql_requires_it() {
    let name = "COUNTERSIGN_SECRETS__MASTER_KEY";
    assert!(with(name, KEY.trim_end_matches('=')).load().0.secrets.master_key.is_some());
    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let ones = "//////////////////////////////////////////8=";
    for bad in ["", "secret", "AAECAwQ=", zero, ones, &format!("{KEY}{KEY}")] {
        let faults = with(name, bad).faults();
        assert!(
            faults.len() == 1 && faults[0].starts_with("secrets.master_key: the value is "),
            "{faults:?}"
        );
        assert!(bad.is_empty() || bad == "secret" || !faults[0].contains(bad), "{faults:?}"); // S57
    }
    assert_eq!(
        with("COUNTERSIGN_DATABASE__URL", "postgresql://h/d").faults(),
        ["secrets.master_key: required with PostgreSQL: make one with `openssl rand -base64 32`"]
    );
}

// S57
#[test]
fn no_output_holds_a_secret() {
    let urls = [
        "postgres://u:c4n4ry@h/d?sslmode=require",
        "postgres://u:c4n4/c4n4ry?c4n4ry#c4n4ry@h:5/d",
        "postgres://u:a@c4n4ry@h/d",
        "postgresql://h/d?user=u&password=c4n4ry&p%61ssword=c4n4ry&c4n4ry",
    ];
    for url in urls {
        let setup = with("COUNTERSIGN_DATABASE__URL", url).env("COUNTERSIGN_SECRETS__MASTER_KEY", KEY);
        let (config, settings) = setup.load();
        let output = format!("{config:?}{settings:?}{}", Config::render(&settings));
        assert!(!output.contains(CANARY) && !output.contains(&KEY[..20]), "{output}");
        assert!(!output.contains("1, 2, 3, 4"), "{output}");
        assert_eq!(setting(&settings, "secrets.master_key").value, "********");
    }
    for (name, bad) in [
        ("COUNTERSIGN_SECRETS__MASTER_KEY", CANARY),
        ("COUNTERSIGN_DATABASE__URL", "mysql://u:c4n4ry@h/d"),
        ("COUNTERSIGN_DATABASE__URL", "host=h password=c4n4ry"),
        ("COUNTERSIGN_DATABASE__DIRECT_URL", "postgres://u:c4n4ry@h/d"),
        ("COUNTERSIGN_DATABASE__URI", CANARY),
    ] {
        let faults = with(name, bad).faults();
        assert!(faults.len() == 1 && !faults[0].contains(CANARY), "{faults:?}");
    }
    let toml = format!("[database]\nurl = ['{CANARY}']\n[secrets]\nmaster_key = {{ value = '{CANARY}' }}\n");
    let faults = Setup::new().toml(&toml).faults();
    assert!(faults.len() == 2 && !faults.concat().contains(CANARY), "{faults:?}");
}

#[test]
fn only_the_password_of_a_url_is_masked() {
    let setup = with("COUNTERSIGN_DATABASE__URL", "postgres://u:p@h:5/d?sslmode=require&password=p")
        .env("COUNTERSIGN_DATABASE__DIRECT_URL", "postgres://u@[::1]/d")
        .env("COUNTERSIGN_SECRETS__MASTER_KEY", KEY);
    let (_, settings) = setup.load();
    let shown = &setting(&settings, "database.url").value;
    assert_eq!(shown, "postgres://u:********@h:5/d?sslmode=require&password=********");
    assert_eq!(setting(&settings, "database.direct_url").value, "postgres://u@[::1]/d");
}

#[test]
fn values_have_bounds() {
    let accepted = [
        ("SERVER__LISTEN", "[::1]:0"),
        ("SERVER__PUBLIC_URL", "https://auth.example.com/base"),
        ("SERVER__CORS_ORIGINS", "http://localhost:3000,https://[::1]:8443"),
        ("SERVER__DRAIN_DELAY", "1m 30s"),
        ("DATABASE__URL", "sqlite:countersign.db"),
        ("DATABASE__MAX_CONNECTIONS", "2"),
        ("TOKENS__FORMAT", "jwt"),
        ("TOKENS__ACCESS_TTL", "24h"),
        ("TOKENS__REFRESH_REUSE_GRACE", "5m"),
        ("PASSWORDS__MIN_LENGTH", "64"),
        ("PASSWORDS__MEMORY_KIB", "1048576"),
        ("ACCOUNTS__REGISTRATION", "closed"),
        ("ACCOUNTS__REQUIRE_VERIFIED_EMAIL", "true"),
        ("MAIL__TRANSPORT", "file"),
        ("MAIL__DIR", "/var/spool/mail"),
        ("MAIL__SMTP_URL", "smtps://mail.example.com"),
        ("MAIL__FROM", "noreply@example.com"),
        ("MAIL__FROM", "Größe <noreply@example.com>"),
        ("MAIL__PAGES", "false"),
        ("THROTTLE__ACCOUNT_FREE_FAILURES", "1"),
        ("THROTTLE__ACCOUNT_MAX_DELAY", "1s"),
        ("THROTTLE__ACCOUNT_MAX_DELAY", "24h"),
        ("THROTTLE__ACCOUNT_MAX_FAILURES", "1000"),
        ("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "0"), // S12: any number
        ("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "1000"),
        ("THROTTLE__MAILS_PER_HOUR", "1"),
        ("THROTTLE__MAILS_PER_HOUR", "100"),
        ("TELEMETRY__LOG_LEVEL", "warn,countersign::store=debug"),
    ];
    for (name, value) in accepted {
        with(&format!("COUNTERSIGN_{name}"), value).load();
    }
    let long_scope = "x".repeat(65);
    let many_scopes = vec!["x"; 65].join(",");
    let refused = [
        ("SERVER__LISTEN", "localhost:50051"),
        ("SERVER__PUBLIC_URL", "auth.example.com"),
        ("SERVER__PUBLIC_URL", "https://"),
        ("SERVER__PUBLIC_URL", "https://user@host"),
        ("SERVER__PUBLIC_URL", "https://host/base?x"),
        ("SERVER__PUBLIC_URL", "https://host:0"),
        ("SERVER__CORS_ORIGINS", "https://A.example"),
        ("SERVER__CORS_ORIGINS", "https://a.example:443"),
        ("SERVER__CORS_ORIGINS", "https://a.example,"),
        ("SERVER__CORS_ORIGINS", "null"),
        ("SERVER__TRUSTED_PROXIES", "10.0.0.0/33"),
        ("SERVER__REFLECTION", "1"),
        ("SERVER__DRAIN_TIMEOUT", "20"),
        ("DATABASE__URL", "sqlite://"),
        ("DATABASE__MAX_CONNECTIONS", "1"),
        ("TOKENS__FORMAT", "JWT"),
        ("TOKENS__AUDIENCE", ""),
        ("TOKENS__ACCESS_TTL", "25h"),
        ("TOKENS__ACCESS_TTL", "0s"),
        ("TOKENS__REFRESH_REUSE_GRACE", "301s"),
        ("PASSWORDS__MIN_LENGTH", "7"),     // S1
        ("PASSWORDS__MIN_LENGTH", "65"),    // S2
        ("PASSWORDS__MEMORY_KIB", "19455"), // S5
        ("PASSWORDS__ITERATIONS", "1"),     // S5
        ("PASSWORDS__PARALLELISM", "0"),    // S5
        ("PASSWORDS__PARALLELISM", "17"),
        ("PASSWORDS__MAX_QUEUE", "-1"),
        ("ACCOUNTS__REGISTRATION", "Open"),
        ("ACCOUNTS__DEFAULT_SCOPES", "a b"),
        ("ACCOUNTS__DEFAULT_SCOPES", &long_scope),
        ("ACCOUNTS__DEFAULT_SCOPES", &many_scopes),
        ("MAIL__TRANSPORT", "sendmail"),
        ("MAIL__DIR", ""),
        ("MAIL__SMTP_URL", ""),
        ("MAIL__SMTP_URL", "mail.example.com:587"),
        ("MAIL__SMTP_URL", "https://mail.example.com"),
        ("MAIL__FROM", ""),
        ("MAIL__FROM", "Example"),
        ("MAIL__FROM", "a@example.com\r\nBcc: b@example.com"), // S42
        ("MAIL__TEMPLATES_DIR", ""),
        ("MAIL__PAGES", "no"),
        ("THROTTLE__ACCOUNT_FREE_FAILURES", "0"),
        ("THROTTLE__ACCOUNT_FREE_FAILURES", "1001"),
        ("THROTTLE__ACCOUNT_MAX_DELAY", "999ms"),
        ("THROTTLE__ACCOUNT_MAX_DELAY", "25h"),
        ("THROTTLE__ACCOUNT_MAX_FAILURES", "1"),
        ("THROTTLE__ACCOUNT_MAX_FAILURES", "1001"),
        ("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "-1"),
        ("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "1001"),
        ("THROTTLE__MAILS_PER_HOUR", "0"), // Nobody could be mailed at all.
        ("THROTTLE__MAILS_PER_HOUR", "101"),
        ("TELEMETRY__LOG_FORMAT", "pretty"),
        ("TELEMETRY__LOG_LEVEL", "inof"),
        ("TELEMETRY__LOG_LEVEL", "countersign=loud"),
    ];
    for (name, value) in refused {
        let faults = with(&format!("COUNTERSIGN_{name}"), value).faults();
        assert!(faults.len() == 1 && faults[0].len() < 300, "{name}={value}: {faults:?}");
    }
}

#[test]
fn keys_are_held_against_each_other() {
    let setup = with("COUNTERSIGN_DATABASE__DIRECT_URL", "sqlite://other.db");
    assert!(
        setup.faults()[0].starts_with("database.direct_url: does not lead to the database of database.url")
    );
    // S8: whoever is off is off after some waiting.
    let throttle = |free: &str, most: &str| {
        with("COUNTERSIGN_THROTTLE__ACCOUNT_FREE_FAILURES", free)
            .env("COUNTERSIGN_THROTTLE__ACCOUNT_MAX_FAILURES", most)
    };
    throttle("999", "1000").load();
    for (free, most) in [("4", "4"), ("100", "4"), ("1000", "1000")] {
        assert_eq!(
            throttle(free, most).faults(),
            ["throttle.account_max_failures: must be more than throttle.account_free_failures \
              (COUNTERSIGN_THROTTLE__ACCOUNT_MAX_FAILURES)"]
        );
    }
}

#[test]
fn settings_render_as_an_aligned_toml_document() {
    let setup = with("COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES", "read,write")
        .env("COUNTERSIGN_TOKENS__AUDIENCE", "a \"quoted\" 'name' # here");
    let text = Config::render(&setup.load().1);
    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["tokens"]["audience"].as_str(), Some("a \"quoted\" 'name' # here"));
    assert_eq!(table["accounts"]["default_scopes"].as_array().map(Vec::len), Some(2));
    assert_eq!(table["database"]["max_connections"].as_integer(), Some(16));
    assert_eq!(table["server"]["reflection"].as_bool(), Some(true));
    assert!(text.lines().any(|line| line.starts_with("# secrets.master_key")));
    let equals: Vec<_> = text.lines().map(|line| line.find(" = ")).collect();
    assert!(equals.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    assert!(text.contains("# COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES\n"), "{text}");
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
