//! API keys, changed and rotated by their owners.

use countersign::api::pb::{self, CredentialStatus as S};
use prost_types::{Duration, FieldMask};
use tonic::{Code, Status};

use crate::{
    common::Kind,
    on_both,
    support::{Server, Setup, after_start, bearer, expect_invalid, expect_status},
};

const DAY: i64 = 24 * 60 * 60;

/// A request, its mask, and what they make of the key.
type Step = (pb::UpdateKeyRequest, Option<&'static [&'static str]>, fn(&mut pb::ApiKey));

async fn update(
    server: &Server,
    token: &str,
    request: pb::UpdateKeyRequest,
    mask: Option<&[&str]>,
) -> Result<pb::ApiKey, Status> {
    let paths = |paths: &[&str]| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    let request = pb::UpdateKeyRequest { update_mask: mask.map(paths), ..request };
    server.keys().update_key(bearer(token, request)).await.map(tonic::Response::into_inner)
}

async fn rotate(
    server: &Server,
    token: &str,
    key_id: &str,
    grace: Option<i64>,
) -> Result<pb::RotateKeyResponse, Status> {
    let grace_period = grace.map(|seconds| Duration { seconds, nanos: 0 });
    let request = pb::RotateKeyRequest { key_id: key_id.to_owned(), grace_period };
    server.keys().rotate_key(bearer(token, request)).await.map(tonic::Response::into_inner)
}

fn limit(requests: i32) -> pb::RateLimit {
    pb::RateLimit { requests, per: Some(Duration { seconds: 60, nanos: 0 }) }
}

on_both! {
    async fn the_mask_says_what_changes(database: Kind) {
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
        let token = server.register().await.access_token;
        let mut key = server.create_key(&token, &["read"]).await.key.unwrap();
        let key_id = key.id.clone();
        let unset = || pb::UpdateKeyRequest { key_id: key_id.clone(), ..Default::default() };
        let set = || pb::UpdateKeyRequest {
            name: Some("new".to_owned()),
            scopes: vec!["write".to_owned()],
            expire_time: Some(after_start(60)),
            rate_limit: Some(limit(5)),
            ..unset()
        };
        let renamed = |name: &str| pb::UpdateKeyRequest { name: Some(name.to_owned()), ..unset() };
        let steps: [Step; 14] = [
            // Without a mask, what is set.
            (unset(), None, |_| ()),
            (unset(), Some(&[]), |_| ()),
            (renamed("a"), None, |key| key.name = "a".into()),
            (pb::UpdateKeyRequest { rate_limit: Some(limit(7)), ..unset() }, Some(&[]), |key| {
                key.rate_limit = Some(limit(7));
            }),
            // With one, what it names.
            (set(), Some(&["name"]), |key| key.name = "new".into()),
            (set(), Some(&["scopes"]), |key| key.scopes = vec!["write".to_owned()]),
            (set(), Some(&["expire_time", "rate_limit"]), |key| {
                key.expire_time = Some(after_start(60));
                key.rate_limit = Some(limit(5));
            }),
            // Masked and unset: cleared.
            (unset(), Some(&["expire_time"]), |key| key.expire_time = None),
            (unset(), Some(&["rate_limit"]), |key| key.rate_limit = None),
            (unset(), Some(&["scopes"]), |key| key.scopes.clear()),
            (set(), None, |key| {
                key.scopes = vec!["write".to_owned()];
                key.expire_time = Some(after_start(60));
                key.rate_limit = Some(limit(5));
            }),
            // All of it.
            (renamed("all"), Some(&["*"]), |key| {
                key.name = "all".into();
                key.scopes.clear();
                key.expire_time = None;
                key.rate_limit = None;
            }),
            (set(), Some(&["*"]), |key| {
                key.name = "new".into();
                key.scopes = vec!["write".to_owned()];
                key.expire_time = Some(after_start(60));
                key.rate_limit = Some(limit(5));
            }),
            (unset(), None, |_| ()),
        ];
        for (step, (request, mask, expect)) in steps.into_iter().enumerate() {
            expect(&mut key);
            assert_eq!(update(&server, &token, request, mask).await.unwrap(), key, "step {step}");
            let get = bearer(&token, pb::GetKeyRequest { key_id: key_id.clone() });
            assert_eq!(server.keys().get_key(get).await.unwrap().into_inner(), key, "step {step}");
        }
    }
}

