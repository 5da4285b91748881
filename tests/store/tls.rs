//! PostgreSQL over TLS, with libpq's words. `scripts/with-postgres` starts the cluster that these need: it speaks TLS,
//! with a certificate for `localhost` and `127.0.0.1` by the authority in `COUNTERSIGN_TEST_POSTGRES_CA`.

use std::{path::PathBuf, process::Command};

use countersign::{
    store::{ConnectError, Settings, Store, users},
    types::Clock,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    common::{Database, Kind, cluster_url},
    support::{Fixture, settings, user},
};

/// A password that must show up nowhere. The cluster lets anybody in, whatever the password.
const CANARY: &str = "canary-in-the-coal-mine";

fn authority() -> String {
    std::env::var("COUNTERSIGN_TEST_POSTGRES_CA")
        .expect("COUNTERSIGN_TEST_POSTGRES_CA names the authority of the cluster's certificate; scripts/with-postgres sets it")
}

/// A certificate authority that the cluster knows nothing of.
fn stranger() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stranger.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=Test authority", "-keyout", "/dev/null", "-out"])
        .arg(&file)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (directory, file)
}

/// The database's URL with the canary, at another host (but the same address) if one is given, with these parameters.
fn url(database: &Database, host: Option<&str>, parameters: &str) -> String {
    let with_password = database.url.replace("postgres@", &format!("postgres:{CANARY}@"));
    match host {
        None => format!("{with_password}?{parameters}"),
        Some(host) => {
            let url = with_password.replace("127.0.0.1", host);
            format!("{url}?hostaddr=127.0.0.1&{parameters}")
        }
    }
}

async fn connect(url: &str) -> Result<Store, ConnectError> {
    Store::connect(&settings(url), Clock::System).await
}

/// Whether the service's connections to the database are encrypted; expects there to be one, and them to be alike.
async fn encrypted(database: &Database) -> bool {
    let (_, name) = database.url.rsplit_once('/').unwrap();
    let fixture = Fixture::unmigrated(Kind::Postgres, Clock::System).await;
    let rows = fixture
        .texts(&format!(
            "SELECT DISTINCT CAST(ssl AS text) AS value FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = 'countersign' AND datname = '{name}'"
        ))
        .await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0] == "true"
}

/// Connects, migrates and writes; says whether the connection is encrypted.
async fn works(database: &Database, url: &str) -> bool {
    let store = connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    store.migrate().await.unwrap();
    let ann = user(&format!("u{}", url.len()));
    let written = store.tx(async |tx| {
        users::insert(tx, &ann).await?;
        users::delete(tx, ann.id).await
    });
    assert_eq!(written.await.unwrap(), 1);
    encrypted(database).await
}

