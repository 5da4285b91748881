//! How faults are told: all at once, each in a line with its key, value and origin.

use super::*;

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
    let toml = "[server.tsl]\ncert = 'a'\n";
    assert_eq!(Setup::new().toml(toml).faults(), ["server.tsl: unknown key (countersign.toml)"]);
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
fn whoever_registers_is_no_administrator() {
    let faults = Setup::new().toml("accounts.default_scopes = ['read', 'countersign:admin']\n").faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    let expected =
        "accounts.default_scopes: \"countersign:admin\" would let everybody who registers administer";
    assert!(faults[0].starts_with(expected), "{faults:?}");
    let scopes = Setup::new()
        .toml("accounts.default_scopes = ['countersign:administrators', 'x:countersign:admin']\n")
        .load()
        .0
        .accounts
        .default_scopes;
    assert_eq!(scopes.to_list(), "countersign:administrators x:countersign:admin");
}

#[test]
fn a_client_authority_alone_lacks_both_certificate_and_key() {
    let faults = Setup::new().toml("server.tls.client_ca = 'ca.pem'\n").faults();
    assert_eq!(
        faults,
        [
            "server.tls.cert: required with server.tls.client_ca",
            "server.tls.key: required with server.tls.client_ca"
        ]
    );
    let with_cert = Setup::new().toml("server.tls.client_ca = 'ca.pem'\nserver.tls.cert = 'c.pem'\n");
    assert_eq!(with_cert.faults(), ["server.tls.key: required with server.tls.cert"]);
}
