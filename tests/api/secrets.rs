//! What is kept, and what is logged, holds no secret.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign::api::pb;
use sha2::{Digest, Sha256};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    common::{Database, Kind},
    on_both,
    support::{EMAIL, MASTER_KEY, PASSWORD, Server, bearer, hex},
};

/// Everything that this process logs, at the lowest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(log.clone())
                .with_ansi(false)
                .init();
            log
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

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
        ("one_time_tokens", &["#digest", "purpose", "email"]),
        ("mails", &["kind", "payload_sealed"]),
        ("password_failures", &["#account"]),
        ("rate_windows", &["#key", "times"]),
        ("events", &["action", "outcome", "ip_address", "user_agent"]),
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
        let token = || canary.to_owned();
        let mut auth = server.auth();
        auth.verify_email(pb::VerifyEmailRequest { token: token() }).await.unwrap_err();
        let reset = pb::ResetPasswordRequest { token: token(), new_password: token() };
        auth.reset_password(reset).await.unwrap_err();
        auth.confirm_email_change(pb::ConfirmEmailChangeRequest { token: token() }).await.unwrap_err();
        auth.forgot_password(pb::ForgotPasswordRequest { email: token() }).await.unwrap_err();
        auth.resend_verification(pb::ResendVerificationRequest { email: token() }).await.unwrap_err();
        for new_email in [canary, "else@example.com"] {
            let request = pb::RequestEmailChangeRequest { new_email: new_email.to_owned(), password: Some(token()) };
            auth.request_email_change(bearer(&third.access_token, request)).await.unwrap_err();
        }
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
        assert!(log.contains("sign_in succeeded"), "the log is read");
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
