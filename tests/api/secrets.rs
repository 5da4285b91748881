//! What is kept, and what is logged, holds no secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign::api::pb;
use sha2::{Digest, Sha256};

use crate::{
    common::{Database, Kind},
    log::Log,
    on_both,
    support::{EMAIL, MASTER_KEY, PASSWORD, Server, bearer},
};

/// Everything that is in the database, with bytes in lower-case hexadecimal.
async fn dump(database: &Database) -> String {
    let mut dump = String::new();
    for (table, columns) in [
        ("users", &["email", "name", "password_hash", "scopes"][..]),
        ("sessions", &["ip_address", "user_agent"]),
        ("refresh_tokens", &["#digest", "successor_sealed"]),
        ("api_keys", &["name", "hint", "scopes"]),
        ("api_key_secrets", &["#digest"]),
        ("signing_keys", &["kid", "secret_sealed"]),
        ("changes", &["kind"]),
    ] {
        for column in columns {
            let text = match (column.strip_prefix('#'), database.kind) {
                (Some(column), Kind::Sqlite) => format!("lower(hex({column}))"),
                (Some(column), Kind::Postgres) => format!("encode({column}, 'hex')"),
                (None, _) => (*column).to_owned(),
            };
            let rows = database.query_text(&format!("SELECT coalesce({text}, '') FROM {table}")).await;
            dump.extend(rows.iter().map(|row| format!("{table}.{column} {row}\n")));
        }
    }
    dump
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

on_both! {
    async fn no_secret_is_found_in_the_database_or_in_the_log(database: Kind) {
        // S16, S32, S57, S58
        let log = Log::start();
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        let repeated = server.refresh(&first.refresh_token).await.unwrap();
        assert_eq!(repeated.refresh_token, second.refresh_token);
        let third = server.login(EMAIL, PASSWORD).await.unwrap();
        let key = server.create_key(&third.access_token, &[]).await;
        let request = pb::RotateKeyRequest { key_id: key.key.unwrap().id, grace_period: None };
        let rotated = server.keys().rotate_key(bearer(&third.access_token, request)).await.unwrap();
        let rotated = rotated.into_inner().secret;
        let new_password = "canary in the new password";
        server.change_password(&third.access_token, PASSWORD, new_password).await.unwrap();

        // And in everything that is refused.
        let canary = "canary-in-a-field";
        server.login(EMAIL, canary).await.unwrap_err();
        server.login(canary, canary).await.unwrap_err();
        server.refresh(canary).await.unwrap_err();
        server.validate(canary).await;
        server.get_me(canary).await.unwrap_err();
        server.logout(canary).await.unwrap_err();
        server.change_password(&third.access_token, canary, new_password).await.unwrap_err();
        let broken = format!("{}x", &rotated[..51]);
        server.validate(&broken).await;
        server.refresh(&first.refresh_token).await.unwrap_err();

        let dump = dump(&server.database).await;
        // What is kept of a refresh token and of a key's secret is their digest.
        for secret in [&third.refresh_token, &key.secret, &rotated] {
            assert!(dump.contains(&hex(Sha256::digest(secret))), "{dump}");
        }
        server.stop().await;
        let log = log.text();
        assert!(log.contains("signed in"), "the log is read");
        for secret in [
            PASSWORD,
            new_password,
            canary,
            &first.access_token,
            &second.access_token,
            &third.access_token,
            &first.refresh_token,
            &second.refresh_token,
            &third.refresh_token,
            &key.secret,
            &rotated,
            &broken,
            MASTER_KEY,
        ] {
            assert!(!dump.contains(secret) && !dump.contains(&hex(secret)), "{secret} in {dump}");
            for line in log.lines() {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
        }
        assert!(!dump.contains(&hex(STANDARD.decode(MASTER_KEY).unwrap())));
        // Nor does the log name people otherwise than by id.
        assert!(!log.contains(EMAIL));
    }
}
