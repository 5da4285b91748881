//! Setting a new password by a mailed link.

use countersign::api::pb::CredentialStatus as S;
use tonic::Code;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, expect_invalid, expect_status},
};

const NEW: &str = "staple the battery";

#[track_caller]
fn expect_refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) {
    expect_status(answer, Code::InvalidArgument, "ONE_TIME_TOKEN_INVALID");
}

/// Registers `EMAIL`, proves the address, and forgets the password.
async fn forgotten(server: &Server) -> (String, String) {
    let access_token = server.register().await.access_token;
    let token = server.mailed_token().await;
    server.verify_email(&token).await.unwrap();
    server.advance(1);
    server.forgot_password(EMAIL).await.unwrap();
    (access_token, server.mailed_token().await)
}

on_both! {
    async fn the_link_of_the_mail_sets_a_new_password_once(database: Kind) {
        // S37, S41
        let server = Server::start(database).await;
        server.register().await;
        server.new_mail().await;
        server.forgot_password(EMAIL).await.unwrap();
        let mail = server.new_mail().await;
        assert!(mail.link().starts_with("https://auth.example.com/reset-password?token=ot_"), "{}", mail.link());
        server.reset_password(&mail.token(), NEW).await.unwrap();
        // It signs nobody in.
        assert!(server.database.query_text("SELECT ip_address FROM sessions").await.is_empty());
        expect_refused(server.reset_password(&mail.token(), NEW).await);
        expect_status(server.login(EMAIL, PASSWORD).await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        assert!(server.login(EMAIL, NEW).await.unwrap().user.unwrap().email_verified);
    }
}

on_both! {
    async fn of_many_who_reset_at_once_one_succeeds(database: Kind) {
        // S37
        let server = Server::start(database).await;
        let (_, token) = forgotten(&server).await;
        let new: Vec<_> = (0..8).map(|n| format!("brand new number {n}")).collect();
        let answers = futures_util::future::join_all(new.iter().map(|new| server.reset_password(&token, new))).await;
        let won: Vec<_> = answers.iter().zip(&new).filter(|(answer, _)| answer.is_ok()).collect();
        let [(_, winner)] = won[..] else { panic!("{answers:?}") };
        server.login(EMAIL, winner).await.unwrap();
    }
}

on_both! {
    async fn a_link_lives_for_thirty_minutes(database: Kind) {
        // S38
        let server = Server::start(database).await;
        let (_, token) = forgotten(&server).await;
        server.advance(30 * 60);
        expect_refused(server.reset_password(&token, NEW).await);
        server.forgot_password(EMAIL).await.unwrap();
        let token = server.mailed_token().await;
        server.advance(30 * 60 - 1);
        server.reset_password(&token, NEW).await.unwrap();
    }
}

on_both! {
    async fn a_newer_request_or_a_change_of_the_password_voids_the_older(database: Kind) {
        // S39
        let server = Server::start(database).await;
        let (access_token, older) = forgotten(&server).await;
        server.forgot_password(EMAIL).await.unwrap();
        let newer = server.mailed_token().await;
        expect_refused(server.reset_password(&older, NEW).await);
        server.change_password(&access_token, PASSWORD, "changed by its owner").await.unwrap();
        expect_refused(server.reset_password(&newer, NEW).await);
        server.login(EMAIL, "changed by its owner").await.unwrap();
    }
}

on_both! {
    async fn a_refused_password_does_not_use_the_link_up(database: Kind) {
        // S1, S2, S4
        let server = Server::start(database).await;
        let (_, token) = forgotten(&server).await;
        for new in [String::new(), "short".to_owned(), "x".repeat(129)] {
            expect_invalid(server.reset_password(&token, &new).await, "new_password");
        }
        for new in ["password1", "my example word"] {
            let answer = server.reset_password(&token, new).await;
            expect_status(answer, Code::InvalidArgument, "PASSWORD_TOO_COMMON");
        }
        server.reset_password(&token, NEW).await.unwrap();
    }
}

on_both! {
    async fn the_owner_is_told(database: Kind) {
        // S42
        let server = Server::start(database).await;
        let (_, token) = forgotten(&server).await;
        server.advance(1);
        server.reset_password(&token, NEW).await.unwrap();
        let mail = server.new_mail().await;
        assert!(mail.to == EMAIL && mail.subject.to_lowercase().contains("password"), "{mail:?}");
        assert!(!mail.text.contains("token="), "{mail:?}");
        server.advance(1);
        let tokens = server.login(EMAIL, NEW).await.unwrap();
        let events = server.events(&tokens.access_token).await;
        assert_eq!(events[..3], ["SIGN_IN SUCCEEDED", "RESET_PASSWORD SUCCEEDED", "REQUEST_PASSWORD_RESET SUCCEEDED"]);
    }
}

on_both! {
    async fn an_account_without_a_password_gets_one(database: Kind) {
        let server = Server::start(database).await;
        let (_, token) = forgotten(&server).await;
        server.database.execute("UPDATE users SET password_hash = NULL").await;
        server.reset_password(&token, NEW).await.unwrap();
        assert!(server.new_mail().await.text.contains("A password was added."));
        server.login(EMAIL, NEW).await.unwrap();
    }
}

on_both! {
    async fn as_first_proof_of_the_address_it_clears_what_was_made_before(database: Kind) {
        // S21
        let server = Server::start(database).await;
        let squatter = server.register().await;
        let key = server.create_key(&squatter.access_token, &[]).await.secret;
        let verify = server.mailed_token().await;
        server.forgot_password(EMAIL).await.unwrap();
        let token = server.mailed_token().await;
        server.reset_password(&token, NEW).await.unwrap();
        assert_eq!(server.status_of(&squatter.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&key).await, S::Revoked);
        expect_status(server.refresh(&squatter.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        expect_refused(server.verify_email(&verify).await);
        assert!(server.login(EMAIL, NEW).await.unwrap().user.unwrap().email_verified);

        // Once it is proven, keys stay.
        let owner = server.login(EMAIL, NEW).await.unwrap();
        let key = server.create_key(&owner.access_token, &[]).await.secret;
        server.new_mails().await;
        server.forgot_password(EMAIL).await.unwrap();
        let token = server.mailed_token().await;
        server.reset_password(&token, "another new one").await.unwrap();
        assert_eq!(server.status_of(&owner.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&key).await, S::Valid);
    }
}

on_both! {
    async fn links_lead_where_configuration_says_not_where_a_request_says_supabase_ghsa_3529_5m8x_rpv3(database: Kind) {
        // S40
        let server = Server::start(database).await;
        server.register().await;
        server.new_mail().await;
        let headers = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
            ("x-forwarded-proto", "http"),
            ("origin", "https://evil.example"),
        ];
        let body = serde_json::json!({ "email": EMAIL });
        server.rest(http::Method::POST, "/api/v1/auth/forgot-password", &headers, Some(body)).await;
        let mail = server.new_mail().await;
        assert!(mail.link().starts_with("https://auth.example.com/reset-password?token="));
        assert!(!format!("{mail:?}").contains("evil"), "{mail:?}");
    }
}

on_both! {
    async fn whoever_has_no_account_gets_no_mail_and_the_same_answer(database: Kind) {
        // S14
        let server = Server::start(database).await;
        server.register_as("disabled@example.com").await;
        server.database.execute("UPDATE users SET disabled_time = create_time").await;
        server.new_mails().await;
        for email in ["nobody@example.com", "disabled@example.com"] {
            server.forgot_password(email).await.unwrap();
        }
        assert!(server.new_mails().await.is_empty());
        expect_invalid(server.forgot_password("no address").await, "email");
    }
}
