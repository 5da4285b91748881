//! What each key accepts, by itself and beside others.

use super::*;

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
        ("VALIDATION__MAX_STALENESS", "1s"),
        ("VALIDATION__CACHE_ENTRIES", "1"),
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
        ("VALIDATION__MAX_STALENESS", "0s"),
        ("VALIDATION__CACHE_ENTRIES", "0"),
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

// S30
#[test]
fn a_signing_key_signs_for_two_days_at_least_or_is_left_alone() {
    let day = 24;
    for (value, hours) in [("0s", 0), ("2d", 2 * day), ("3650d", 3650 * day)] {
        let rotate_every = with("COUNTERSIGN_TOKENS__ROTATE_EVERY", value).load().0.tokens.rotate_every;
        assert_eq!(rotate_every, Duration::from_hours(hours), "{value}");
    }
    for value in ["1s", "47h 59m 59s", "3651d", "-2d", "90", ""] {
        let faults = with("COUNTERSIGN_TOKENS__ROTATE_EVERY", value).faults();
        assert!(faults.len() == 1 && faults[0].starts_with("tokens.rotate_every: "), "{value}: {faults:?}");
    }
}

#[test]
fn the_internal_listener_has_a_port_of_its_own() {
    let at = |listen: &str, internal: &str| {
        Setup::new()
            .env("COUNTERSIGN_MAIL__TRANSPORT", "file")
            .env("COUNTERSIGN_SERVER__LISTEN", listen)
            .env("COUNTERSIGN_SERVER__INTERNAL_LISTEN", internal)
    };
    for (listen, internal) in [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("10.0.0.1:50051", "[::]:50051"),
    ] {
        let fault = "server.internal_listen: must have another port than server.listen: what it serves is taken off that one \
                     (COUNTERSIGN_SERVER__INTERNAL_LISTEN)";
        assert_eq!(at(listen, internal).faults(), [fault], "{listen} {internal}");
    }
    for (listen, internal) in [
        ("127.0.0.1:50051", "127.0.0.1:50052"),
        ("192.0.2.1:50051", "10.0.0.1:50051"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ] {
        let server = at(listen, internal).load().0.server;
        assert_eq!(server.internal_listen.unwrap().to_string(), internal);
    }
    assert_eq!(Setup::new().load().0.server.internal_listen, None);
}

#[test]
fn metrics_can_be_switched_off_and_have_a_port_of_their_own() {
    let off = with("COUNTERSIGN_SERVER__METRICS_LISTEN", "off").load().0;
    assert_eq!(off.server.metrics_listen, None);
    let faults = with("COUNTERSIGN_SERVER__INTERNAL_LISTEN", "0.0.0.0:9464")
        .env("COUNTERSIGN_MAIL__TRANSPORT", "file")
        .faults();
    assert!(faults.len() == 1 && faults[0].starts_with("server.metrics_listen: must have another port"));
    let ratio = Setup::new().toml("telemetry.trace_ratio = 0.25").load().0.telemetry.trace_ratio;
    assert!((ratio - 0.25).abs() < f64::EPSILON);
}

#[test]
fn where_telemetry_goes_has_bounds() {
    let accepted = [
        ("TELEMETRY__OTLP_ENDPOINT", "http://collector:4317"),
        ("TELEMETRY__TRACE_RATIO", "0"),
        ("TELEMETRY__TRACE_RATIO", "0.05"),
        ("TELEMETRY__TRACE_RATIO", "1"),
        ("SERVER__METRICS_LISTEN", "0.0.0.0:9000"),
        ("SERVER__METRICS_LISTEN", "off"),
    ];
    for (name, value) in accepted {
        with(&format!("COUNTERSIGN_{name}"), value).load();
    }
    let refused = [
        ("TELEMETRY__OTLP_ENDPOINT", "collector:4317"),
        ("TELEMETRY__OTLP_ENDPOINT", "https://user:password@collector"),
        ("TELEMETRY__TRACE_RATIO", "1.1"),
        ("TELEMETRY__TRACE_RATIO", "NaN"),
        ("SERVER__METRICS_LISTEN", ""),
        ("SERVER__METRICS_LISTEN", "127.0.0.1:50051"),
    ];
    for (name, value) in refused {
        let faults = with(&format!("COUNTERSIGN_{name}"), value).faults();
        assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
    }
}
