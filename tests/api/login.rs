//! Signing in by password: what matches, and what a stranger learns from an answer.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use countersign::api::pb;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use tonic::{Code, Status};

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, expect_invalid, expect_status},
};

/// A PHC string for `PASSWORD`.
fn phc(algorithm: Algorithm, version: Version, (memory_kib, iterations): (u32, u32)) -> String {
    let params = Params::new(memory_kib, iterations, 1, Some(32)).unwrap();
    let (salt, mut output) = (b"0123456789abcdef", [0; 32]);
    Argon2::new(algorithm, version, params)
        .hash_password_into(PASSWORD.as_bytes(), salt, &mut output)
        .unwrap();
    format!(
        "${algorithm}$v={}$m={memory_kib},t={iterations},p=1${}${}",
        u32::from(version),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(output)
    )
}

async fn set_hash(server: &Server, phc: &str) {
    let phc = phc.replace('\'', "''");
    server.database.execute(&format!("UPDATE users SET password_hash = '{phc}'")).await;
}

async fn hash(server: &Server) -> String {
    server.database.query_text("SELECT password_hash FROM users").await.remove(0)
}

/// So many sign-ins at once, by the right password.
async fn sign_in_at_once(server: &Server, count: usize) -> Vec<Result<pb::TokenResponse, Status>> {
    let client = server.auth();
    let calls = (0..count).map(|_| {
        let mut client = client.clone();
        let request = pb::LoginRequest { email: EMAIL.to_owned(), password: PASSWORD.to_owned() };
        async move { client.login(request).await.map(tonic::Response::into_inner) }
    });
    join_all(calls).await
}

/// All that a client sees of a failure, but for the date.
fn visible(status: &Status) -> (Code, String, Vec<u8>, String) {
    let mut headers = status.metadata().clone().into_headers();
    headers.remove("date");
    headers.remove("x-request-id");
    let mut headers: Vec<_> = headers.iter().map(|header| format!("{header:?}")).collect();
    headers.sort();
    (status.code(), status.message().to_owned(), status.details().to_vec(), headers.join("\n"))
}

/// The same over REST.
async fn visible_over_rest(server: &Server, email: &str, password: &str) -> (StatusCode, String, Bytes) {
    let body = serde_json::json!({ "email": email, "password": password }).to_string();
    let request = Request::builder()
        .method(Method::POST)
        .uri(server.url("/api/v1/auth/login"))
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap();
    let (mut parts, body) = server.send(request).await.into_parts();
    parts.headers.remove("date");
    parts.headers.remove("x-request-id");
    let mut headers: Vec<_> = parts.headers.iter().map(|header| format!("{header:?}")).collect();
    headers.sort();
    (parts.status, headers.join("\n"), body)
}

on_both! {
    async fn each_sign_in_is_a_session_of_its_own(database: Kind) {
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(second.user, first.user);
        assert_eq!((second.token_type.as_str(), second.expires_in), ("Bearer", 900));
        let session = |answer: pb::ValidateCredentialResponse| answer.principal.unwrap().session_id;
        let first = session(server.validate(&first.access_token).await);
        let second = session(server.validate(&second.access_token).await);
        assert!(first.starts_with("ses_") && second.starts_with("ses_"));
        assert_ne!(first, second);
    }
}

on_both! {
    async fn a_password_is_compared_in_nfc_and_otherwise_as_received(database: Kind) {
        // S3
        let server = Server::start(database).await;
        let composed = "na\u{ef}ve caf\u{e9} 42";
        let request = pb::RegisterRequest {
            email: EMAIL.to_owned(),
            password: composed.to_owned(),
            name: String::new(),
        };
        server.auth().register(request).await.unwrap();
        server.login(EMAIL, composed).await.unwrap();
        server.login(EMAIL, "nai\u{308}ve cafe\u{301} 42").await.unwrap();
        for other in [
            "naive cafe 42",
            "na\u{ef}ve caf\u{e9} 42 ",
            " na\u{ef}ve caf\u{e9} 42",
            "NA\u{cf}VE CAF\u{c9} 42",
            "na\u{ef}ve caf\u{e9} \u{ff14}\u{ff12}",
        ] {
            let answer = server.login(EMAIL, other).await;
            expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        }
    }
}

