//! `Tx::after_commit`

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use countersign::{
    store::{Error, sessions, users},
    types::UserId,
};
use tokio::sync::Barrier;

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, expect_conflict, expect_refusal, session, user},
    transactions::expect_usable,
};

/// What was done after commits, in the order in which it was done.
#[derive(Clone, Default)]
struct Done(Arc<Mutex<Vec<u8>>>);

impl Done {
    fn note(&self, what: u8) -> impl FnOnce() + Send + use<> {
        let done = self.0.clone();
        move || done.lock().unwrap().push(what)
    }

    fn all(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

on_both! {
    async fn what_is_to_be_done_after_a_commit_is_done_once_and_in_order(database: Kind) {
        let fixture = Fixture::new(database).await;
        let done = Done::default();
        let mut tx = fixture.store.begin().await.unwrap();
        tx.after_commit(done.note(1));
        users::insert(&mut tx, &user("ann")).await.unwrap();
        tx.after_commit(done.note(2));
        assert!(done.all().is_empty());
        tx.commit().await.unwrap();
        assert_eq!(done.all(), [1, 2]);

        let work = fixture.store.tx(async |tx| {
            tx.after_commit(done.note(3));
            users::insert(tx, &user("bob")).await
        });
        work.await.unwrap();
        assert_eq!(done.all(), [1, 2, 3]);
    }
}

on_both! {
    async fn what_is_to_be_done_after_a_commit_is_not_done_without_one(database: Kind) {
        let fixture = Fixture::new(database).await;
        let done = Done::default();
        let mut tx = fixture.store.begin().await.unwrap();
        tx.after_commit(done.note(1));
        tx.rollback().await.unwrap();

        let mut tx = fixture.store.begin().await.unwrap();
        tx.after_commit(done.note(2));
        drop(tx);

        let ann = fixture.user("ann").await;
        let failed: Result<(), Error> = fixture.store.tx(async |tx| {
            tx.after_commit(done.note(3));
            users::insert(tx, &ann).await
        }).await;
        expect_conflict(&failed);

        // One that is cancelled while it works.
        let (store, note) = (fixture.store.clone(), done.note(4));
        let reached = Arc::new(Barrier::new(2));
        let barrier = reached.clone();
        let cancelled = tokio::spawn(async move {
            let work = store.tx(async |tx| {
                tx.after_commit(note);
                barrier.wait().await;
                pending::<Result<(), Error>>().await
            });
            work.await
        });
        reached.wait().await;
        cancelled.abort();
        assert!(cancelled.await.unwrap_err().is_cancelled());

        expect_usable(&fixture.store).await;
        assert!(done.all().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_what_is_to_be_done_after_a_commit_is_not_done_when_that_fails() {
    let fixture = Fixture::new(Kind::Postgres).await;
    // So that it is the commit that finds out.
    let defer = "ALTER TABLE sessions ALTER CONSTRAINT sessions_user_id_fkey DEFERRABLE INITIALLY DEFERRED";
    fixture.database.execute(defer).await;
    let done = Done::default();
    let failed = fixture.store.tx(async |tx| {
        tx.after_commit(done.note(1));
        sessions::insert(tx, &session(UserId::generate(at(0)), 0)).await
    });
    expect_refusal(&failed.await);
    assert!(done.all().is_empty());
    assert_eq!(fixture.count("sessions").await, 0);
    expect_usable(&fixture.store).await;
}
