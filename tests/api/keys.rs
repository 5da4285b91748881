//! API keys, made and ended by their owners. Changing and rotating them is in `key_changes`, listing in
//! `key_pages`, and when they were last used in `key_usage`.

use countersign::api::pb::{self, CredentialStatus as S};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    common::Kind,
    on_both,
    support::{
        EMAIL, PASSWORD, Server, Setup, after_start, api_key, bearer, expect_invalid, expect_status, reason,
    },
};

async fn create(
    server: &Server,
    token: &str,
    request: pb::CreateKeyRequest,
) -> Result<pb::CreateKeyResponse, Status> {
    server.keys().create_key(bearer(token, request)).await.map(tonic::Response::into_inner)
}

pub async fn get(server: &Server, token: &str, key_id: &str) -> Result<pb::ApiKey, Status> {
    let request = pb::GetKeyRequest { key_id: key_id.to_owned() };
    server.keys().get_key(bearer(token, request)).await.map(tonic::Response::into_inner)
}

fn named(name: &str) -> pb::CreateKeyRequest {
    pb::CreateKeyRequest { name: name.to_owned(), ..Default::default() }
}

fn limit(requests: i32, seconds: i64) -> pb::RateLimit {
    pb::RateLimit { requests, per: Some(Duration { seconds, nanos: 0 }) }
}

