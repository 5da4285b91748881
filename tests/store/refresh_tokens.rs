//! `store::refresh_tokens`

use std::sync::Arc;

use countersign::{store::refresh_tokens, types::SessionId};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest, expect_conflict, expect_refusal, refresh_token, same},
};

on_both! {
    async fn a_token_is_read_as_it_was_written(database: Kind) {
        let fixture = Fixture::new(database).await;
        let session = fixture.session(&fixture.user("ann").await, 0).await;
        let unused = fixture.refresh_token(&session, 1).await;
        let mut used = refresh_token(session.id, 2);
        // A session's first has none.
        used.predecessor = None;
        (used.used_time, used.successor_sealed) = (Some(at(1)), Some("v4.local.sealed".to_owned()));
        let mut conn = fixture.conn().await;
        fixture.write(async |tx| refresh_tokens::insert(tx, &used).await).await;
        for token in [unused, used] {
            let read = refresh_tokens::find(&mut conn, token.digest).await.unwrap().unwrap();
            assert_eq!((read.digest, read.predecessor), (token.digest, token.predecessor));
            same(read, &token);
            expect_conflict(&fixture.store.tx(async |tx| refresh_tokens::insert(tx, &token).await).await);
        }
        let orphan = refresh_token(SessionId::generate(at(0)), 3);
        expect_refusal(&fixture.store.tx(async |tx| refresh_tokens::insert(tx, &orphan).await).await);
    }
}

on_both! {
    async fn a_token_is_used_once(database: Kind) {
        // S17
        let fixture = Fixture::new(database).await;
        let session = fixture.session(&fixture.user("ann").await, 0).await;
        let (token, other) = (fixture.refresh_token(&session, 1).await, fixture.refresh_token(&session, 2).await);
        let mut conn = fixture.conn().await;
        assert!(fixture.write(async |tx| refresh_tokens::mark_used(tx, token.digest, at(1), "first").await).await);
        assert!(!fixture.write(async |tx| refresh_tokens::mark_used(tx, token.digest, at(2), "second").await).await);
        let read = refresh_tokens::find(&mut conn, token.digest).await.unwrap().unwrap();
        assert_eq!((read.used_time, read.successor_sealed.as_deref()), (Some(at(1)), Some("first")));
        same(refresh_tokens::find(&mut conn, other.digest).await.unwrap(), Some(&other));
    }
}

on_both! {
    async fn of_forty_who_use_a_token_at_once_one_wins(database: Kind) {
        // S18
        let fixture = Fixture::new(database).await;
        let session = fixture.session(&fixture.user("ann").await, 0).await;
        let token = fixture.refresh_token(&session, 1).await.digest;
        let barrier = Arc::new(tokio::sync::Barrier::new(40));
        let uses: Vec<_> = (0..40)
            .map(|number| {
                let (store, barrier) = (fixture.store.clone(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    let mut tx = store.begin().await.unwrap();
                    let sealed = format!("successor {number}");
                    let won = refresh_tokens::mark_used(&mut tx, token, at(1), &sealed).await.unwrap();
                    tx.commit().await.unwrap();
                    won.then_some(sealed)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for each in uses {
            winners.extend(each.await.unwrap());
        }
        assert_eq!(winners.len(), 1);
        let read = refresh_tokens::find(&mut fixture.conn().await, token).await.unwrap().unwrap();
        assert_eq!(read.successor_sealed, winners.pop());
    }
}

on_both! {
    async fn a_successor_is_forgotten_once_it_was_used(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let (session, other) = (fixture.session(&user, 0).await, fixture.session(&user, 1).await);
        let mut conn = fixture.conn().await;
        for (number, session) in [(1, &session), (2, &session), (3, &session), (4, &other)] {
            let token = fixture.refresh_token(session, number).await;
            assert_eq!(token.predecessor, Some(digest(number - 1)));
            fixture.write(async |tx| refresh_tokens::mark_used(tx, token.digest, at(1), "sealed").await).await;
        }
        fixture.refresh_token(&session, 5).await;
        assert_eq!(fixture.write(async |tx| refresh_tokens::forget_successor(tx, digest(2)).await).await, 1);
        for (number, sealed) in [(1, true), (2, false), (3, true), (4, true), (5, false)] {
            let token = refresh_tokens::find(&mut conn, digest(number)).await.unwrap().unwrap();
            assert_eq!(token.successor_sealed.is_some(), sealed, "{number}");
            // That it was used is not forgotten (S17).
            assert_eq!(token.used_time.is_some(), number != 5, "{number}");
        }
    }
}

on_both! {
    async fn successors_of_tokens_used_before_a_time_are_forgotten(database: Kind) {
        let fixture = Fixture::new(database).await;
        let session = fixture.session(&fixture.user("ann").await, 0).await;
        let mut conn = fixture.conn().await;
        for number in [1, 2, 3] {
            let token = fixture.refresh_token(&session, number).await.digest;
            let used = at(i64::from(number));
            assert!(fixture.write(async |tx| refresh_tokens::mark_used(tx, token, used, "sealed").await).await);
        }
        fixture.refresh_token(&session, 4).await;
        assert_eq!(fixture.write(async |tx| refresh_tokens::forget_successors_before(tx, at(2)).await).await, 1);
        assert_eq!(fixture.write(async |tx| refresh_tokens::forget_successors_before(tx, at(2)).await).await, 0);
        for (number, sealed) in [(1, false), (2, true), (3, true), (4, false)] {
            let token = refresh_tokens::find(&mut conn, digest(number)).await.unwrap().unwrap();
            assert_eq!(token.successor_sealed.is_some(), sealed, "{number}");
            assert_eq!(token.used_time.is_some(), number != 4, "{number}");
        }
    }
}

on_both! {
    async fn what_is_not_there_is_none(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut conn = fixture.conn().await;
        assert!(refresh_tokens::find(&mut conn, digest(9)).await.unwrap().is_none());
        assert!(!fixture.write(async |tx| refresh_tokens::mark_used(tx, digest(9), at(0), "sealed").await).await);
        assert_eq!(fixture.write(async |tx| refresh_tokens::forget_successor(tx, digest(9)).await).await, 0);
    }
}
