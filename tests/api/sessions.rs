//! Sessions, listed and ended by their user.

use std::{collections::HashSet, time::Duration};

use countersign::api::pb::{self, CredentialStatus as S};
use tonic::{Code, Status};

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, after_start, bearer, expect_invalid, expect_status},
};

async fn list(
    server: &Server,
    access_token: &str,
    page_size: i32,
    page_token: &str,
) -> Result<pb::ListSessionsResponse, Status> {
    let request = pb::ListSessionsRequest { page_size, page_token: page_token.to_owned() };
    server.auth().list_sessions(bearer(access_token, request)).await.map(tonic::Response::into_inner)
}

async fn revoke(server: &Server, access_token: &str, session_id: &str) -> Result<(), Status> {
    let request = pb::RevokeSessionRequest { session_id: session_id.to_owned() };
    server.auth().revoke_session(bearer(access_token, request)).await.map(|_| ())
}

async fn revoke_all(server: &Server, access_token: &str, keep_current: bool) -> i32 {
    let request = pb::RevokeAllSessionsRequest { keep_current };
    let answer = server.auth().revoke_all_sessions(bearer(access_token, request)).await;
    answer.unwrap().into_inner().revoked_count
}

/// Signs in, a second after whoever was before.
async fn sign_in(server: &Server) -> pb::TokenResponse {
    server.advance(1);
    server.login(EMAIL, PASSWORD).await.unwrap()
}

async fn session_id(server: &Server, access_token: &str) -> String {
    server.validate(access_token).await.principal.unwrap().session_id
}

on_both! {
    async fn they_are_listed_newest_first(database: Kind) {
        // S22
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = sign_in(&server).await;
        server.register_as("bystander@example.com").await;
        server.advance(59);
        server.refresh(&first.refresh_token).await.unwrap();

        let page = list(&server, &first.access_token, 0, "").await.unwrap();
        assert_eq!(page.next_page_token, "");
        let [newer, older] = page.sessions.as_slice() else { panic!("{page:?}") };
        let day = 24 * 60 * 60;
        assert_eq!(newer.id, session_id(&server, &second.access_token).await);
        assert_eq!(older.id, session_id(&server, &first.access_token).await);
        assert_eq!((newer.current, older.current), (false, true));
        assert_eq!((newer.create_time, older.create_time), (Some(after_start(1)), Some(after_start(0))));
        assert_eq!((newer.last_used_time, older.last_used_time), (Some(after_start(1)), Some(after_start(60))));
        // S20: the idle limit is counted from the last use.
        let ends = (Some(after_start(7 * day + 1)), Some(after_start(7 * day + 60)));
        assert_eq!((newer.expire_time, older.expire_time), ends);
        assert_eq!(older.ip_address, "127.0.0.1");
        assert!(older.user_agent.contains("tonic"), "{}", older.user_agent);
    }
}

on_both! {
    async fn one_that_has_run_out_is_neither_listed_nor_found(database: Kind) {
        // S20
        let server = Server::start(database).await;
        let idle = server.register().await;
        let id = session_id(&server, &idle.access_token).await;
        server.advance(7 * 24 * 60 * 60);
        let tokens = sign_in(&server).await;
        assert_eq!(list(&server, &tokens.access_token, 0, "").await.unwrap().sessions.len(), 1);
        expect_status(revoke(&server, &tokens.access_token, &id).await, Code::NotFound, "NOT_FOUND");
        assert_eq!(revoke_all(&server, &tokens.access_token, true).await, 0);
    }
}