on_both! {
    async fn what_is_not_acceptable_is_named_and_changes_nothing(database: Kind) {
        // S34, S42
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read").start().await;
        let token = server.register().await.access_token;
        let key = server.create_key(&token, &["read"]).await.key.unwrap();
        let unset = || pb::UpdateKeyRequest { key_id: key.id.clone(), ..Default::default() };
        for path in ["id", "hint", "revoke_time", "user_id", "create_time", "rate_limit.requests", "Name", ""] {
            expect_invalid(update(&server, &token, unset(), Some(&[path])).await, "update_mask");
            expect_invalid(update(&server, &token, unset(), Some(&["name", path])).await, "update_mask");
        }
        for (request, mask, field) in [
            (pb::UpdateKeyRequest { name: Some(String::new()), ..unset() }, None, "name"),
            (pb::UpdateKeyRequest { name: Some("a\r\nb".to_owned()), ..unset() }, None, "name"),
            (unset(), Some(&["name"][..]), "name"),
            (unset(), Some(&["*"]), "name"),
            (pb::UpdateKeyRequest { scopes: vec!["a b".to_owned()], ..unset() }, None, "scopes"),
            (pb::UpdateKeyRequest { expire_time: Some(after_start(0)), ..unset() }, None, "expire_time"),
            (pb::UpdateKeyRequest { rate_limit: Some(limit(0)), ..unset() }, None, "rate_limit"),
        ] {
            expect_invalid(update(&server, &token, request, mask).await, field);
        }
        let beyond = pb::UpdateKeyRequest { scopes: vec!["read".to_owned(), "write".to_owned()], ..unset() };
        let answer = update(&server, &token, beyond, None).await;
        expect_status(answer, Code::PermissionDenied, "INSUFFICIENT_SCOPE");
        let get = bearer(&token, pb::GetKeyRequest { key_id: key.id.clone() });
        assert_eq!(server.keys().get_key(get).await.unwrap().into_inner(), key);
    }
}

on_both! {
    async fn a_change_holds_at_once(database: Kind) {
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
        let token = server.register().await.access_token;
        let key = server.create_key(&token, &["read", "write"]).await;
        let (secret, key_id) = (key.secret, key.key.unwrap().id);
        let unset = || pb::UpdateKeyRequest { key_id: key_id.clone(), ..Default::default() };

        let narrower = pb::UpdateKeyRequest { scopes: vec!["read".to_owned()], ..unset() };
        update(&server, &token, narrower, None).await.unwrap();
        assert_eq!(server.validate_for(&secret, &["write"]).await.status(), S::InsufficientScope);
        let limited = pb::UpdateKeyRequest { rate_limit: Some(limit(1)), ..unset() };
        update(&server, &token, limited, None).await.unwrap();
        assert_eq!(server.status_of(&secret).await, S::Valid);
        assert_eq!(server.status_of(&secret).await, S::RateLimited);
        update(&server, &token, unset(), Some(&["rate_limit"])).await.unwrap();
        let answer = server.validate(&secret).await;
        assert_eq!((answer.status(), answer.cacheable_until_time), (S::Valid, Some(after_start(1))));
        let expiring = pb::UpdateKeyRequest { expire_time: Some(after_start(10)), ..unset() };
        update(&server, &token, expiring, None).await.unwrap();
        server.advance(10);
        assert_eq!(server.status_of(&secret).await, S::Expired);
        update(&server, &token, unset(), Some(&["expire_time"])).await.unwrap();
        assert_eq!(server.status_of(&secret).await, S::Valid);
        assert_eq!(server.changes().await, ["key_changed"; 5]);
    }
}

on_both! {
    async fn without_grace_the_old_secret_ends_with_the_rotation(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let made = server.create_key(&token, &[]).await;
        let before = made.key.unwrap();
        for grace in [None, Some(0)] {
            let old = server.create_key(&token, &[]).await;
            let rotated = rotate(&server, &token, &old.key.unwrap().id, grace).await.unwrap();
            assert_eq!(server.status_of(&old.secret).await, S::Revoked);
            assert_eq!(server.status_of(&rotated.secret).await, S::Valid);
        }
        let rotated = rotate(&server, &token, &before.id, None).await.unwrap();
        let after = rotated.key.unwrap();
        assert_ne!(rotated.secret, made.secret);
        assert!(after.hint.starts_with(&rotated.secret[..7]) && after.hint.ends_with(&rotated.secret[48..]));
        assert_eq!(pb::ApiKey { hint: before.hint.clone(), ..after.clone() }, before);
        assert_eq!(server.validate(&rotated.secret).await.principal.unwrap().key_id, before.id);
        let get = bearer(&token, pb::GetKeyRequest { key_id: before.id });
        assert_eq!(server.keys().get_key(get).await.unwrap().into_inner(), after);
        assert_eq!(server.changes().await, ["key_changed"; 3]);
    }
}

