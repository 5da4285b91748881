//! How a revocation reaches what a replica knows, whichever way it was made, and how it is told to those who watch.

use std::time::Duration;

use countersign::{
    api::pb::{self, CredentialStatus as S, revocation::Subject},
    domain::Administrator,
    types::UserId,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery};

use crate::{
    common::{Database, Kind},
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, bearer, expect_invalid, expect_status},
};

/// What is waited for comes within a second on a quiet machine; this is for a busy one.
const SOON: Duration = Duration::from_secs(20);
const WATCH: &str = "countersign:watch";

/// One whose accounts may watch.
async fn watchable(database: Kind) -> Server {
    Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,countersign:watch").start().await
}

fn user_id(tokens: &pb::TokenResponse) -> UserId {
    tokens.user.as_ref().unwrap().id.parse().unwrap()
}

/// A watch from outside: with a codec that takes many messages.
async fn watch(
    server: &Server,
    token: &str,
    cursor: &str,
) -> Result<Streaming<pb::WatchRevocationsResponse>, Status> {
    let mut grpc = Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let codec =
        tonic_prost::ProstCodec::<pb::WatchRevocationsRequest, pb::WatchRevocationsResponse>::default();
    let path = PathAndQuery::from_static("/countersign.v1.AuthService/WatchRevocations");
    let request = bearer(token, pb::WatchRevocationsRequest { cursor: cursor.to_owned() });
    Ok(grpc.server_streaming(request, path, codec).await?.into_inner())
}

async fn next(stream: &mut Streaming<pb::WatchRevocationsResponse>) -> pb::WatchRevocationsResponse {
    timeout(SOON, stream.message()).await.expect("a message in time").unwrap().expect("a message")
}

/// Reads until all of these have been told; returns the last cursor.
async fn expect_told(stream: &mut Streaming<pb::WatchRevocationsResponse>, wanted: &[Subject]) -> String {
    let mut missing = wanted.to_vec();
    loop {
        let message = next(stream).await;
        let told: Vec<_> = message.revocations.into_iter().filter_map(|told| told.subject).collect();
        missing.retain(|subject| !told.contains(subject));
        if missing.is_empty() {
            return message.cursor;
        }
    }
}

fn session(tokens_or_principal: &pb::ValidateCredentialResponse) -> Subject {
    Subject::SessionId(tokens_or_principal.principal.as_ref().unwrap().session_id.clone())
}

on_both! {
    async fn what_a_command_beside_the_service_does_is_seen(database: Kind) {
        // S34
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read").start().await;
        let tokens = server.register().await;
        let key = server.create_key(&tokens.access_token, &["read"]).await.secret;
        assert_eq!(server.status_of(&key).await, S::Valid);
        let operator = server.replica().domain().await;
        operator.disable_user(user_id(&tokens), &Administrator::operator()).await.unwrap();
        server.wait_for_status(&tokens.access_token, S::Disabled).await;
        server.wait_for_status(&key, S::Disabled).await;
        operator.enable_user(user_id(&tokens), &Administrator::operator()).await.unwrap();
        server.wait_for_status(&tokens.access_token, S::Revoked).await;
        server.wait_for_status(&key, S::Revoked).await;
        let again = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        server.wait_for_status(&again, S::Valid).await;
    }
}

