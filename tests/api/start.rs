//! Starting: which setting a failure is blamed on, and which are refused.

use std::time::Duration;

use countersign::{
    app::{self, StartError},
    domain::MAX_ACCESS_TTL,
    types::Clock,
};
use tokio::net::TcpListener;

use crate::{common::Kind, support::Setup};

const CANARY: &str = "canary-in-the-coal-mine";

/// Migrates with this as `database.direct_url`, and says why that fails.
async fn failure(direct_url: &str) -> StartError {
    let config = Setup::new(Kind::Postgres).await.set("DATABASE__DIRECT_URL", direct_url).config();
    let migrated = async {
        let store = app::connect(&config, Clock::System).await?;
        app::ready_schema(&config, &store).await
    };
    migrated.await.expect_err(direct_url)
}

async fn expect_direct_url(direct_url: &str) {
    let error = failure(direct_url).await;
    assert!(error.to_string().starts_with("database.direct_url: "), "{error}");
    // S57
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_url_that_cannot_be_read_is_named() {
    expect_direct_url(&format!("postgres://postgres:{CANARY}@127.0.0.1/auth?sslmode=verify-fool")).await;
    expect_direct_url(&format!("postgres://postgres:{CANARY}@127.0.0.1:port/auth")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_url_that_leads_nowhere_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    expect_direct_url(&format!("postgres://postgres:{CANARY}@{closed}/auth")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_may_outlive_what_replicas_are_told_of_its_end() {
    // S19, S28
    let setup = async |ttl: Duration| {
        Setup::new(Kind::Sqlite).await.set("TOKENS__ACCESS_TTL", &format!("{}s", ttl.as_secs()))
    };
    assert_eq!(setup(MAX_ACCESS_TTL).await.config().tokens.access_ttl, MAX_ACCESS_TTL);
    assert!(setup(MAX_ACCESS_TTL + Duration::from_secs(1)).await.load().is_err());
}
