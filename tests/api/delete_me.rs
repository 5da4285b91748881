//! Deleting one's own account: all of it goes.

use countersign::api::pb::{self, CredentialStatus as S};
use tonic::{Code, Status};

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, bearer, expect_invalid, expect_status},
};

async fn delete_me(server: &Server, access_token: &str, password: Option<&str>) -> Result<(), Status> {
    let request = pb::DeleteMeRequest { password: password.map(str::to_owned) };
    server.auth().delete_me(bearer(access_token, request)).await.map(|_| ())
}

on_both! {
    async fn it_takes_the_password_where_there_is_one(database: Kind) {
        // S7
        let server = Server::start(database).await;
        let tokens = server.register().await;
        expect_invalid(delete_me(&server, &tokens.access_token, None).await, "password");
        for wrong in ["", "not it at all"] {
            let answer = delete_me(&server, &tokens.access_token, Some(wrong)).await;
            expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        }
        assert_eq!(server.status_of(&tokens.access_token).await, S::Valid);

        server.database.execute("UPDATE users SET password_hash = NULL").await;
        delete_me(&server, &tokens.access_token, None).await.unwrap();
        assert!(server.database.query_text("SELECT email FROM users").await.is_empty());
    }
}

on_both! {
    async fn every_credential_ends_with_the_account(database: Kind) {
        // S21
        let server = Server::start(database).await;
        let (first, second) = (server.register().await, server.login(EMAIL, PASSWORD).await.unwrap());
        let bystander = server.register_as("bystander@example.com").await;
        let key = server.create_key(&first.access_token, &[]).await.secret;
        let rotated = server.create_key(&first.access_token, &[]).await;
        let request = pb::RotateKeyRequest {
            key_id: rotated.key.unwrap().id,
            grace_period: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        };
        server.keys().rotate_key(bearer(&first.access_token, request)).await.unwrap();
        let before = server.changes().await.len();
        delete_me(&server, &first.access_token, Some(PASSWORD)).await.unwrap();

        for token in [&first.access_token, &second.access_token] {
            assert_eq!(server.status_of(token).await, S::Revoked);
            expect_status(server.get_me(token).await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
        }
        for token in [&first.refresh_token, &second.refresh_token] {
            expect_status(server.refresh(token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        }
        for secret in [&key, &rotated.secret] {
            let status = server.status_of(secret).await;
            assert!(matches!(status, S::Invalid | S::Revoked), "{status:?}");
        }
        expect_status(server.login(EMAIL, PASSWORD).await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        assert_eq!(server.status_of(&bystander.access_token).await, S::Valid);

        // Nothing of it is left but what the other replicas must learn.
        for (table, rows) in [("sessions", 1), ("refresh_tokens", 1), ("api_keys", 0), ("api_key_secrets", 0)] {
            let found = server.database.query_text(&format!("SELECT '' FROM {table}")).await;
            assert_eq!(found.len(), rows, "{table}");
        }
        let mut changes = server.changes().await.split_off(before);
        changes.sort();
        assert_eq!(changes, ["key_ended", "key_ended", "session_ended", "session_ended", "user_changed"]);
    }
}

on_both! {
    async fn the_address_is_free_again_and_gets_nothing_of_the_old_account(database: Kind) {
        let server = Server::start(database).await;
        let old = server.register().await;
        delete_me(&server, &old.access_token, Some(PASSWORD)).await.unwrap();
        let new = server.register().await;
        assert_ne!(old.user.unwrap().id, new.user.unwrap().id);
        assert_eq!(server.status_of(&old.access_token).await, S::Revoked);
        let server = server.restart().await;
        assert_eq!(server.status_of(&old.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&new.access_token).await, S::Valid);
    }
}