/// Expects no connection, for a reason with these words in it, and without the password.
async fn refused(url: &str, words: &[&str]) -> ConnectError {
    let error = connect(url).await.err().unwrap_or_else(|| panic!("{url} works"));
    let text = format!("{error} {error:?}");
    for word in words {
        assert!(text.contains(word), "{url}: no {word:?} in {text}");
    }
    assert!(!text.contains(CANARY), "{text}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn require_encrypts_whoever_signed_the_certificate() {
    let database = Database::create(Kind::Postgres).await;
    assert!(works(&database, &url(&database, None, "sslmode=require")).await);
    assert!(works(&database, &url(&database, Some("wrong.example"), "sslmode=require")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn require_with_a_root_certificate_checks_who_signed_it() {
    let database = Database::create(Kind::Postgres).await;
    let (ca, (_directory, stranger)) = (authority(), stranger());
    let given = format!("sslmode=require&sslrootcert={ca}");
    assert!(works(&database, &url(&database, None, &given)).await);
    assert!(works(&database, &url(&database, Some("wrong.example"), &given)).await);
    let other = format!("sslmode=require&sslrootcert={}", stranger.display());
    refused(&url(&database, None, &other), &["certificate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_ca_checks_who_signed_it_and_not_for_whom() {
    let database = Database::create(Kind::Postgres).await;
    let (ca, (_directory, stranger)) = (authority(), stranger());
    let given = format!("sslrootcert={ca}&sslmode=verify-ca");
    assert!(works(&database, &url(&database, None, &given)).await);
    assert!(works(&database, &url(&database, Some("wrong.example"), &given)).await);
    let other = format!("sslmode=verify-ca&sslrootcert={}", stranger.display());
    refused(&url(&database, None, &other), &["certificate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_full_checks_who_signed_it_and_for_whom() {
    let database = Database::create(Kind::Postgres).await;
    let (ca, (_directory, stranger)) = (authority(), stranger());
    let given = format!("sslmode=verify-full&sslrootcert={ca}");
    assert!(works(&database, &url(&database, None, &given)).await);
    assert!(works(&database, &url(&database, Some("localhost"), &given)).await);
    // The slashes of a path may be written as percent-encoding has it.
    let encoded = format!("sslmode=verify-full&sslrootcert={}", ca.replace('/', "%2F"));
    assert!(works(&database, &url(&database, None, &encoded)).await);

    refused(&url(&database, Some("wrong.example"), &given), &["certificate"]).await;
    let other = format!("sslmode=verify-full&sslrootcert={}", stranger.display());
    refused(&url(&database, None, &other), &["certificate"]).await;
    // The system's authorities did not sign it.
    for roots in ["", "&sslrootcert=system"] {
        refused(&url(&database, None, &format!("sslmode=verify-full{roots}")), &["certificate"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefer_is_the_default_and_encrypts_where_it_can() {
    let database = Database::create(Kind::Postgres).await;
    assert!(works(&database, &url(&database, None, "")).await);
    assert!(works(&database, &url(&database, None, "sslmode=prefer")).await);
    assert!(works(&database, &url(&database, None, "sslmode=prefer&connect_timeout=3")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn disable_does_not_encrypt() {
    let database = Database::create(Kind::Postgres).await;
    assert!(!works(&database, &url(&database, None, "sslmode=disable")).await);
}

/// A way to the cluster for one connection after the other that answers a wish for TLS with no.
async fn plain_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cluster = cluster_url();
    let address = cluster.rsplit_once('/').unwrap().0.rsplit_once('@').unwrap().1.to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let address = address.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(address).await?;
                let mut first = [0; 8];
                client.read_exact(&mut first).await?;
                // SSLRequest: length 8, code 80877103.
                if first == [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f] {
                    client.write_all(b"N").await?;
                } else {
                    server.write_all(&first).await?;
                }
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_good_enough_for_prefer_and_disable_alone() {
    let mut database = Database::create(Kind::Postgres).await;
    let ca = authority();
    let port = plain_server().await;
    let (server, name) = database.url.rsplit_once('/').unwrap();
    database.url = format!("{}:{port}/{name}", server.rsplit_once(':').unwrap().0);
    assert!(!works(&database, &url(&database, None, "sslmode=prefer")).await);
    assert!(!works(&database, &url(&database, None, "sslmode=disable")).await);
    for mode in ["require".to_owned(), "verify-ca".to_owned(), format!("verify-full&sslrootcert={ca}")] {
        refused(&url(&database, None, &format!("sslmode={mode}")), &["TLS"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_parameter_is_named_and_the_password_is_not() {
    // S57
    let database = Database::create(Kind::Postgres).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let empty = file("empty.pem", "");
    let broken = file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let cases = [
        ("sslmode=verify-fool".to_owned(), vec!["sslmode", "verify-fool", "verify-full"]),
        ("sslmode=allow".to_owned(), vec!["sslmode", "allow"]),
        ("sslmode=".to_owned(), vec!["sslmode"]),
        (
            "sslmode=verify-full&sslrootcert=/nowhere/ca.pem".to_owned(),
            vec!["sslrootcert", "/nowhere/ca.pem"],
        ),
        ("sslmode=require&sslrootcert=/nowhere/ca.pem".to_owned(), vec!["sslrootcert", "/nowhere/ca.pem"]),
        (format!("sslmode=verify-ca&sslrootcert={empty}"), vec!["sslrootcert", "empty.pem"]),
        (format!("sslmode=verify-ca&sslrootcert={broken}"), vec!["sslrootcert", "broken.pem"]),
        // An unescaped question mark in a password makes a parameter of its rest, so that none but ours is repeated.
        ("sslmode=require&canary-in-the-coal-mine=x".to_owned(), vec!["connection string"]),
    ];
    for (parameters, words) in cases {
        let error = refused(&url(&database, None, &parameters), &words).await;
        assert!(matches!(&error, ConnectError::Url { key: "database.url", .. }), "{error:?}");
        assert!(error.to_string().starts_with("database.url: "), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_parameter_of_the_direct_url_is_its_own() {
    // S57
    let database = Database::create(Kind::Postgres).await;
    let direct_urls = [
        url(&database, None, "sslmode=verify-fool"),
        url(&database, None, "sslmode=verify-full&sslrootcert=/nowhere/ca.pem"),
        format!("postgres://postgres:{CANARY}@127.0.0.1:port/postgres"),
        "sqlite://countersign.db".to_owned(),
    ];
    for direct_url in direct_urls {
        let settings = Settings { direct_url: direct_url.as_str().into(), ..settings(&database.url) };
        let error =
            Store::connect(&settings, Clock::System).await.err().unwrap_or_else(|| panic!("{direct_url}"));
        assert!(matches!(&error, ConnectError::Url { key: "database.direct_url", .. }), "{error:?}");
        assert!(error.to_string().starts_with("database.direct_url: "), "{error}");
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_failure_to_connect_tells_the_password() {
    // S57
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let cluster = cluster_url().replace("postgres@", &format!("postgres:{CANARY}@"));
    let cases = [
        format!("postgres://postgres:{CANARY}@{unused}/postgres"),
        format!("postgres://postgres:{CANARY}@host.invalid:5432/postgres"),
        format!("postgres://postgres:{CANARY}@127.0.0.1:port/postgres"),
        format!("postgres://postgres:{CANARY}@127.0.0.1:99999/postgres"),
        format!("postgres://postgres:%zz{CANARY}@127.0.0.1/postgres"),
        format!("postgres://postgres:{CANARY}@[::1/postgres"),
        format!("postgres://postgres:{CANARY}/postgres"),
        format!("postgres://postgres@127.0.0.1:1/postgres?password={CANARY}"),
        format!("postgres://postgres@127.0.0.1:1/postgres?passwort={CANARY}"),
        format!("mysql://root:{CANARY}@127.0.0.1/mysql"),
        format!("host=127.0.0.1 port=1 user=postgres password={CANARY}"),
        format!("host=127.0.0.1 port=1 user=postgres password='{CANARY}"),
        cluster.replace("/postgres", "/there_is_no_such_database"),
        cluster.replace("/postgres", "/postgres?options=-c%20there.is%20no"),
        CANARY.to_owned(),
        String::new(),
    ];
    for url in cases {
        if let Err(error) = connect(&url).await {
            let text = format!("{error} {error:?}");
            assert!(!text.contains(CANARY), "{url}: {text}");
            assert!(!error.to_string().trim().is_empty(), "{url}");
        } else {
            panic!("{url} works");
        }
    }
}