/// Two replicas, and somebody signed in.
async fn two() -> (Server, Server, pb::TokenResponse) {
    let one = Setup::new(Kind::Postgres).await.system_clock();
    let one = one.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
    let two = one.replica().start().await;
    let tokens = one.register().await;
    (one, two, tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_changed_at_one_replica_is_changed_at_another() {
    // S34
    let (one, two, tokens) = two().await;
    let key = one.create_key(&tokens.access_token, &["read", "write"]).await;
    let id = key.key.unwrap().id;
    assert_eq!(two.validate_for(&key.secret, &["write"]).await.status(), S::Valid);
    let request = pb::UpdateKeyRequest {
        key_id: id.clone(),
        scopes: vec!["read".to_owned()],
        update_mask: Some(prost_types::FieldMask { paths: vec!["scopes".to_owned()] }),
        ..Default::default()
    };
    one.keys().update_key(bearer(&tokens.access_token, request)).await.unwrap();
    // At once where it was done.
    assert_eq!(one.validate_for(&key.secret, &["write"]).await.status(), S::InsufficientScope);
    let seen = async {
        while two.validate_for(&key.secret, &["write"]).await.status() != S::InsufficientScope {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, seen).await.expect("it is seen");
    let request = pb::RotateKeyRequest { key_id: id, grace_period: None };
    let rotated = one.keys().rotate_key(bearer(&tokens.access_token, request)).await.unwrap().into_inner();
    assert_eq!(one.status_of(&key.secret).await, S::Revoked);
    assert_eq!(two.status_of(&rotated.secret).await, S::Valid);
    two.wait_for_status(&key.secret, S::Revoked).await;
}

/// Runs statements on the database, beside the service.
async fn beside(database: &Database) -> AsyncPgConnection {
    AsyncPgConnection::establish(&database.url).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_hide_nothing() {
    // S34: whoever listens is thrown out, again and again
    let (one, two, tokens) = two().await;
    let mut admin = beside(&one.database).await;
    for _ in 0..10 {
        let session = one.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(two.status_of(&session.access_token).await, S::Valid);
        admin
            .batch_execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await
            .unwrap();
        // A call that met a dead connection may be refused; never lost once it is acknowledged.
        while one.logout(&session.access_token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        two.wait_for_status(&session.access_token, S::Revoked).await;
    }
    assert_eq!(two.status_of(&tokens.access_token).await, S::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_somebody_forgot_holds_nothing_back() {
    let (one, two, _) = two().await;
    let mut stray = beside(&one.database).await;
    // It has written, and so has a number before all that follow.
    stray
        .batch_execute("SET idle_in_transaction_session_timeout = 0; BEGIN; CREATE TABLE stray (id int)")
        .await
        .unwrap();
    let mut ended = Vec::new();
    for _ in 0..5 {
        let session = one.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(two.status_of(&session.access_token).await, S::Valid);
        one.logout(&session.access_token).await.unwrap();
        two.wait_for_status(&session.access_token, S::Revoked).await;
        ended.push(session.access_token);
    }
    // One who comes now, and one who reads on when it has ended, know of all.
    let three = one.replica().start().await;
    stray.batch_execute("ROLLBACK").await.unwrap();
    let last = one.login(EMAIL, PASSWORD).await.unwrap();
    one.logout(&last.access_token).await.unwrap();
    ended.push(last.access_token);
    for token in &ended {
        two.wait_for_status(token, S::Revoked).await;
        three.wait_for_status(token, S::Revoked).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commits_late_is_seen_though_others_overtook_it() {
    // Ids are given when a row is written, and this one is committed after later ones were read.
    let (one, two, tokens) = two().await;
    let slow = one.login(EMAIL, PASSWORD).await.unwrap();
    let principal = one.validate(&slow.access_token).await.principal.unwrap();
    let uuid = principal.session_id.trim_start_matches("ses_").to_owned();
    let mut late = beside(&one.database).await;
    let write = format!(
        "BEGIN; INSERT INTO changes (kind, subject, create_time, expire_time)
         VALUES ('session_ended', '{uuid}', now(), now() + interval '1 day')"
    );
    late.batch_execute(&write).await.unwrap();
    one.logout(&tokens.access_token).await.unwrap();
    two.wait_for_status(&tokens.access_token, S::Revoked).await;
    assert_eq!(two.status_of(&slow.access_token).await, S::Valid);
    late.batch_execute("COMMIT").await.unwrap();
    two.wait_for_status(&slow.access_token, S::Revoked).await;
}

on_both! {
    async fn a_watch_tells_what_was_revoked_then_what_is_and_goes_on_from_its_cursor(database: Kind) {
        let server = watchable(database).await;
        let tokens = server.register().await;
        let ended = server.login(EMAIL, PASSWORD).await.unwrap();
        let before = session(&server.validate(&ended.access_token).await);
        server.logout(&ended.access_token).await.unwrap();

        let mut stream = watch(&server, &tokens.access_token, "").await.unwrap();
        let first = next(&mut stream).await;
        assert!(first.reset);
        let told: Vec<_> = first.revocations.iter().filter_map(|told| told.subject.clone()).collect();
        assert!(told.contains(&before), "{told:?}");
        assert!(first.revocations.iter().all(|told| told.expire_time.is_some()));

        let key = server.create_key(&tokens.access_token, &[]).await.key.unwrap();
        let ended = server.login(EMAIL, PASSWORD).await.unwrap();
        let now = session(&server.validate(&ended.access_token).await);
        server.logout(&ended.access_token).await.unwrap();
        server.revoke_key(&tokens.access_token, &key.id).await.unwrap();
        let cursor = expect_told(&mut stream, &[now, Subject::KeyId(key.id)]).await;
        drop(stream);

        // What happens while nobody watches.
        let other = server.register_as("other@example.com").await;
        let missed = session(&server.validate(&other.access_token).await);
        let operator = server.replica().domain().await;
        operator.disable_user(user_id(&other), &Administrator::operator()).await.unwrap();
        server.wait_for_status(&other.access_token, S::Disabled).await;
        let mut stream = watch(&server, &tokens.access_token, &cursor).await.unwrap();
        let again = next(&mut stream).await;
        assert!(!again.reset);
        let told: Vec<_> = again.revocations.into_iter().filter_map(|told| told.subject).collect();
        for subject in [missed, Subject::UserId(other.user.unwrap().id)] {
            assert!(told.contains(&subject), "{told:?}");
        }
        // Nor is all told again.
        assert!(!told.contains(&before), "{told:?}");
    }
}

on_both! {
    async fn a_watch_says_that_nothing_happened_and_ends_with_its_right(database: Kind) {
        let server = watchable(database).await;
        let tokens = server.register().await;
        let mut stream = watch(&server, &tokens.access_token, "").await.unwrap();
        let first = next(&mut stream).await;
        assert!(first.as_of_time.is_some() && !first.cursor.is_empty());
        let heartbeat = next(&mut stream).await;
        assert!(heartbeat.revocations.is_empty() && !heartbeat.reset && !heartbeat.cursor.is_empty());
        assert!(heartbeat.as_of_time.is_some());

        server.logout(&tokens.access_token).await.unwrap();
        let end = async {
            loop {
                if let Err(status) = stream.message().await {
                    return status;
                }
            }
        };
        // However much there is to tell.
        let other = server.register_as("other@example.com").await.access_token;
        let news = async {
            loop {
                let key = server.create_key(&other, &[]).await.key.unwrap();
                server.revoke_key(&other, &key.id).await.unwrap();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let status = tokio::select! {
            ended = timeout(SOON, end) => ended.expect("it ends"),
            () = news => unreachable!(),
        };
        expect_status::<()>(Err(status), Code::Unauthenticated, "CREDENTIAL_REVOKED");
    }
}

on_both! {
    async fn only_who_may_can_watch(database: Kind) {
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read").start().await;
        let tokens = server.register().await;
        let refused = watch(&server, &tokens.access_token, "").await;
        expect_status(refused.map(drop), Code::PermissionDenied, "INSUFFICIENT_SCOPE");
        expect_status(watch(&server, "garbage", "").await.map(drop), Code::Unauthenticated, "INVALID_CREDENTIAL");

        let server = watchable(database).await;
        let tokens = server.register().await;
        let key = server.create_key(&tokens.access_token, &[WATCH]).await.secret;
        let other = server.create_key(&tokens.access_token, &[]).await.key.unwrap();
        server.revoke_key(&tokens.access_token, &other.id).await.unwrap();
        // It is known at once, and read back a moment later.
        let mut cursor = "r1-0-".to_owned();
        while cursor.starts_with("r1-0-") {
            cursor = next(&mut watch(&server, &key, "").await.unwrap()).await.cursor;
        }
        for cursor in ["garbage", "r1-", "r1-1", "r1--1", "r1-1-", "r1-99999999999999999999-1", "r1-1-1 "] {
            expect_invalid(watch(&server, &key, cursor).await.map(drop), "cursor");
        }
        // One of another database, and one from before what is remembered, are no reason to refuse: all is told.
        let seconds: i64 = cursor.rsplit_once('-').unwrap().1.parse().unwrap();
        for (position, seconds, reset) in
            [(9_000_000_000_000_000_000_i64, seconds, true), (1, seconds, false), (1, seconds - 86_400, true)]
        {
            let cursor = format!("r1-{position}-{seconds}");
            let first = next(&mut watch(&server, &key, &cursor).await.unwrap()).await;
            assert_eq!(first.reset, reset, "{cursor}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_taken_up_where_another_replica_that_is_ahead_has_left_it() {
    let server = watchable(Kind::Sqlite).await;
    let token = server.register().await.access_token;
    let key = server.create_key(&token, &[WATCH]).await.key.unwrap();
    server.revoke_key(&token, &key.id).await.unwrap();
    let mut stream = watch(&server, &token, "").await.unwrap();
    let mut cursor = expect_told(&mut stream, &[Subject::KeyId(key.id)]).await;
    drop(stream);
    // It was changed here, and may not have been read back yet.
    while cursor.starts_with("r1-0-") {
        cursor = next(&mut watch(&server, &token, "").await.unwrap()).await.cursor;
    }
    let (position, seconds) = cursor.trim_start_matches("r1-").split_once('-').unwrap();
    let mut position: i64 = position.parse().unwrap();
    let now = server.database.time(server.clock.now());
    let later = server.database.time(server.clock.now() + Duration::from_hours(24));
    // Several times, since it may just have looked by itself.
    for _ in 0..5 {
        let change = format!("VALUES ('signing_keys_changed', {now}, {later})");
        server
            .database
            .execute(&format!("INSERT INTO changes (kind, create_time, expire_time) {change}"))
            .await;
        position += 1;
        let cursor = format!("r1-{position}-{seconds}");
        assert!(!next(&mut watch(&server, &token, &cursor).await.unwrap()).await.reset, "{cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_everybodys_place_to_watch() {
    // S62
    let server = watchable(Kind::Sqlite).await;
    let token = server.register().await.access_token;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(watch(&server, &token, "").await.unwrap());
    }
    expect_status(watch(&server, &token, "").await.map(drop), Code::ResourceExhausted, "OVERLOADED");
    let other = server.register_as("other@example.com").await.access_token;
    next(&mut watch(&server, &other, "").await.unwrap()).await;
    streams.pop();
    let again = async {
        while watch(&server, &token, "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, again).await.expect("there is a place again");
}

on_both! {
    async fn a_watch_does_not_hold_the_exit_up(database: Kind) {
        let server = watchable(database).await;
        let tokens = server.register().await;
        let mut stream = watch(&server, &tokens.access_token, "").await.unwrap();
        next(&mut stream).await;
        let stopped = tokio::spawn(server.stop());
        let status = loop {
            match timeout(SOON, stream.message()).await.expect("it ends") {
                Ok(Some(_)) => {}
                Ok(None) => panic!("without a status"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::Unavailable);
        timeout(SOON, stopped).await.expect("it stops").unwrap();
    }
}
