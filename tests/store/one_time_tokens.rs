//! `store::one_time_tokens`

use std::time::Duration;

use countersign::{
    store::{
        one_time_tokens::{
            self,
            Purpose::{ChangeEmail, ResetPassword, VerifyEmail},
        },
        users,
    },
    types::{Digest, UserId},
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest, expect_conflict, expect_refusal, one_time_token, same},
};

/// Which of the tokens 0 to 9 there are for a purpose.
async fn numbers(fixture: &Fixture, purpose: one_time_tokens::Purpose) -> Vec<u16> {
    let (mut conn, mut found) = (fixture.conn().await, Vec::new());
    for number in 0..10 {
        if one_time_tokens::find(&mut conn, purpose, digest(number)).await.unwrap().is_some() {
            found.push(number);
        }
    }
    found
}

on_both! {
    async fn a_token_is_found_as_it_was_written_and_for_its_purpose_alone(database: Kind) {
        // S37
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let mut token = one_time_token(ann.id, 1);
        "\"Größe\" <ann@example.com>; --".clone_into(&mut token.email);
        token.expire_time = at(60) + Duration::from_micros(1);
        let mut conn = fixture.conn().await;
        for purpose in [VerifyEmail, ResetPassword, ChangeEmail] {
            fixture.write(async |tx| one_time_tokens::insert(tx, purpose, &token).await).await;
            for other in [VerifyEmail, ResetPassword, ChangeEmail] {
                let found = one_time_tokens::find(&mut conn, other, token.digest).await.unwrap();
                assert_eq!(found.is_some(), purpose == other, "{purpose:?} {other:?}");
            }
            let found = one_time_tokens::find(&mut conn, purpose, token.digest).await.unwrap().unwrap();
            assert_eq!(found.digest, token.digest);
            same(found, &token);
            assert!(one_time_tokens::find(&mut conn, purpose, digest(2)).await.unwrap().is_none());
            assert!(fixture.write(async |tx| one_time_tokens::take(tx, token.digest).await).await);
        }
    }
}

on_both! {
    async fn a_newer_token_voids_the_users_older_one_for_the_same_purpose(database: Kind) {
        // S39
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        for (user, purpose, number) in
            [(&ann, VerifyEmail, 1), (&ann, ResetPassword, 2), (&bob, VerifyEmail, 3), (&ann, VerifyEmail, 4)]
        {
            let token = one_time_token(user.id, number);
            fixture.write(async |tx| one_time_tokens::insert(tx, purpose, &token).await).await;
        }
        assert_eq!(numbers(&fixture, VerifyEmail).await, [3, 4]);
        assert_eq!(numbers(&fixture, ResetPassword).await, [2]);
        // One that does not come about voids none.
        let same_digest = one_time_token(ann.id, 3);
        let refused = fixture.store.tx(async |tx| one_time_tokens::insert(tx, ResetPassword, &same_digest).await);
        expect_conflict(&refused.await);
        let orphan = one_time_token(UserId::generate(at(0)), 5);
        expect_refusal(&fixture.store.tx(async |tx| one_time_tokens::insert(tx, VerifyEmail, &orphan).await).await);
        assert_eq!(numbers(&fixture, ResetPassword).await, [2]);
        assert_eq!(fixture.count("one_time_tokens").await, 3);
    }
}

on_both! {
    async fn of_forty_who_take_a_token_at_once_one_wins(database: Kind) {
        // S37
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        for (purpose, number) in [(VerifyEmail, 1), (ResetPassword, 2)] {
            let token = one_time_token(ann.id, number);
            fixture.write(async |tx| one_time_tokens::insert(tx, purpose, &token).await).await;
        }
        let taken = fixture.at_once(40, async |tx, _| one_time_tokens::take(tx, digest(1)).await).await;
        assert_eq!(taken.iter().filter(|won| **won).count(), 1);
        assert_eq!(numbers(&fixture, VerifyEmail).await, [0; 0]);
        assert_eq!(numbers(&fixture, ResetPassword).await, [2]);
    }
}

on_both! {
    async fn a_take_that_is_undone_leaves_the_token(database: Kind) {
        let fixture = Fixture::new(database).await;
        let token = one_time_token(fixture.user("ann").await.id, 1);
        fixture.write(async |tx| one_time_tokens::insert(tx, VerifyEmail, &token).await).await;
        let mut tx = fixture.store.begin().await.unwrap();
        assert!(one_time_tokens::take(&mut tx, token.digest).await.unwrap());
        assert!(!one_time_tokens::take(&mut tx, token.digest).await.unwrap());
        tx.rollback().await.unwrap();
        assert!(fixture.write(async |tx| one_time_tokens::take(tx, token.digest).await).await);
    }
}

on_both! {
    async fn a_users_tokens_are_void_for_the_purposes_that_are_named(database: Kind) {
        // S39
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut number = 0;
        for user in [&ann, &bob] {
            for purpose in [VerifyEmail, ResetPassword, ChangeEmail] {
                let token = one_time_token(user.id, number);
                fixture.write(async |tx| one_time_tokens::insert(tx, purpose, &token).await).await;
                number += 1;
            }
        }
        for (purposes, expected) in [(&[][..], 0), (&[ResetPassword, ChangeEmail], 2), (&[ResetPassword], 0)] {
            let voided = fixture.write(async |tx| one_time_tokens::void(tx, ann.id, purposes).await).await;
            assert_eq!(voided, expected, "{purposes:?}");
        }
        assert_eq!(numbers(&fixture, VerifyEmail).await, [0, 3]);
        assert_eq!(numbers(&fixture, ResetPassword).await, [4]);
        assert_eq!(numbers(&fixture, ChangeEmail).await, [5]);
    }
}

on_both! {
    async fn with_an_account_go_its_tokens(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        for (user, number) in [(&ann, 1), (&bob, 2)] {
            let token = one_time_token(user.id, number);
            fixture.write(async |tx| one_time_tokens::insert(tx, ResetPassword, &token).await).await;
        }
        fixture.write(async |tx| users::delete(tx, ann.id).await).await;
        assert_eq!(numbers(&fixture, ResetPassword).await, [2]);
        assert_eq!(fixture.count("one_time_tokens").await, 1);
    }
}

on_both! {
    async fn those_that_expired_before_a_time_are_swept_in_batches(database: Kind) {
        let fixture = Fixture::new(database).await;
        for number in 0..7_u16 {
            let mut token = one_time_token(fixture.user(&format!("user{number}")).await.id, number);
            token.expire_time = at(i64::from(number));
            fixture.write(async |tx| one_time_tokens::insert(tx, VerifyEmail, &token).await).await;
        }
        assert_eq!(fixture.batches(async |tx| one_time_tokens::sweep(tx, at(5), 2).await).await, [2, 2, 1]);
        assert_eq!(numbers(&fixture, VerifyEmail).await, [5, 6]);
    }
}

on_both! {
    async fn what_is_not_there_is_none(database: Kind) {
        let fixture = Fixture::new(database).await;
        let none: Digest = digest(9);
        assert!(one_time_tokens::find(&mut fixture.conn().await, VerifyEmail, none).await.unwrap().is_none());
        assert!(!fixture.write(async |tx| one_time_tokens::take(tx, none).await).await);
        let nobody = UserId::generate(at(0));
        assert_eq!(fixture.write(async |tx| one_time_tokens::void(tx, nobody, &[VerifyEmail]).await).await, 0);
        assert_eq!(fixture.write(async |tx| one_time_tokens::sweep(tx, at(0), 10).await).await, 0);
    }
}