on_both! {
    async fn within_the_grace_both_secrets_are_good(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let old = server.create_key(&token, &[]).await;
        let new = rotate(&server, &token, &old.key.unwrap().id, Some(60)).await.unwrap();
        server.advance(59);
        let answer = server.validate(&old.secret).await;
        assert_eq!((answer.status(), answer.expire_time), (S::Valid, Some(after_start(60))));
        let answer = server.validate(&new.secret).await;
        assert_eq!((answer.status(), answer.expire_time), (S::Valid, None));
        server.advance(1);
        assert_eq!(server.status_of(&old.secret).await, S::Revoked);
        assert_eq!(server.status_of(&new.secret).await, S::Valid);
    }
}

on_both! {
    async fn a_second_rotation_ends_the_first_old_secret(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let first = server.create_key(&token, &[]).await;
        let key_id = first.key.unwrap().id;
        let second = rotate(&server, &token, &key_id, Some(7 * DAY)).await.unwrap();
        let third = rotate(&server, &token, &key_id, Some(60)).await.unwrap();
        assert_eq!(server.status_of(&first.secret).await, S::Revoked);
        assert_eq!(server.status_of(&second.secret).await, S::Valid);
        assert_eq!(server.status_of(&third.secret).await, S::Valid);
        // And with the key all of its secrets end.
        server.revoke_key(&token, &key_id).await.unwrap();
        for secret in [&first.secret, &second.secret, &third.secret] {
            assert_eq!(server.status_of(secret).await, S::Revoked);
        }
    }
}

on_both! {
    async fn no_grace_reaches_past_the_keys_expiry_nor_a_week(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let request = pb::CreateKeyRequest {
            name: "x".to_owned(),
            expire_time: Some(after_start(60)),
            ..Default::default()
        };
        let old = server.keys().create_key(bearer(&token, request)).await.unwrap().into_inner();
        let key_id = old.key.unwrap().id;
        for (seconds, nanos) in [(7 * DAY + 1, 0), (7 * DAY, 1), (-1, 0), (i64::MAX, 0)] {
            let grace_period = Some(Duration { seconds, nanos });
            let request = pb::RotateKeyRequest { key_id: key_id.clone(), grace_period };
            expect_invalid(server.keys().rotate_key(bearer(&token, request)).await, "grace_period");
        }
        let new = rotate(&server, &token, &key_id, Some(7 * DAY)).await.unwrap();
        // Rotation does not move the expiry.
        assert_eq!(new.key.unwrap().expire_time, Some(after_start(60)));
        assert_eq!(server.validate(&old.secret).await.expire_time, Some(after_start(60)));
        server.advance(60);
        assert_eq!(server.status_of(&old.secret).await, S::Expired);
        assert_eq!(server.status_of(&new.secret).await, S::Expired);
        // Not even when the owner moves it afterwards.
        let request = pb::UpdateKeyRequest { key_id, ..Default::default() };
        update(&server, &token, request, Some(&["expire_time"])).await.unwrap();
        assert_eq!(server.status_of(&old.secret).await, S::Revoked);
        assert_eq!(server.status_of(&new.secret).await, S::Valid);
    }
}

on_both! {
    async fn a_revoked_key_stays_as_it_is(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let key = server.create_key(&token, &[]).await;
        let key_id = key.key.unwrap().id;
        server.revoke_key(&token, &key_id).await.unwrap();
        let get = || bearer(&token, pb::GetKeyRequest { key_id: key_id.clone() });
        let before = server.keys().get_key(get()).await.unwrap().into_inner();
        rotate(&server, &token, &key_id, None).await.unwrap_err();
        let request =
            pb::UpdateKeyRequest { key_id: key_id.clone(), name: Some("x".to_owned()), ..Default::default() };
        update(&server, &token, request, None).await.unwrap_err();
        assert_eq!(server.keys().get_key(get()).await.unwrap().into_inner(), before);
        assert_eq!(server.status_of(&key.secret).await, S::Revoked);
    }
}

on_both! {
    async fn of_two_rotations_at_once_one_secret_is_current(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let first = server.create_key(&token, &[]).await;
        let key_id = first.key.unwrap().id;
        let (a, b) = tokio::join!(
            rotate(&server, &token, &key_id, None),
            rotate(&server, &token, &key_id, None)
        );
        let statuses =
            [server.status_of(&a.unwrap().secret).await, server.status_of(&b.unwrap().secret).await];
        assert!(statuses == [S::Valid, S::Revoked] || statuses == [S::Revoked, S::Valid], "{statuses:?}");
        assert_eq!(server.status_of(&first.secret).await, S::Revoked);
    }
}
