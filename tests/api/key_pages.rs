//! API keys, listed: newest first, in pages, revoked ones for 30 days.

use countersign::api::pb;
use tonic::Status;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, after_start, bearer, expect_invalid},
};

async fn list(
    server: &Server,
    token: &str,
    page_size: i32,
    page_token: &str,
) -> Result<pb::ListKeysResponse, Status> {
    let request = pb::ListKeysRequest { page_size, page_token: page_token.to_owned() };
    server.keys().list_keys(bearer(token, request)).await.map(tonic::Response::into_inner)
}

fn ids(keys: &[pb::ApiKey]) -> Vec<&str> {
    keys.iter().map(|key| key.id.as_str()).collect()
}

on_both! {
    async fn a_page_has_at_most_as_many_as_were_asked_for_and_two_hundred(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        assert_eq!(list(&server, &token, 0, "").await.unwrap(), pb::ListKeysResponse::default());
        for _ in 0..205 {
            let key = server.create_key(&token, &[]).await.key.unwrap();
            server.revoke_key(&token, &key.id).await.unwrap();
        }
        for (page_size, expected) in [(0, 50), (1, 1), (199, 199), (200, 200), (500, 200), (i32::MAX, 200)] {
            let page = list(&server, &token, page_size, "").await.unwrap();
            assert_eq!(page.keys.len(), expected);
            let rest = list(&server, &token, 500, &page.next_page_token).await.unwrap();
            assert_eq!(rest.keys.len(), 200.min(205 - expected));
            assert_eq!(rest.next_page_token.is_empty(), 205 - expected <= 200);
        }
        for negative in [-1, i32::MIN] {
            expect_invalid(list(&server, &token, negative, "").await, "page_size");
        }
        for garbage in ["x", "1", "AAAA", "\u{1f980}", &"A".repeat(5000)] {
            expect_invalid(list(&server, &token, 0, garbage).await, "page_token");
        }
    }
}

on_both! {
    async fn pages_show_each_once_while_others_are_added_and_revoked(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let mut made = Vec::new();
        for n in 0..7 {
            server.advance(1);
            made.insert(0, server.create_key(&token, &[]).await.key.unwrap().id);
            let newest = list(&server, &token, 1, "").await.unwrap().keys.remove(0);
            assert_eq!(newest.create_time, Some(after_start(n + 1)));
        }
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = list(&server, &token, 2, &page_token).await.unwrap();
            // Also the one that the page token stands for.
            server.revoke_key(&token, &page.keys.last().unwrap().id).await.unwrap();
            seen.extend(page.keys);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
            server.advance(1);
            server.create_key(&token, &[]).await;
        }
        assert_eq!(ids(&seen), made);
    }
}

on_both! {
    async fn a_page_token_shows_nobody_elses(database: Kind) {
        // S33
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let stranger = server.register_as("stranger@example.com").await.access_token;
        for _ in 0..2 {
            server.create_key(&token, &[]).await;
        }
        server.advance(1);
        server.create_key(&stranger, &[]).await;
        server.create_key(&stranger, &[]).await;
        let theirs = list(&server, &stranger, 1, "").await.unwrap().next_page_token;
        let page = list(&server, &token, 0, &theirs).await.unwrap();
        let own = list(&server, &token, 0, "").await.unwrap();
        assert_eq!(page, own);
    }
}

on_both! {
    async fn revoked_ones_are_listed_for_thirty_days(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let expiring = pb::CreateKeyRequest {
            name: "expiring".to_owned(),
            expire_time: Some(after_start(1)),
            ..Default::default()
        };
        server.keys().create_key(bearer(&token, expiring)).await.unwrap();
        let revoked = server.create_key(&token, &[]).await.key.unwrap();
        server.revoke_key(&token, &revoked.id).await.unwrap();
        let keys = list(&server, &token, 0, "").await.unwrap().keys;
        assert_eq!(keys.iter().filter(|key| key.revoke_time == Some(after_start(0))).count(), 1);

        for (seconds, expected) in [(30 * 24 * 60 * 60 - 1, 2), (1, 1)] {
            server.advance(seconds);
            let token = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
            let keys = list(&server, &token, 0, "").await.unwrap().keys;
            assert_eq!(keys.len(), expected, "{keys:?}");
            // An expired one may be prolonged, so it stays.
            assert!(keys.iter().any(|key| key.name == "expiring"));
        }
    }
}