on_both! {
    async fn a_key_is_what_was_asked_for_and_its_secret_is_shown_once(database: Kind) {
        // S31, S32
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
        let token = server.register().await.access_token;
        server.advance(5);
        let request = pb::CreateKeyRequest {
            name: "Build \u{1f980}".to_owned(),
            scopes: ["write", "read", "write"].map(str::to_owned).to_vec(),
            expire_time: Some(after_start(60)),
            rate_limit: Some(limit(3, 2)),
        };
        let answer = create(&server, &token, request).await.unwrap();
        let (key, secret) = (answer.key.unwrap(), answer.secret);
        assert_eq!(secret.len(), 52);
        assert!(secret.starts_with("ak_") && secret[3..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(key.hint.starts_with(&secret[..7]) && key.hint.ends_with(&secret[48..]), "{}", key.hint);
        assert!(key.hint.chars().count() <= 12);
        assert!(key.id.starts_with("key_") && key.id.len() == 36);
        let expected = pb::ApiKey {
            id: key.id.clone(),
            name: "Build \u{1f980}".to_owned(),
            hint: key.hint.clone(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            create_time: Some(after_start(5)),
            expire_time: Some(after_start(60)),
            last_used_time: None,
            revoke_time: None,
            rate_limit: Some(limit(3, 2)),
        };
        assert_eq!(key, expected);
        assert_eq!(get(&server, &token, &key.id).await.unwrap(), expected);

        let plain = create(&server, &token, named("plain")).await.unwrap().key.unwrap();
        assert!(plain.scopes.is_empty());
        assert_eq!((plain.expire_time, plain.rate_limit), (None, None));
    }
}

on_both! {
    async fn what_is_not_acceptable_is_named(database: Kind) {
        // S42
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read").start().await;
        let token = server.register().await.access_token;
        for name in ["", "  ", "a\r\nb", "a\0b", &"x".repeat(201)] {
            expect_invalid(create(&server, &token, named(name)).await, "name");
        }
        for scope in ["", "a b", "\u{e9}", &"x".repeat(65)] {
            let request = pb::CreateKeyRequest { scopes: vec![scope.to_owned()], ..named("x") };
            expect_invalid(create(&server, &token, request).await, "scopes");
        }
        for (seconds, nanos) in [(-1, 0), (i64::MAX, 0), (i64::MIN, 0), (4_000_000_000, -1), (1, 0)] {
            let request =
                pb::CreateKeyRequest { expire_time: Some(Timestamp { seconds, nanos }), ..named("x") };
            expect_invalid(create(&server, &token, request).await, "expire_time");
        }
        let now = pb::CreateKeyRequest { expire_time: Some(after_start(0)), ..named("x") };
        expect_invalid(create(&server, &token, now).await, "expire_time");
        for (rate_limit, field) in [
            (limit(0, 1), "rate_limit"),
            (limit(-1, 1), "rate_limit"),
            (limit(1_000_001, 1), "rate_limit"),
            (limit(1, 0), "rate_limit"),
            (limit(1, 86_401), "rate_limit"),
            (limit(1, -1), "rate_limit.per"),
            (pb::RateLimit { requests: 1, per: None }, "rate_limit.per"),
        ] {
            let request = pb::CreateKeyRequest { rate_limit: Some(rate_limit), ..named("x") };
            expect_invalid(create(&server, &token, request).await, field);
        }
        assert!(server.database.query_text("SELECT name FROM api_keys").await.is_empty());
        let longest = pb::CreateKeyRequest {
            expire_time: Some(Timestamp { seconds: 253_402_300_799, nanos: 0 }),
            rate_limit: Some(limit(1_000_000, 86_400)),
            ..named(&"\u{e9}".repeat(200))
        };
        create(&server, &token, longest).await.unwrap();
    }
}

on_both! {
    async fn a_key_may_do_no_more_than_its_owner(database: Kind) {
        // S34
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
        let token = server.register().await.access_token;
        for scopes in [&["admin"][..], &["read", "admin"], &["READ"], &["countersign:watch"]] {
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let answer = create(&server, &token, pb::CreateKeyRequest { scopes, ..named("x") }).await;
            expect_status(answer, Code::PermissionDenied, "INSUFFICIENT_SCOPE");
        }
        // It is what the owner may do now that counts, not what the token said.
        server.database.execute("UPDATE users SET scopes = 'read'").await;
        let write = pb::CreateKeyRequest { scopes: vec!["write".to_owned()], ..named("x") };
        expect_status(create(&server, &token, write).await, Code::PermissionDenied, "INSUFFICIENT_SCOPE");
        server.create_key(&token, &["read"]).await;
        assert_eq!(server.database.query_text("SELECT scopes FROM api_keys").await, ["read"]);
    }
}

on_both! {
    async fn another_users_key_is_not_found(database: Kind) {
        // S33
        let server = Server::start(database).await;
        let owner = server.register().await.access_token;
        let stranger = server.register_as("stranger@example.com").await.access_token;
        let key = server.create_key(&owner, &[]).await;
        let id = key.key.unwrap().id;
        let own = server.create_key(&stranger, &[]).await.key.unwrap().id;
        for id in [
            id.as_str(),
            "key_00000000000000000000000000000000",
            &own.to_uppercase(),
            &own.replace("key_", "ses_"),
            &own.replace("key_", ""),
            &own[..35],
            "key_\u{1f980}",
            "",
        ] {
            let (mut keys, key_id) = (server.keys(), id.to_owned());
            macro_rules! not_found {
                ($rpc:ident($message:expr)) => {
                    let answer = keys.$rpc(bearer(&stranger, $message)).await;
                    expect_status(answer, Code::NotFound, "NOT_FOUND");
                };
            }
            let name = Some("mine".to_owned());
            not_found!(get_key(pb::GetKeyRequest { key_id: key_id.clone() }));
            not_found!(update_key(pb::UpdateKeyRequest { key_id: key_id.clone(), name, ..Default::default() }));
            not_found!(rotate_key(pb::RotateKeyRequest { key_id: key_id.clone(), grace_period: None }));
            not_found!(revoke_key(pb::RevokeKeyRequest { key_id }));
        }
        let request = pb::ListKeysRequest::default();
        let listed = server.keys().list_keys(bearer(&stranger, request)).await.unwrap().into_inner().keys;
        assert_eq!(listed.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), [own]);
        assert_eq!(server.status_of(&key.secret).await, S::Valid);
        assert!(server.changes().await.is_empty());
    }
}

on_both! {
    async fn a_revoked_key_is_ended_at_once_and_for_good(database: Kind) {
        // S19, S34
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let (key, kept) = (server.create_key(&token, &[]).await, server.create_key(&token, &[]).await);
        let id = key.key.unwrap().id;
        server.advance(3);
        server.revoke_key(&token, &id).await.unwrap();
        assert_eq!(server.status_of(&key.secret).await, S::Revoked);
        let me = server.auth().get_me(api_key(&key.secret, pb::GetMeRequest {})).await;
        expect_status(me, Code::Unauthenticated, "CREDENTIAL_REVOKED");
        // Again is {}, and does not move the time.
        server.advance(3);
        server.revoke_key(&token, &id).await.unwrap();
        assert_eq!(get(&server, &token, &id).await.unwrap().revoke_time, Some(after_start(3)));
        assert_eq!(server.changes().await, ["key_ended"]);
        assert_eq!(server.status_of(&kept.secret).await, S::Valid);

        let server = server.restart().await;
        assert_eq!(server.status_of(&key.secret).await, S::Revoked);
        assert_eq!(server.status_of(&kept.secret).await, S::Valid);
        // SQLite serves one process.
        if database == Kind::Postgres {
            let other = server.replica().start().await;
            assert_eq!(other.status_of(&kept.secret).await, S::Valid);
            server.revoke_key(&token, &kept.key.unwrap().id).await.unwrap();
            other.wait_for_status(&kept.secret, S::Revoked).await;
        }
    }
}

on_both! {
    async fn a_key_ends_at_its_expiry(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let request = pb::CreateKeyRequest { expire_time: Some(after_start(60)), ..named("x") };
        let secret = create(&server, &token, request).await.unwrap().secret;
        server.advance(59);
        let answer = server.validate(&secret).await;
        assert_eq!((answer.status(), answer.expire_time), (S::Valid, Some(after_start(60))));
        server.advance(1);
        let answer = server.validate(&secret).await;
        assert_eq!((answer.status(), answer.expire_time), (S::Expired, Some(after_start(60))));
        let me = server.auth().get_me(api_key(&secret, pb::GetMeRequest {})).await;
        expect_status(me, Code::Unauthenticated, "CREDENTIAL_EXPIRED");
    }
}

on_both! {
    async fn of_more_than_a_hundred_at_once_a_hundred_are_made(database: Kind) {
        // S62
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let client = server.keys();
        let calls: Vec<_> = (0..110)
            .map(|_| {
                let (mut client, request) = (client.clone(), bearer(&token, named("x")));
                tokio::spawn(async move { client.create_key(request).await })
            })
            .collect();
        let (mut made, mut refused) = (Vec::new(), 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(answer) => made.push(answer.into_inner().key.unwrap()),
                Err(status) => {
                    assert!(status.get_error_details().retry_info().is_none());
                    expect_status::<()>(Err(status), Code::ResourceExhausted, "LIMIT_REACHED");
                    refused += 1;
                }
            }
        }
        assert_eq!((made.len(), refused), (100, 10));

        // Another user has a hundred of their own; a revoked key makes room for one.
        let stranger = server.register_as("stranger@example.com").await.access_token;
        server.create_key(&stranger, &[]).await;
        server.revoke_key(&token, &made[0].id).await.unwrap();
        server.create_key(&token, &[]).await;
        expect_status(create(&server, &token, named("x")).await, Code::ResourceExhausted, "LIMIT_REACHED");
    }
}

on_both! {
    async fn an_expired_key_makes_room_until_it_is_prolonged(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let expiring = pb::CreateKeyRequest { expire_time: Some(after_start(60)), ..named("x") };
        let expiring = create(&server, &token, expiring).await.unwrap().key.unwrap();
        server.advance(60);
        for _ in 0..100 {
            server.create_key(&token, &[]).await;
        }
        let request = pb::UpdateKeyRequest {
            key_id: expiring.id,
            expire_time: Some(after_start(120)),
            ..Default::default()
        };
        let answer = server.keys().update_key(bearer(&token, request)).await;
        expect_status(answer, Code::ResourceExhausted, "LIMIT_REACHED");
    }
}

on_both! {
    async fn a_rate_limit_counts_only_calls_that_would_be_valid(database: Kind) {
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read").start().await;
        let token = server.register().await.access_token;
        let request = pb::CreateKeyRequest { rate_limit: Some(limit(3, 6)), ..named("x") };
        let secret = create(&server, &token, request).await.unwrap().secret;
        let unlimited = server.create_key(&token, &[]).await.secret;
        for _ in 0..5 {
            assert_eq!(server.validate_for(&secret, &["read"]).await.status(), S::InsufficientScope);
        }
        // As a caller it counts as well.
        server.auth().get_me(api_key(&secret, pb::GetMeRequest {})).await.unwrap();
        for _ in 0..2 {
            let answer = server.validate(&secret).await;
            assert_eq!((answer.status(), answer.cacheable_until_time), (S::Valid, None));
        }
        for _ in 0..2 {
            let answer = server.validate(&secret).await;
            assert_eq!(answer.status(), S::RateLimited);
            assert_eq!(answer.retry_after, Some(Duration { seconds: 2, nanos: 0 }));
            assert_eq!(answer.principal.unwrap().r#type(), pb::PrincipalType::ApiKey);
        }
        let me = server.auth().get_me(api_key(&secret, pb::GetMeRequest {})).await.unwrap_err();
        assert_eq!((me.code(), reason(&me).as_str()), (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"));
        let retry = me.get_error_details().retry_info().unwrap().retry_delay;
        assert_eq!(retry, Some(std::time::Duration::from_secs(2)));
        // Still: scopes go first.
        assert_eq!(server.validate_for(&secret, &["read"]).await.status(), S::InsufficientScope);
        assert_eq!(server.status_of(&unlimited).await, S::Valid);

        // It is refilled evenly.
        server.advance(1);
        let answer = server.validate(&secret).await;
        assert_eq!(answer.retry_after, Some(Duration { seconds: 1, nanos: 0 }));
        server.advance(1);
        assert_eq!(server.status_of(&secret).await, S::Valid);
        assert_eq!(server.status_of(&secret).await, S::RateLimited);
        server.advance(6);
        for expected in [S::Valid, S::Valid, S::Valid, S::RateLimited] {
            assert_eq!(server.status_of(&secret).await, expected);
        }
    }
}

on_both! {
    async fn it_all_works_by_the_machines_and_the_databases_clocks(database: Kind) {
        let server = Setup::new(database).await.system_clock().start().await;
        let tokens = server.register().await;
        assert!(tokens.expires_in <= 900 && tokens.expires_in > 800, "{}", tokens.expires_in);
        let tokens = server.refresh(&tokens.refresh_token).await.unwrap();
        let past = pb::CreateKeyRequest { expire_time: Some(Timestamp { seconds: 1, nanos: 0 }), ..named("x") };
        expect_invalid(create(&server, &tokens.access_token, past).await, "expire_time");
        let key = server.create_key(&tokens.access_token, &[]).await;
        assert_eq!(server.status_of(&key.secret).await, S::Valid);
        server.revoke_key(&tokens.access_token, &key.key.unwrap().id).await.unwrap();
        assert_eq!(server.status_of(&key.secret).await, S::Revoked);
        server.login(EMAIL, PASSWORD).await.unwrap();
        server.logout(&tokens.access_token).await.unwrap();
        assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked);
    }
}
