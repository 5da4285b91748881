//! Transactions: they last, are undone, wait for each other, and leave nothing behind when they are dropped.

use std::{sync::Arc, time::Duration};

use countersign::{
    store::{Conn, Error, Settings, Store, Tx, api_keys, sessions, users},
    types::Clock,
};
use tokio::{sync::Barrier, time::timeout};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, expect_conflict, same, settings, user},
};

/// Far longer than anything here takes, far shorter than a stuck test.
const SOON: Duration = Duration::from_secs(30);

/// As many transactions as the pool has connections, and more, begin, write and end.
pub async fn expect_usable(store: &Store) {
    for round in 0..2 {
        let mut open = Vec::new();
        for number in 0..10 {
            let store = store.clone();
            open.push(tokio::spawn(async move {
                let mut tx = store.begin().await.unwrap();
                users::insert(&mut tx, &user(&format!("usable{round}-{number}"))).await.unwrap();
                tx.rollback().await.unwrap();
                store.conn().await.unwrap().ping().await.unwrap();
            }));
        }
        for each in open {
            timeout(SOON, each).await.expect("the pool is usable").unwrap();
        }
    }
}

on_both! {
    async fn what_was_committed_is_seen_by_all_and_before_by_none(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = user("ann");
        let mut tx = fixture.store.begin().await.unwrap();
        users::insert(&mut tx, &ann).await.unwrap();
        assert!(users::find(&mut tx, ann.id).await.unwrap().is_some());
        assert!(users::find(&mut fixture.conn().await, ann.id).await.unwrap().is_none());
        tx.commit().await.unwrap();
        assert!(users::find(&mut fixture.conn().await, ann.id).await.unwrap().is_some());
    }
}

on_both! {
    async fn what_was_rolled_back_is_gone(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut tx = fixture.store.begin().await.unwrap();
        users::insert(&mut tx, &user("ann")).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(fixture.count("users").await, 0);
        expect_usable(&fixture.store).await;
    }
}

on_both! {
    async fn work_that_succeeds_lasts_and_work_that_fails_is_undone(database: Kind) {
        let fixture = Fixture::new(database).await;
        let done: Result<u8, Error> = fixture
            .store
            .tx(async |tx| {
                users::insert(tx, &user("ann")).await?;
                Ok(7)
            })
            .await;
        assert_eq!(done.unwrap(), 7);
        // More often than there are connections.
        for _ in 0..20 {
            let failed: Result<(), Error> = fixture
                .store
                .tx(async |tx| {
                    users::insert(tx, &user("bob")).await?;
                    users::insert(tx, &user("ann")).await
                })
                .await;
            expect_conflict(&failed);
        }
        assert_eq!(fixture.count("users").await, 1);
        expect_usable(&fixture.store).await;
    }
}

on_both! {
    async fn what_was_dropped_is_gone(database: Kind) {
        let fixture = Fixture::new(database).await;
        // More of them than there are connections.
        for number in 0..20 {
            let mut tx = fixture.store.begin().await.unwrap();
            users::insert(&mut tx, &user(&format!("dropped{number}"))).await.unwrap();
            drop(tx);
        }
        expect_usable(&fixture.store).await;
        assert_eq!(fixture.count("users").await, 0);
    }
}