on_both! {
    async fn accounts_that_cannot_sign_in_all_answer_alike(database: Kind) {
        // S7, S14
        let server = Server::start(database).await;
        for email in ["without@example.com", "disabled@example.com", "odd@example.com"] {
            server.register_as(email).await;
        }
        server.register().await;
        let change =
            |set: &str, name: &str| format!("UPDATE users SET {set} WHERE email = '{name}@example.com'");
        server.database.execute(&change("password_hash = NULL", "without")).await;
        server.database.execute(&change("disabled_time = create_time", "disabled")).await;
        server.database.execute(&change("password_hash = '$argon2id$'", "odd")).await;

        let wrong = "a wrong password";
        let expected = visible(&server.login(EMAIL, wrong).await.unwrap_err());
        let expected_over_rest = visible_over_rest(&server, EMAIL, wrong).await;
        assert_eq!((expected.0, expected_over_rest.0), (Code::Unauthenticated, StatusCode::UNAUTHORIZED));
        for (email, password) in [
            ("nobody@example.com", wrong),
            ("nobody@example.com", PASSWORD),
            ("nobody@example.com", ""),
            ("without@example.com", wrong),
            ("without@example.com", PASSWORD),
            ("without@example.com", ""),
            ("disabled@example.com", wrong),
            ("disabled@example.com", ""),
            ("odd@example.com", PASSWORD),
            (EMAIL, ""),
        ] {
            // So much later that nobody has to wait, however many tries there were before (S8).
            server.advance(60);
            let status = server.login(email, password).await.unwrap_err();
            assert_eq!(visible(&status), expected, "{email} {password}");
            server.advance(60);
            let over_rest = visible_over_rest(&server, email, password).await;
            assert_eq!(over_rest, expected_over_rest, "{email} {password}");
        }
    }
}