on_both! {
    async fn the_users_own_can_be_ended_and_no_others(database: Kind) {
        // S22, S33
        let server = Server::start(database).await;
        let (own, other) = (server.register().await, sign_in(&server).await);
        let stranger = server.register_as("stranger@example.com").await;
        let strangers = session_id(&server, &stranger.access_token).await;
        let other_id = session_id(&server, &other.access_token).await;
        for id in [
            strangers.as_str(),
            "ses_00000000000000000000000000000000",
            &other_id.to_uppercase(),
            &other_id.replace("ses_", "key_"),
            &other_id.replace("ses_", ""),
            &other_id[..35],
            "ses_\u{1f980}",
            "",
        ] {
            expect_status(revoke(&server, &own.access_token, id).await, Code::NotFound, "NOT_FOUND");
        }
        assert_eq!(server.status_of(&stranger.access_token).await, S::Valid);

        revoke(&server, &own.access_token, &other_id).await.unwrap();
        assert_eq!(server.status_of(&other.access_token).await, S::Revoked);
        let answer = server.refresh(&other.refresh_token).await;
        expect_status(answer, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        expect_status(revoke(&server, &own.access_token, &other_id).await, Code::NotFound, "NOT_FOUND");
        assert_eq!(server.status_of(&own.access_token).await, S::Valid);
        // One's own is no exception.
        let own_id = session_id(&server, &own.access_token).await;
        revoke(&server, &own.access_token, &own_id).await.unwrap();
        assert_eq!(server.status_of(&own.access_token).await, S::Revoked);
        assert_eq!(server.changes().await, ["session_ended"; 2]);

        let server = server.restart().await; // S19
        assert_eq!(server.status_of(&other.access_token).await, S::Revoked);
    }
}

on_both! {
    async fn all_can_be_ended_with_or_without_the_current_one(database: Kind) {
        // S22
        let server = Server::start(database).await;
        let stranger = server.register_as("stranger@example.com").await;
        let own = server.register().await;
        let others = [sign_in(&server).await, sign_in(&server).await];
        assert_eq!(revoke_all(&server, &own.access_token, true).await, 2);
        assert_eq!(revoke_all(&server, &own.access_token, true).await, 0);
        for other in others {
            assert_eq!(server.status_of(&other.access_token).await, S::Revoked);
        }
        assert_eq!(server.status_of(&own.access_token).await, S::Valid);
        sign_in(&server).await;
        assert_eq!(revoke_all(&server, &own.access_token, false).await, 2);
        assert_eq!(server.status_of(&own.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&stranger.access_token).await, S::Valid);
        assert_eq!(server.changes().await, ["session_ended"; 4]);
    }
}

on_both! {
    async fn of_more_than_a_hundred_the_oldest_ends(database: Kind) {
        // S62
        let server = Server::start(database).await;
        let oldest = server.register().await;
        let second = sign_in(&server).await;
        for _ in 2..100 {
            sign_in(&server).await;
        }
        assert_eq!(server.status_of(&oldest.access_token).await, S::Valid);
        let newest = sign_in(&server).await;
        assert_eq!(server.status_of(&oldest.access_token).await, S::Revoked);
        let answer = server.refresh(&oldest.refresh_token).await;
        expect_status(answer, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(server.status_of(&second.access_token).await, S::Valid);
        assert_eq!(server.changes().await, ["session_ended"]);

        for (page_size, expected) in [(0, 50), (1, 1), (99, 99), (100, 100), (200, 100), (500, 100)] {
            let page = list(&server, &newest.access_token, page_size, "").await.unwrap();
            assert_eq!(page.sessions.len(), expected);
            assert_eq!(page.next_page_token.is_empty(), expected == 100);
        }
    }
}

on_both! {
    async fn pages_show_each_once_while_others_are_added(database: Kind) {
        let server = Server::start(database).await;
        let own = server.register().await.access_token;
        for _ in 0..6 {
            sign_in(&server).await;
        }
        let all = list(&server, &own, 0, "").await.unwrap().sessions;
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&server, &own, 2, &token).await.unwrap();
            seen.extend(page.sessions);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
            sign_in(&server).await;
        }
        let ids = |sessions: &[pb::Session]| sessions.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&seen), ids(&all));
        assert_eq!(ids(&seen).into_iter().collect::<HashSet<_>>().len(), 7);

        expect_invalid(list(&server, &own, -1, "").await, "page_size");
        expect_invalid(list(&server, &own, i32::MIN, "").await, "page_size");
        for garbage in ["x", "1", "AAAA", "\u{1f980}", &"A".repeat(5000)] {
            expect_invalid(list(&server, &own, 0, garbage).await, "page_token");
        }
    }
}

on_both! {
    async fn whatever_ends_one_every_replica_is_told_until_its_last_token_has_expired(database: Kind) {
        // S17, S19
        let server = Server::start(database).await;
        let reused = server.register().await;
        server.refresh(&reused.refresh_token).await.unwrap();
        server.advance(11);
        let answer = server.refresh(&reused.refresh_token).await;
        expect_status(answer, Code::Unauthenticated, "REFRESH_TOKEN_REUSED");
        assert_eq!(server.changes().await, ["session_ended"]);

        // By the clock of any replica, which may lie apart by a minute.
        let end = server.database.time(server.clock.now() + Duration::from_mins(15 + 1));
        let remembered = format!("SELECT kind FROM changes WHERE expire_time >= {end}");
        assert_eq!(server.database.query_text(&remembered).await, ["session_ended"]);
    }
}

on_both! {
    async fn a_lowered_access_ttl_does_not_shorten_what_replicas_are_told(database: Kind) {
        // S19: a token of an hour ago may still live for the longest time that the configuration allows.
        let server = Setup::new(database).await.set("TOKENS__ACCESS_TTL", "24h").start().await;
        let (tokens, other) = (server.register().await, sign_in(&server).await);
        let clock = server.clock.clone();
        let again = Setup::on(server.stop().await, clock).set("TOKENS__ACCESS_TTL", "1m");
        let server = again.start().await;

        server.logout(&other.access_token).await.unwrap();
        let message = pb::DeleteMeRequest { password: Some(PASSWORD.to_owned()) };
        server.auth().delete_me(bearer(&tokens.access_token, message)).await.unwrap();

        // By the clock of any replica, which may lie apart by a minute.
        let end = server.database.time(server.clock.now() + Duration::from_hours(24) + Duration::from_mins(1));
        let remembered = format!("SELECT kind FROM changes WHERE expire_time >= {end} ORDER BY id");
        let remembered = server.database.query_text(&remembered).await;
        assert_eq!(remembered, ["session_ended", "session_ended", "user_changed"]);
        assert_eq!(remembered, server.changes().await);
    }
}

on_both! {
    async fn the_address_is_forwarded_only_by_a_trusted_proxy(database: Kind) {
        // S12
        let login = || {
            let message = pb::LoginRequest { email: EMAIL.to_owned(), password: PASSWORD.to_owned() };
            let mut request = tonic::Request::new(message);
            request.metadata_mut().insert("x-forwarded-for", "6.6.6.6, 203.0.113.9".parse().unwrap());
            request.metadata_mut().insert("x-user-agent", "a".repeat(600).parse().unwrap());
            request
        };
        let newest = async |server: &Server| {
            let token = server.auth().login(login()).await.unwrap().into_inner().access_token;
            list(server, &token, 1, "").await.unwrap().sessions.remove(0)
        };
        let server = Server::start(database).await;
        server.register().await;
        server.advance(1);
        let session = newest(&server).await;
        assert_eq!(session.ip_address, "127.0.0.1");
        assert_eq!(session.user_agent.len(), 512);

        let clock = server.clock.clone();
        let again = Setup::on(server.stop().await, clock).set("SERVER__TRUSTED_PROXIES", "127.0.0.0/8");
        let server = again.start().await;
        server.advance(1);
        assert_eq!(newest(&server).await.ip_address, "203.0.113.9");
    }
}
