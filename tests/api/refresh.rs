//! Refresh tokens: rotation, reuse and grace (S16–S20).

use std::collections::HashSet;

use tonic::Code;

use crate::{
    common::Kind,
    on_both,
    support::{Server, expect_status},
};

on_both! {
    async fn each_use_gives_a_new_token(database: Kind) {
        // S17
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        assert_ne!(first.refresh_token, second.refresh_token);
        assert_eq!(server.validate(&second.access_token).await.status().as_str_name(), "CREDENTIAL_STATUS_VALID");
        server.refresh(&second.refresh_token).await.unwrap();
    }
}

on_both! {
    async fn a_hundred_at_once_get_one_successor(database: Kind) {
        // S18
        let server = Server::start(database).await;
        let first = server.register().await;
        let client = server.auth();
        let uses: Vec<_> = (0..100)
            .map(|_| {
                let (mut client, token) = (client.clone(), first.refresh_token.clone());
                tokio::spawn(async move {
                    let request = countersign::api::pb::RefreshRequest { refresh_token: token };
                    client.refresh(request).await.unwrap().into_inner().refresh_token
                })
            })
            .collect();
        let mut successors = HashSet::new();
        for each in uses {
            successors.insert(each.await.unwrap());
        }
        assert_eq!(successors.len(), 1);
        server.refresh(successors.iter().next().unwrap()).await.unwrap();
    }
}

on_both! {
    async fn a_reuse_after_the_grace_ends_the_session(database: Kind) {
        // S17
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        server.advance(11);
        expect_status(server.refresh(&first.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_REUSED");
        expect_status(server.refresh(&second.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(server.validate(&second.access_token).await.status().as_str_name(), "CREDENTIAL_STATUS_REVOKED");
    }
}

on_both! {
    async fn a_reuse_after_the_successor_was_used_ends_the_session(database: Kind) {
        // S17
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        let third = server.refresh(&second.refresh_token).await.unwrap();
        expect_status(server.refresh(&first.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_REUSED");
        expect_status(server.refresh(&third.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    }
}

on_both! {
    async fn a_session_ends_unused_and_at_its_absolute_limit(database: Kind) {
        // S20
        let server = Server::start(database).await;
        let day = 24 * 60 * 60;
        let mut token = server.register().await.refresh_token;
        for _ in 0..4 {
            server.advance(7 * day - 1);
            token = server.refresh(&token).await.unwrap().refresh_token;
        }
        server.advance(2 * day + 4);
        expect_status(server.refresh(&token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");

        let token = server.login(crate::support::EMAIL, crate::support::PASSWORD).await.unwrap().refresh_token;
        server.advance(7 * day);
        expect_status(server.refresh(&token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    }
}