on_both! {
    async fn only_the_right_password_is_told_that_the_account_is_disabled(database: Kind) {
        // S14
        let server = Server::start(database).await;
        server.register().await;
        server.database.execute("UPDATE users SET disabled_time = create_time").await;
        expect_status(server.login(EMAIL, PASSWORD).await, Code::PermissionDenied, "ACCOUNT_DISABLED");
        let answer = server.login(EMAIL, "not it at all").await;
        expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        server.database.execute("UPDATE users SET disabled_time = NULL").await;
        server.login(EMAIL, PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn a_weaker_hash_is_replaced_at_the_next_sign_in(database: Kind) {
        // S6
        let server = Server::start(database).await;
        server.register().await;
        let weaker = phc(Algorithm::Argon2id, Version::V0x13, (8192, 2));
        set_hash(&server, &weaker).await;

        server.login(EMAIL, "not it at all").await.unwrap_err();
        assert_eq!(hash(&server).await, weaker);
        server.login(EMAIL, PASSWORD).await.unwrap();
        let stronger = hash(&server).await;
        assert!(stronger.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stronger}");
        // And is then left alone.
        server.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(hash(&server).await, stronger);
    }
}

on_both! {
    async fn a_stronger_hash_is_left_alone(database: Kind) {
        // S6
        let server = Server::start(database).await;
        server.register().await;
        let stronger = phc(Algorithm::Argon2id, Version::V0x13, (32_768, 2));
        set_hash(&server, &stronger).await;
        server.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(hash(&server).await, stronger);
    }
}

on_both! {
    async fn a_hash_that_is_not_on_the_allow_list_never_matches(database: Kind) {
        // S6
        let server = Server::start(database).await;
        server.register().await;
        for phc in [
            phc(Algorithm::Argon2d, Version::V0x13, (19_456, 2)),
            phc(Algorithm::Argon2id, Version::V0x10, (19_456, 2)),
            phc(Algorithm::Argon2id, Version::V0x13, (1024, 2)),
            phc(Algorithm::Argon2id, Version::V0x13, (8192, 11)),
            // A row does not decide how much memory the service takes.
            "$argon2id$v=19$m=4194304,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg".to_owned(),
            // Nor how long: 2 to the 15th rounds.
            "$2b$15$abcdefghijklmnopqrstuuZ8X3GfbYivifLbmoPOom9wqCo.jSzVy".to_owned(),
            "$pbkdf2-sha256$i=600000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg".to_owned(),
            PASSWORD.to_owned(),
            String::new(),
        ] {
            set_hash(&server, &phc).await;
            for password in [PASSWORD, ""] {
                // However many failures there have been, nobody waits for longer (S8).
                server.advance(15 * 60);
                let answer = server.login(EMAIL, password).await;
                expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
            }
            assert_eq!(hash(&server).await, phc);
        }
    }
}

on_both! {
    async fn a_password_that_is_too_long_is_refused_before_it_is_hashed(database: Kind) {
        // S2
        let server = Server::start(database).await;
        server.register().await;
        for password in ["x".repeat(129), "x".repeat(32 * 1024)] {
            expect_invalid(server.login(EMAIL, &password).await, "password");
            expect_invalid(server.login("nobody@example.com", &password).await, "password");
        }
        expect_invalid(server.login("no address", PASSWORD).await, "email");
    }
}

on_both! {
    async fn right_sign_ins_at_once_all_succeed(database: Kind) {
        // S10
        let server = Server::start(database).await;
        server.register().await;
        for answer in sign_in_at_once(&server, 32).await {
            let token = answer.unwrap().access_token;
            assert_eq!(server.status_of(&token).await, pb::CredentialStatus::Valid);
        }
    }
}

on_both! {
    async fn right_sign_ins_at_once_all_succeed_while_a_weaker_hash_is_replaced(database: Kind) {
        // S6, S10
        let server = Server::start(database).await;
        server.register().await;
        set_hash(&server, &phc(Algorithm::Argon2id, Version::V0x13, (8192, 2))).await;
        for answer in sign_in_at_once(&server, 8).await {
            answer.unwrap();
        }
        assert!(hash(&server).await.contains("$m=19456,"));
    }
}

on_both! {
    async fn sign_ins_and_a_change_of_password_beside_a_rehash_do_not_fail_each_other(database: Kind) {
        // S6, S7, S21
        const NEW: &str = "staple the battery";
        // More than can be late here, so that nobody has to wait (S8).
        let setup = Setup::new(database).await.set("THROTTLE__ACCOUNT_FREE_FAILURES", "20");
        let server = setup.start().await;
        let own = server.register().await.access_token;
        let weaker = phc(Algorithm::Argon2id, Version::V0x13, (8192, 2));
        for sign_ins in [1, 2, 4, 8] {
            set_hash(&server, &weaker).await;
            let (answers, changed) =
                tokio::join!(sign_in_at_once(&server, sign_ins), server.change_password(&own, PASSWORD, NEW));
            // That the hash was replaced meanwhile is no change of the password.
            changed.unwrap();
            for answer in answers {
                match answer {
                    Ok(tokens) => {
                        let status = server.status_of(&tokens.access_token).await;
                        assert_eq!(status, pb::CredentialStatus::Revoked);
                    }
                    // After the change it was the wrong one.
                    wrong => expect_status(wrong, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD"),
                }
            }
            // Nor was the new password's hash replaced by one of the old.
            expect_status(server.login(EMAIL, PASSWORD).await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
            server.login(EMAIL, NEW).await.unwrap();
            assert!(hash(&server).await.contains("$m=19456,"));
        }
    }
}
