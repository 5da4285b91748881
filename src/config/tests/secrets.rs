//! Secrets: as values and as files, what a master key is, and that no output holds one.

use super::*;

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

// S57, S58
#[test]
fn earlier_master_keys_are_a_list_or_a_file_with_one_a_line() {
    let (first, second) =
        ("ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=", "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=");
    let (name, file) =
        ("COUNTERSIGN_SECRETS__PREVIOUS_MASTER_KEYS", "COUNTERSIGN_SECRETS__PREVIOUS_MASTER_KEYS_FILE");
    let both = [
        with(name, &format!("{first}, {second}")),
        Setup::new().toml(&format!("secrets.previous_master_keys = ['{first}', '{second}']")),
        with(file, "keys").file("keys", &format!("{first}\n{second}\n")),
        Setup::new()
            .toml("secrets.previous_master_keys_file = 'keys'")
            .file("keys", &format!("{first}\r\n{second}")),
    ];
    for setup in both {
        let (config, settings) = setup.env("COUNTERSIGN_SECRETS__MASTER_KEY", KEY).load();
        let begins: Vec<_> =
            config.secrets.previous_master_keys.iter().map(|key| key.expose_secret()[0]).collect();
        assert_eq!(begins, [32, 64]);
        assert_eq!(setting(&settings, "secrets.previous_master_keys").value, "********,********");
        let output = format!("{config:?}{settings:?}{}", Config::render(&settings));
        assert!(!output.contains(&first[..20]) && !output.contains(&second[..20]), "{output}");
    }
    for none in [with(name, ""), with(file, "keys").file("keys", "\n"), Setup::new()] {
        assert!(none.load().0.secrets.previous_master_keys.is_empty());
    }

    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (faulty, problem) in [
        (with(name, &format!("{first},{CANARY}")), "the value is "),
        (with(name, &format!("{first},")), "the value is "),
        (with(name, zero), "the value is "),
        (with(file, "keys").file("keys", &format!("{first}\n{CANARY}\n")), "the value is "),
        (with(file, CANARY), "the file cannot be read: "),
        (with(name, first).env(file, "keys").file("keys", second), "is given twice"),
        (
            Setup::new().toml(&format!("secrets.previous_master_keys = '{CANARY}'")),
            "expected a list of strings",
        ),
        // It would be kept for ever, for fear that something is still under it.
        (with(name, &format!("{first},{KEY}")), "holds secrets.master_key itself"),
    ] {
        let faults = faulty.env("COUNTERSIGN_SECRETS__MASTER_KEY", KEY).faults();
        let expected = format!("secrets.previous_master_keys: {problem}");
        assert!(faults.len() == 1 && faults[0].starts_with(&expected), "{expected}, not {faults:?}");
        assert!(!faults[0].contains(CANARY) && !faults[0].contains(&first[..20]), "{faults:?}");
    }
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
