//! Signing out: by access token or refresh token, at once and for good.

use countersign::api::pb::{self, CredentialStatus as S};
use futures_util::future::join_all;
use tonic::{Code, Response, Status};

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, bearer, expect_status},
};

async fn by_refresh_token(server: &Server, token: &str) -> Result<Response<pb::LogoutResponse>, Status> {
    server.auth().logout(pb::LogoutRequest { refresh_token: Some(token.to_owned()) }).await
}

on_both! {
    async fn by_access_token_all_of_the_session_ends(database: Kind) {
        // S28
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        let other = server.login(EMAIL, PASSWORD).await.unwrap();
        server.logout(&second.access_token).await.unwrap();
        // Both tokens of the session, not only the one that was shown.
        assert_eq!(server.status_of(&first.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&second.access_token).await, S::Revoked);
        let answer = server.refresh(&second.refresh_token).await;
        expect_status(answer, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        expect_status(server.get_me(&first.access_token).await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
        // Another session lives on.
        assert_eq!(server.status_of(&other.access_token).await, S::Valid);
        server.refresh(&other.refresh_token).await.unwrap();
        assert_eq!(server.changes().await, ["session_ended"]);
    }
}

on_both! {
    async fn by_access_token_a_second_time_is_told_that_it_has_ended(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        server.logout(&tokens.access_token).await.unwrap();
        expect_status(server.logout(&tokens.access_token).await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
        let nobody = server.auth().logout(pb::LogoutRequest::default()).await;
        expect_status(nobody, Code::Unauthenticated, "MISSING_CREDENTIAL");
    }
}

on_both! {
    async fn by_refresh_token_all_of_the_session_ends(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        by_refresh_token(&server, &tokens.refresh_token).await.unwrap();
        assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked);
        let answer = server.refresh(&tokens.refresh_token).await;
        expect_status(answer, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(server.changes().await, ["session_ended"]);
    }
}

on_both! {
    async fn by_a_refresh_token_that_was_exchanged_its_session_ends(database: Kind) {
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        by_refresh_token(&server, &first.refresh_token).await.unwrap();
        assert_eq!(server.status_of(&second.access_token).await, S::Revoked);
    }
}

on_both! {
    async fn any_refresh_token_is_answered_alike(database: Kind) {
        // S23
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let unknown = "A".repeat(tokens.refresh_token.len());
        let mut answers = Vec::new();
        for token in [
            tokens.refresh_token.as_str(),
            tokens.refresh_token.as_str(),
            &unknown,
            "",
            "\u{1f980}",
            &tokens.access_token,
            &"x".repeat(10_000),
        ] {
            let (metadata, message, _) = by_refresh_token(&server, token).await.unwrap().into_parts();
            let mut headers = metadata.into_headers();
            headers.remove("date");
            headers.remove("x-request-id");
            answers.push((headers, message));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
}

on_both! {
    async fn it_survives_a_restart_and_reaches_every_replica(database: Kind) {
        // S19
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let kept = server.login(EMAIL, PASSWORD).await.unwrap();
        server.logout(&tokens.access_token).await.unwrap();
        let server = server.restart().await;
        assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&kept.access_token).await, S::Valid);
        let answer = server.refresh(&tokens.refresh_token).await;
        expect_status(answer, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        server.refresh(&kept.refresh_token).await.unwrap();
        // SQLite serves one process.
        if database == Kind::Postgres {
            let other = server.replica().start().await;
            assert_eq!(other.status_of(&kept.access_token).await, S::Valid);
            server.logout(&kept.access_token).await.unwrap();
            // What changes an account is refused at once, the rest within a second.
            let request = bearer(&kept.access_token, pb::ListSessionsRequest::default());
            let answer = other.auth().list_sessions(request).await;
            expect_status(answer, Code::Unauthenticated, "CREDENTIAL_REVOKED");
            other.wait_for_status(&kept.access_token, S::Revoked).await;
        }
    }
}

on_both! {
    async fn of_many_at_once_each_is_done_or_told_that_it_was(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let answers = join_all((0..16).map(|_| server.logout(&tokens.access_token))).await;
        assert!(answers.iter().any(Result::is_ok));
        for answer in answers.into_iter().filter(Result::is_err) {
            expect_status(answer, Code::Unauthenticated, "CREDENTIAL_REVOKED");
        }
        assert_eq!(server.changes().await, ["session_ended"]);
    }
}

on_both! {
    async fn by_both_both_sessions_end(database: Kind) {
        let server = Server::start(database).await;
        let presented = server.register().await;
        let given = server.login(EMAIL, PASSWORD).await.unwrap();
        let by_both = async |access: &str, refresh: &str| {
            let request = pb::LogoutRequest { refresh_token: Some(refresh.to_owned()) };
            server.auth().logout(bearer(access, request)).await
        };
        by_both(&presented.access_token, &given.refresh_token).await.unwrap();
        assert_eq!(server.status_of(&presented.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&given.access_token).await, S::Revoked);

        // A refresh token that is none does not hide the access token's session.
        for refresh_token in ["", "rt_nonsense", &given.refresh_token] {
            let tokens = server.login(EMAIL, PASSWORD).await.unwrap();
            by_both(&tokens.access_token, refresh_token).await.unwrap();
            assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked, "{refresh_token}");
        }
        // Nor does a dead access token keep the refresh token's session alive.
        let tokens = server.login(EMAIL, PASSWORD).await.unwrap();
        by_both(&presented.access_token, &tokens.refresh_token).await.unwrap();
        assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked);
    }
}
