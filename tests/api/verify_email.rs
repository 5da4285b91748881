//! Proving an e-mail address by a mailed link.

use countersign::api::pb;
use http::{Method, StatusCode};
use serde_json::json;
use tonic::Code;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, bearer, expect_invalid, expect_status},
};

const DAY: u64 = 24 * 60 * 60;

#[track_caller]
fn expect_refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) {
    expect_status(answer, Code::InvalidArgument, "ONE_TIME_TOKEN_INVALID");
}

on_both! {
    async fn the_link_of_the_mail_verifies_once(database: Kind) {
        // S37
        let server = Server::start(database).await;
        let registered = server.register().await.user.unwrap();
        assert!(!registered.email_verified);
        let mail = server.new_mail().await;
        assert_eq!((mail.to.as_str(), mail.link().as_str()), (EMAIL, format!("https://auth.example.com/verify-email?token={}", mail.token()).as_str()));
        assert!(mail.html.contains(&mail.token()), "{}", mail.html);

        server.advance(60);
        let user = server.verify_email(&mail.token()).await.unwrap();
        assert!(user.email_verified);
        assert_eq!((user.id, user.update_time.unwrap()), (registered.id, crate::support::after_start(60)));
        expect_refused(server.verify_email(&mail.token()).await);
    }
}

on_both! {
    async fn of_many_who_verify_at_once_one_succeeds(database: Kind) {
        // S37
        let server = Server::start(database).await;
        server.register().await;
        let token = server.mailed_token().await;
        let answers = futures_util::future::join_all((0..20).map(|_| server.verify_email(&token))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    }
}

on_both! {
    async fn expiry_is_checked_at_use_authentik_cve_2025_64708(database: Kind) {
        // S38
        let server = Server::start(database).await;
        server.register().await;
        let token = server.mailed_token().await;
        server.advance(DAY);
        expect_refused(server.verify_email(&token).await);
        // Nobody has swept it: it is there, and good for nothing.
        let rows = server.database.query_text("SELECT purpose FROM one_time_tokens").await;
        assert_eq!(rows, ["verify_email"]);

        server.resend_verification(EMAIL).await.unwrap();
        let token = server.mailed_token().await;
        server.advance(DAY - 1);
        assert!(server.verify_email(&token).await.unwrap().email_verified);
    }
}

on_both! {
    async fn a_newer_link_voids_the_older(database: Kind) {
        // S39
        let server = Server::start(database).await;
        server.register().await;
        let older = server.mailed_token().await;
        server.resend_verification(EMAIL).await.unwrap();
        let newer = server.mailed_token().await;
        expect_refused(server.verify_email(&older).await);
        server.verify_email(&newer).await.unwrap();
    }
}

on_both! {
    async fn a_link_works_for_its_purpose_and_account_only_authentik_cve_2023_26481(database: Kind) {
        // S37
        let server = Server::start(database).await;
        let (tokens, [verify, reset, change]) = server.register_with_tokens().await;

        for other in [&reset, &change, &tokens.refresh_token, &tokens.access_token] {
            expect_refused(server.verify_email(other).await);
        }
        for other in [&verify, &change] {
            expect_refused(server.reset_password(other, "a brand new one").await);
        }
        for other in [&verify, &reset] {
            expect_refused(server.confirm_email_change(other).await);
        }
        // To try them used none of them up.
        server.verify_email(&verify).await.unwrap();
        server.confirm_email_change(&change).await.unwrap();
    }
}

on_both! {
    async fn nonsense_is_refused_without_a_word_of_why(database: Kind) {
        let server = Server::start(database).await;
        let unknown = format!("ot_{}", "A".repeat(43));
        for token in ["", "x", "ot_", &unknown, &"x".repeat(10_000), "ot_\u{0}", "' OR 1=1 --"] {
            expect_refused(server.verify_email(token).await);
        }
    }
}

on_both! {
    async fn the_profile_cannot_set_the_verified_flag_zitadel_cve_2026_27946(database: Kind) {
        // S42
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let mut request = pb::UpdateMeRequest { name: Some("Mallory".to_owned()), ..Default::default() };
        request.update_mask = Some(prost_types::FieldMask { paths: vec!["email_verified".to_owned()] });
        expect_invalid(server.auth().update_me(bearer(&tokens.access_token, request)).await, "update_mask");
        let authorization = format!("Bearer {}", tokens.access_token);
        for body in [json!({"email_verified": true}), json!({"user": {"email_verified": true}}), json!({"email": "x@example.com"})] {
            let headers = [("authorization", authorization.as_str())];
            let (status, _) = server.rest(Method::PATCH, "/api/v1/users/me", &headers, Some(body)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }
        let (status, _) = server
            .rest(Method::POST, "/api/v1/auth/register", &[], Some(json!({
                "email": "mallory@example.com", "password": PASSWORD, "email_verified": true
            })))
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!server.get_me(&tokens.access_token).await.unwrap().email_verified);
    }
}

on_both! {
    async fn another_link_goes_to_who_needs_one(database: Kind) {
        let server = Server::start(database).await;
        server.register().await;
        let token = server.mailed_token().await;
        server.verify_email(&token).await.unwrap();
        server.register_as("disabled@example.com").await;
        server.database.execute("UPDATE users SET disabled_time = create_time WHERE email LIKE 'disabled%'").await;
        assert_eq!(server.new_mails().await.len(), 1);
        for email in [EMAIL, "disabled@example.com", "nobody@example.com"] {
            server.resend_verification(email).await.unwrap();
        }
        assert_eq!(server.new_mails().await.len(), 0);
        expect_invalid(server.resend_verification("no address").await, "email");
    }
}

on_both! {
    async fn signing_in_can_need_a_verified_address(database: Kind) {
        let server = Setup::new(database).await.set("ACCOUNTS__REQUIRE_VERIFIED_EMAIL", "true").start().await;
        let answer = server.register().await;
        // The user alone.
        assert_eq!(answer, pb::TokenResponse { user: answer.user.clone(), ..Default::default() });
        assert!(!answer.user.unwrap().email_verified);
        let (_, body) = server
            .rest(Method::POST, "/api/v1/auth/register", &[], Some(json!({"email": "b@example.com", "password": PASSWORD})))
            .await;
        assert_eq!((body["access_token"].as_str(), body["user"]["email"].as_str()), (Some(""), Some("b@example.com")));

        // Only the right password is told (S14).
        server.advance(1);
        expect_status(server.login(EMAIL, "not it at all").await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        expect_status(server.login(EMAIL, PASSWORD).await, Code::PermissionDenied, "EMAIL_NOT_VERIFIED");
        let mails = server.new_mails().await;
        let mail = mails.iter().find(|mail| mail.to == EMAIL).unwrap();
        server.advance(1);
        server.verify_email(&mail.token()).await.unwrap();
        server.advance(1);
        let tokens = server.login(EMAIL, PASSWORD).await.unwrap();
        let events = server.events(&tokens.access_token).await;
        assert_eq!(
            events,
            ["SIGN_IN SUCCEEDED", "VERIFY_EMAIL SUCCEEDED", "SIGN_IN FAILED", "SIGN_IN FAILED", "REGISTER SUCCEEDED"]
        );
    }
}
