//! Where values come from: a file, the environment, flags; which of them wins, and how each writes a value.

use super::*;

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
