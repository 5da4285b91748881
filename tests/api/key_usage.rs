//! When API keys were last used, which is written down later.

use std::time::Duration;

use countersign::api::pb::CredentialStatus as S;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::{sleep, timeout};

use crate::{
    common::Kind,
    keys::get,
    on_both,
    support::{Server, Setup, after_start},
};

on_both! {
    async fn the_last_use_is_written_in_batches_and_at_the_latest_at_the_end(database: Kind) {
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read").start().await;
        let token = server.register().await.access_token;
        let (used, unused) = (server.create_key(&token, &[]).await, server.create_key(&token, &[]).await);
        let (used_id, unused_id) = (used.key.unwrap().id, unused.key.unwrap().id);
        for _ in 0..3 {
            server.advance(1);
            server.validate(&used.secret).await;
        }
        server.advance(1);
        // What was not found valid was not used.
        assert_eq!(server.validate_for(&unused.secret, &["read"]).await.status(), S::InsufficientScope);
        let server = server.restart().await;
        assert_eq!(get(&server, &token, &used_id).await.unwrap().last_used_time, Some(after_start(3)));
        assert_eq!(get(&server, &token, &unused_id).await.unwrap().last_used_time, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_key_that_is_locked_for_a_while_is_written_later() {
    let server = Server::start(Kind::Postgres).await;
    let token = server.register().await.access_token;
    let key = server.create_key(&token, &[]).await;
    let key_id = key.key.unwrap().id;
    let mut other = AsyncPgConnection::establish(&server.database.url).await.unwrap();
    other.batch_execute("BEGIN; UPDATE api_keys SET name = name").await.unwrap();
    server.advance(1);
    server.validate(&key.secret).await;

    // A batch begins within ten seconds, and soon gives up.
    let waiting =
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for waits in [true, false] {
        let state = async {
            while server.database.query_text(waiting).await.is_empty() == waits {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_mins(1), state).await.expect("a batch that waits for the lock, and gives up");
    }
    other.batch_execute("ROLLBACK").await.unwrap();
    let server = server.restart().await;
    assert_eq!(get(&server, &token, &key_id).await.unwrap().last_used_time, Some(after_start(1)));
}
