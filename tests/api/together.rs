//! Whatever is done at the same time, each call succeeds or is refused for a reason: none runs into another.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use countersign::api::pb::{self, CredentialStatus as S};
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, bearer, reason},
};

type Call<'a> = Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'a>>;

/// Everything that a user can do with a session and a key, some of it twice.
fn everything<'a>(server: &'a Server, tokens: &'a pb::TokenResponse, key_id: &'a str) -> Vec<Call<'a>> {
    let token = tokens.access_token.as_str();
    macro_rules! call {
        ($client:ident.$rpc:ident($message:expr)) => {
            Box::pin(async move { server.$client().$rpc(bearer(token, $message)).await.map(|_| ()) })
                as Call<'a>
        };
    }
    let update =
        pb::UpdateKeyRequest { key_id: key_id.to_owned(), name: Some("x".to_owned()), ..Default::default() };
    let rotate = || pb::RotateKeyRequest { key_id: key_id.to_owned(), grace_period: None };
    let create = || pb::CreateKeyRequest { name: "x".to_owned(), ..Default::default() };
    vec![
        Box::pin(async move { server.refresh(&tokens.refresh_token).await.map(|_| ()) }),
        Box::pin(async move { server.login(EMAIL, PASSWORD).await.map(|_| ()) }),
        call!(keys.rotate_key(rotate())),
        call!(keys.update_key(update)),
        call!(keys.create_key(create())),
        call!(keys.list_keys(pb::ListKeysRequest::default())),
        call!(auth.update_me(pb::UpdateMeRequest { name: Some("x".to_owned()), ..Default::default() })),
        Box::pin(async move { server.change_password(token, PASSWORD, PASSWORD).await }),
        call!(auth.list_sessions(pb::ListSessionsRequest::default())),
        call!(keys.rotate_key(rotate())),
        Box::pin(async move { server.refresh(&tokens.refresh_token).await.map(|_| ()) }),
        call!(auth.revoke_all_sessions(pb::RevokeAllSessionsRequest { keep_current: true })),
        call!(keys.create_key(create())),
        call!(keys.revoke_key(pb::RevokeKeyRequest { key_id: key_id.to_owned() })),
        Box::pin(async move { server.logout(token).await }),
    ]
}

on_both! {
    async fn no_call_fails_for_another(database: Kind) {
        let server = Server::start(database).await;
        server.register().await;
        for round in 0..4 {
            let mut users = Vec::new();
            for _ in 0..4 {
                let tokens = server.login(EMAIL, PASSWORD).await.unwrap();
                let key = server.create_key(&tokens.access_token, &[]).await;
                users.push((tokens, key));
            }
            let mut calls = Vec::new();
            for (tokens, key) in &users {
                calls.extend(everything(&server, tokens, &key.key.as_ref().unwrap().id));
            }
            if round == 3 {
                let message = || pb::DeleteMeRequest { password: Some(PASSWORD.to_owned()) };
                let token = users[0].0.access_token.as_str();
                let server = &server;
                let delete =
                    async move { server.auth().delete_me(bearer(token, message())).await.map(|_| ()) };
                calls.insert(9, Box::pin(delete));
            }
            for (at, answer) in join_all(calls).await.into_iter().enumerate() {
                let Err(status) = answer else { continue };
                let refused = matches!(
                    status.code(),
                    Code::Unauthenticated | Code::NotFound | Code::InvalidArgument
                );
                assert!(refused && !reason(&status).is_empty(), "round {round}, call {at}: {status:?}");
            }
            for (tokens, _) in &users {
                assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked);
            }
        }
    }
}

/// With so many callers the connections never rest, and whoever waits for one is always beset by newcomers.
const CALLERS: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_shares_few_connections_fairly() {
    let server = Setup::new(Kind::Postgres).await.set("DATABASE__MAX_CONNECTIONS", "4").start().await;
    let mut tokens = Vec::new();
    for user in 0..30 {
        tokens.push(server.register_as(&format!("user{user}@example.com")).await.access_token);
    }
    // Each holds its connection for a while.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN PERFORM pg_sleep(0.04); RETURN NEW; END'; \
        CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()";
    server.database.execute(slow).await;
    let message = || pb::UpdateMeRequest { name: Some("x".to_owned()), update_mask: None };
    // Longer than anybody waits for a connection, which is five seconds.
    let end = Instant::now() + Duration::from_secs(12);
    let callers = (0..CALLERS).map(async |caller| {
        let token = &tokens[caller % tokens.len()];
        let mut auth = server.auth();
        let mut calls = 0;
        while Instant::now() < end {
            let answer = auth.update_me(bearer(token, message())).await;
            answer.unwrap_or_else(|status| panic!("caller {caller}, after {calls} calls: {status:?}"));
            calls += 1;
        }
        calls
    });
    let calls: Vec<usize> = join_all(callers).await;
    assert!(calls.iter().all(|calls| *calls > 1), "{calls:?}");
}
