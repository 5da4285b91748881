//! Accounts that somebody else made before their owner came: the five attacks of "Pre-hijacked accounts" (Sudhodanan and
//! Paverd, USENIX Security 2022), each by its name. Whoever waits in the account is out once its owner is in (S21, S46).

use countersign::api::pb::{self, CredentialStatus as S};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    common::Kind,
    idp::Idp,
    on_both,
    provider::{link, sign_in, started},
    support::{EMAIL, PASSWORD, Server, expect_status},
};

/// What an attacker has who registered somebody's address.
struct Attacker {
    tokens: pb::TokenResponse,
    key: String,
}

impl Attacker {
    async fn register(server: &Server) -> Self {
        let tokens = server.register().await;
        let key = server.create_key(&tokens.access_token, &[]).await.secret;
        Self { tokens, key }
    }

    async fn is_out(&self, server: &Server) {
        assert_eq!(server.status_of(&self.tokens.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&self.key).await, S::Revoked);
        let refreshed = server.refresh(&self.tokens.refresh_token).await;
        expect_status(refreshed, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        let login = server.login(EMAIL, PASSWORD).await;
        expect_status(login, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
    }
}

/// The owner of the address comes by their provider.
async fn owner_signs_in(server: &Server, idp: &Idp) -> pb::TokenResponse {
    let owner = sign_in(server, idp, |claims| {
        claims["sub"] = json!("owner");
        claims["email"] = json!(EMAIL);
    });
    owner.await.unwrap()
}

/// The owner of the address resets the password that they do not know.
async fn owner_resets(server: &Server) {
    server.forgot_password(EMAIL).await.unwrap();
    let token = server.mailed_token().await;
    server.reset_password(&token, "the owner's own").await.unwrap();
    server.login(EMAIL, "the owner's own").await.unwrap();
}

on_both! {
    async fn classic_federated_merge(database: Kind) {
        // S46
        let (server, idp) = started(database).await;
        let attacker = Attacker::register(&server).await;
        let owner = owner_signs_in(&server, &idp).await;
        assert_eq!(owner.user.unwrap().id, attacker.tokens.user.as_ref().unwrap().id);
        attacker.is_out(&server).await;
        assert_eq!(server.status_of(&owner.access_token).await, S::Valid);
    }
}

on_both! {
    async fn unexpired_session_identifier(database: Kind) {
        // S21
        for by_reset in [true, false] {
            let (server, idp) = started(database).await;
            let mut attacker = Attacker::register(&server).await;
            server.new_mail().await;
            // Kept alive until the owner comes.
            for _ in 0..3 {
                server.advance(600);
                attacker.tokens = server.refresh(&attacker.tokens.refresh_token).await.unwrap();
            }
            if by_reset {
                owner_resets(&server).await;
            } else {
                owner_signs_in(&server, &idp).await;
            }
            attacker.is_out(&server).await;
        }
    }
}

on_both! {
    async fn trojan_identifier(database: Kind) {
        // S21, S46
        for by_reset in [true, false] {
            let (server, idp) = started(database).await;
            let attacker = Attacker::register(&server).await;
            server.new_mail().await;
            let linked = link(&server, &idp, &attacker.tokens.access_token, "attacker").await;
            expect_status(linked, Code::PermissionDenied, "EMAIL_NOT_VERIFIED");
            // Also one that got there by other ways does not outlive the proof.
            let id = match database {
                Kind::Sqlite => "x'01900000000070008000000000000000'",
                Kind::Postgres => "'01900000000070008000000000000000'::uuid",
            };
            let insert = format!(
                "INSERT INTO identities (id, user_id, provider, issuer, subject, create_time, last_used_time) \
                 SELECT {id}, id, 'idp', '{}', 'attacker', create_time, create_time FROM users",
                idp.issuer
            );
            server.database.execute(&insert).await;
            if by_reset {
                owner_resets(&server).await;
            } else {
                owner_signs_in(&server, &idp).await;
            }
            attacker.is_out(&server).await;
            let subjects = server.database.query_text("SELECT subject FROM identities").await;
            assert!(!subjects.contains(&"attacker".to_owned()), "{subjects:?}");
        }
    }
}

on_both! {
    async fn unexpired_email_change(database: Kind) {
        // S39, S46
        for by_reset in [true, false] {
            let (server, idp) = started(database).await;
            let attacker = Attacker::register(&server).await;
            server.new_mail().await;
            let theirs = "attacker@example.com";
            let token = &attacker.tokens.access_token;
            server.request_email_change(token, theirs, Some(PASSWORD)).await.unwrap();
            let mails = server.new_mails().await;
            let change = mails.iter().find(|mail| mail.to == theirs).unwrap().token();
            if by_reset {
                owner_resets(&server).await;
            } else {
                owner_signs_in(&server, &idp).await;
            }
            let confirmed = server.confirm_email_change(&change).await;
            expect_status(confirmed, Code::InvalidArgument, "ONE_TIME_TOKEN_INVALID");
            attacker.is_out(&server).await;
            assert_eq!(server.database.query_text("SELECT email FROM users").await, [EMAIL]);
        }
    }
}

on_both! {
    async fn non_verifying_idp(database: Kind) {
        // S46, S47
        let (server, idp) = started(database).await;
        let unverified = |verified: Value, email: &'static str| {
            sign_in(&server, &idp, move |claims| {
                claims["sub"] = json!("attacker");
                claims["email"] = json!(email);
                claims["email_verified"] = verified;
            })
        };
        // Neither before the owner has an account nor afterwards.
        let all = || [json!(false), Value::Null, json!("false"), json!(1), json!(["true"])];
        for verified in all() {
            expect_status(unverified(verified, EMAIL).await, Code::InvalidArgument, "OAUTH_CODE_REFUSED");
        }
        assert!(server.database.query_text("SELECT email FROM users").await.is_empty());
        owner_signs_in(&server, &idp).await;
        for verified in all() {
            expect_status(unverified(verified, EMAIL).await, Code::InvalidArgument, "OAUTH_CODE_REFUSED");
        }
        assert_eq!(server.database.query_text("SELECT subject FROM identities").await, ["owner"]);
    }
}