on_both! {
    async fn a_task_that_is_aborted_at_any_moment_leaves_nothing(database: Kind) {
        let fixture = Fixture::new(database).await;
        for number in 0..200_u16 {
            let store = fixture.store.clone();
            let task = tokio::spawn(async move {
                loop {
                    let mut tx = store.begin().await.unwrap();
                    let ann = user(&format!("aborted{number}"));
                    users::insert(&mut tx, &ann).await.unwrap();
                    users::set_name(&mut tx, ann.id, "changed", at(1)).await.unwrap();
                    tx.rollback().await.unwrap();
                }
            });
            // So that each is caught elsewhere: waiting, beginning, writing, undoing.
            tokio::time::sleep(Duration::from_micros(u64::from(number) * 37)).await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        expect_usable(&fixture.store).await;
        assert_eq!(fixture.count("users").await, 0);
    }
}

on_both! {
    async fn a_task_that_is_aborted_while_it_waits_for_a_lock_leaves_nothing(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let mut holder = fixture.store.begin().await.unwrap();
        users::lock(&mut holder, ann.id).await.unwrap();
        let waiters: Vec<_> = (0..5)
            .map(|number| {
                let store = fixture.store.clone();
                tokio::spawn(async move {
                    let mut tx = store.begin().await.unwrap();
                    users::insert(&mut tx, &user(&format!("waiter{number}"))).await.unwrap();
                    users::lock(&mut tx, ann.id).await.unwrap();
                    tx.commit().await.unwrap();
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        for waiter in waiters {
            waiter.abort();
            assert!(waiter.await.unwrap_err().is_cancelled());
        }
        holder.commit().await.unwrap();
        expect_usable(&fixture.store).await;
        assert_eq!(fixture.count("users").await, 1);
    }
}

on_both! {
    async fn a_reader_that_is_aborted_leaves_a_usable_connection(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        for number in 0..100_u32 {
            let store = fixture.store.clone();
            let task = tokio::spawn(async move {
                loop {
                    let mut conn = store.conn().await.unwrap();
                    users::find(&mut conn, ann.id).await.unwrap().unwrap();
                    sessions::list(&mut conn, ann.id, at(0), None, 10).await.unwrap();
                }
            });
            tokio::time::sleep(Duration::from_micros(u64::from(number) * 23)).await;
            task.abort();
            let _ = task.await;
        }
        // No answer of an aborted question is taken for that of another.
        let bob = fixture.user("bob").await;
        for _ in 0..20 {
            let mut conn = fixture.conn().await;
            assert_eq!(users::find(&mut conn, bob.id).await.unwrap().unwrap().id, bob.id);
        }
        expect_usable(&fixture.store).await;
    }
}

on_both! {
    async fn a_conflict_leaves_the_connection_usable(database: Kind) {
        let fixture = Fixture::new(database).await;
        fixture.user("ann").await;
        for _ in 0..20 {
            let mut tx = fixture.store.begin().await.unwrap();
            users::insert(&mut tx, &user("bob")).await.unwrap();
            expect_conflict(&users::insert(&mut tx, &user("ann")).await);
            tx.rollback().await.unwrap();
        }
        assert_eq!(fixture.count("users").await, 1);
        expect_usable(&fixture.store).await;
    }
}

/// Reads a name under a lock, waits, and adds a letter to it.
async fn add_letter<L>(store: Store, barrier: Arc<Barrier>, lock: L)
where
    L: AsyncFn(&mut Tx) -> String,
{
    barrier.wait().await;
    let mut tx = store.begin().await.unwrap();
    let name = lock(&mut tx).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let ann =
        users::find_by_email(&mut tx, crate::support::email("ann").normalized()).await.unwrap().unwrap();
    users::set_name(&mut tx, ann.id, &format!("{name}x"), at(1)).await.unwrap();
    tx.commit().await.unwrap();
}

on_both! {
    async fn a_lock_lets_one_transaction_in_at_a_time(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let key = fixture.key(&ann, 0).await;
        let session = fixture.session(&ann, 0).await;
        let name = async move |conn: &mut Conn| users::find(conn, ann.id).await.unwrap().unwrap().name;
        let barrier = Arc::new(Barrier::new(8));
        // The user, the key or the session: whatever is locked, no letter is lost.
        for which in ["user", "key", "session"] {
            fixture.write(async |tx| users::set_name(tx, ann.id, "", at(0)).await).await;
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let barrier = barrier.clone();
                    let lock = async move |tx: &mut Tx| {
                        match which {
                            "user" => return users::lock(tx, ann.id).await.unwrap().unwrap().name,
                            "key" => drop(api_keys::lock(tx, ann.id, key.id).await.unwrap().unwrap()),
                            _ => drop(sessions::touch(tx, session.id, at(1)).await.unwrap().unwrap()),
                        }
                        name(tx).await
                    };
                    tokio::spawn(add_letter(fixture.store.clone(), barrier, lock))
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(name(&mut fixture.conn().await).await, "x".repeat(8), "{which}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_who_gives_way_does_not_wait_for_a_lock_and_the_next_does() {
    let fixture = Fixture::new(Kind::Postgres).await;
    let ann = fixture.user("ann").await;
    // One connection, so that it is the same that waits afterwards.
    let narrow = Settings { max_connections: 1, ..settings(&fixture.database.url) };
    let store = Store::connect(&narrow, Clock::System).await.unwrap();
    let mut holder = fixture.store.begin().await.unwrap();
    users::lock(&mut holder, ann.id).await.unwrap();
    let gave_up = store.tx(async |tx| {
        tx.give_way().await?;
        users::lock(tx, ann.id).await
    });
    let gave_up = timeout(Duration::from_secs(2), gave_up).await.expect("no long wait");
    assert!(matches!(gave_up, Err(Error::Unavailable(_))), "{gave_up:?}");

    let waiter = tokio::spawn(async move { store.tx(async |tx| users::lock(tx, ann.id).await).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiter.is_finished());
    holder.commit().await.unwrap();
    assert!(timeout(SOON, waiter).await.expect("its turn").unwrap().unwrap().is_some());
}

on_both! {
    async fn who_gives_way_still_writes(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let renamed = fixture.write(async |tx| {
            tx.give_way().await?;
            users::set_name(tx, ann.id, "later", at(1)).await
        });
        same(renamed.await, users::find(&mut fixture.conn().await, ann.id).await.unwrap());
        assert_eq!(fixture.count("users WHERE name = 'later'").await, 1);
    }
}

on_both! {
    async fn forty_writers_at_once_all_succeed(database: Kind) {
        let fixture = Fixture::new(database).await;
        let barrier = Arc::new(Barrier::new(40));
        let writers: Vec<_> = (0..40)
            .map(|number| {
                let (store, barrier) = (fixture.store.clone(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    for turn in 0..3 {
                        let mut tx = store.begin().await.unwrap();
                        let ann = user(&format!("writer{number}-{turn}"));
                        // A read first: on SQLite a transaction that only then begins to write may not fail.
                        assert!(users::find(&mut tx, ann.id).await.unwrap().is_none());
                        users::insert(&mut tx, &ann).await.unwrap();
                        tx.commit().await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            timeout(SOON, writer).await.expect("each gets its turn").unwrap();
        }
        assert_eq!(fixture.count("users").await, 120);
    }
}

on_both! {
    async fn readers_do_not_wait_for_a_writer(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let mut tx = fixture.store.begin().await.unwrap();
        users::set_name(&mut tx, ann.id, "later", at(1)).await.unwrap();
        let read = timeout(SOON, async { users::find(&mut fixture.conn().await, ann.id).await });
        assert_eq!(read.await.expect("an answer").unwrap().unwrap().name, ann.name);
        tx.commit().await.unwrap();
    }
}

on_both! {
    async fn who_finds_no_free_connection_is_told_so(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut taken = Vec::new();
        for _ in 0..fixture.store.pool_stats().max {
            taken.push(fixture.conn().await);
        }
        let refused = timeout(SOON, fixture.store.conn()).await.expect("an answer");
        assert!(matches!(refused, Err(Error::Unavailable(_))));
        taken.clear();
        expect_usable(&fixture.store).await;
    }
}
