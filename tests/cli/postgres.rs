//! The program on PostgreSQL: with few rights, and while somebody else migrates.

use std::{
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use rustix::process::Signal;

use super::{LOGIN, Place, REGISTER, account, signal};
use crate::common::{Database, Kind};

/// Within this a start that is told to end ends. It waits for a lock for ever, and for an answer for five seconds.
const SOON: Duration = Duration::from_secs(20);

async fn tables(database: &Database) -> Vec<String> {
    database.query_text("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_change_the_schema_serves_what_an_admin_migrated() {
    let database = Database::create(Kind::Postgres).await;
    let (server, name) = database.url.rsplit_once('/').unwrap();
    let role = format!("only_data_in_{name}");
    database.execute(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")).await;
    let without_migrating = |url: String| {
        Place::on(&database)
            .set("COUNTERSIGN_DATABASE__MIGRATE_ON_START", "false")
            .set("COUNTERSIGN_DATABASE__URL", url)
    };
    let admin = without_migrating(database.url.clone());
    let (_, host) = server.rsplit_once('@').unwrap();
    let service = without_migrating(format!("postgres://{role}@{host}/{name}"));

    for place in [&service, &admin] {
        let check = place.run(&["migrate", "--check"]);
        assert_eq!((check.code, check.stdout.is_empty()), (Some(1), false), "{check:?}");
        place.run(&["serve"]).expect_complaint(69, &["migrations are pending"]);
        assert_eq!(tables(&database).await, Vec::<String>::new());
    }
    assert_eq!(service.run(&["migrate"]).code, Some(69));

    let migrated = admin.run(&["migrate"]);
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    let data = "SELECT, INSERT, UPDATE, DELETE";
    database.execute(&format!("GRANT {data} ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let check = service.run(&["migrate", "--check"]);
    assert_eq!(check.code, Some(0), "{check:?}");
    let running = service.serve();
    assert_eq!(running.post(REGISTER, &account()).0, 200);
    assert_eq!(running.post(LOGIN, &account()).0, 200);
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_anothers_migrations_heeds_signals() {
    for stop in [Signal::TERM, Signal::INT] {
        // The server notices only later that a session which waits was left.
        let database = Database::create(Kind::Postgres).await;
        let mut other = AsyncPgConnection::establish(&database.url).await.unwrap();
        other.batch_execute("SELECT pg_advisory_lock(27993109412931438)").await.unwrap();
        let waiting = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
        let mut service = Place::on(&database).start();
        let begin = Instant::now();
        while database.query_text(waiting).await.is_empty() {
            assert!(begin.elapsed() < super::LONG, "it does not wait for the lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        signal(service.child.id(), stop);
        // The log ends with the process.
        let end = loop {
            match service.lines.recv_timeout(SOON) {
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        assert_eq!(end, RecvTimeoutError::Disconnected, "it goes on after {stop:?}");
        assert_eq!(service.code(), Some(130));
    }
}
