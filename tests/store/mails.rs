//! `store::mails`

use std::time::Duration;

use countersign::{
    store::mails::{self, Mail},
    types::MailId,
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, expect_conflict, mail, same},
};

impl Fixture {
    /// A mail that is due so many seconds after `NOW`.
    async fn mail(&self, seconds: i64) -> Mail {
        let mail = mail(seconds);
        self.write(async |tx| mails::insert(tx, &mail).await).await;
        mail
    }

    /// All that are not dead, those due first at the beginning.
    async fn living(&self) -> Vec<Mail> {
        mails::list_due(&mut self.conn().await, at(1_000_000), 100).await.unwrap()
    }

    async fn claim(&self, mail: &Mail, seconds: i64) -> Option<Mail> {
        self.write(async |tx| mails::claim(tx, mail, at(seconds)).await).await
    }
}

on_both! {
    async fn a_mail_is_read_as_it_was_written(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut full = mail(0);
        full.due_time = at(0) + Duration::from_micros(1);
        full.attempts = i32::MAX;
        full.payload_sealed = Some("v4.local.".repeat(2000));
        let mut bare = mail(1);
        bare.payload_sealed = None;
        for mail in [&full, &bare] {
            fixture.write(async |tx| mails::insert(tx, mail).await).await;
            expect_conflict(&fixture.store.tx(async |tx| mails::insert(tx, mail).await).await);
        }
        same(fixture.living().await, [full, bare]);
    }
}

on_both! {
    async fn what_is_due_is_listed_longest_due_first(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (third, first) = (fixture.mail(-1).await, fixture.mail(-3).await);
        let (fourth, later) = (fixture.mail(0).await, fixture.mail(1).await);
        let second = fixture.mail(-2).await;
        let mut conn = fixture.conn().await;
        let due = mails::list_due(&mut conn, at(0), 100).await.unwrap();
        same(&due, [&first, &second, &third, &fourth]);
        same(mails::list_due(&mut conn, at(0), 2).await.unwrap(), &due[..2]);
        let just_before = mails::list_due(&mut conn, later.due_time - Duration::from_micros(1), 100).await.unwrap();
        same(just_before, &due);
        assert_eq!(mails::list_due(&mut conn, later.due_time, 100).await.unwrap().len(), 5);
    }
}

on_both! {
    async fn of_those_due_at_the_same_time_the_oldest_is_first(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut oldest_first = Vec::new();
        for seconds in [3, 1, 2] {
            let mut mail = mail(0);
            mail.id = MailId::generate(at(seconds));
            fixture.write(async |tx| mails::insert(tx, &mail).await).await;
            oldest_first.push(mail);
        }
        oldest_first.sort_by_key(|mail| mail.id);
        same(fixture.living().await, oldest_first);
    }
}

on_both! {
    async fn of_forty_who_claim_a_mail_at_once_one_wins(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (mail, other) = (fixture.mail(0).await, fixture.mail(-1).await);
        let claims = fixture.at_once(40, async |tx, number| {
            mails::claim(tx, &mail, at(120 + i64::from(number))).await
        });
        let mut won: Vec<_> = claims.await.into_iter().flatten().collect();
        let claimed = won.pop().unwrap();
        assert_eq!(won.len(), 0);
        assert_eq!(claimed.attempts, 1);
        same(&fixture.living().await, [&other, &claimed]);
        // Nobody sees it before the claim is over.
        let mut conn = fixture.conn().await;
        same(mails::list_due(&mut conn, at(119), 100).await.unwrap(), [&other]);
        assert_eq!(mails::list_due(&mut conn, claimed.due_time, 100).await.unwrap().len(), 2);
    }
}

on_both! {
    async fn who_has_the_claim_decides_what_becomes_of_the_mail(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (mail, other) = (fixture.mail(0).await, fixture.mail(500).await);
        let claimed = fixture.claim(&mail, 120).await.unwrap();
        assert!(fixture.write(async |tx| mails::set_payload(tx, &claimed, "v4.local.other").await).await);
        assert!(fixture.write(async |tx| mails::postpone(tx, &claimed, at(5)).await).await);
        let expected = Mail {
            attempts: 1,
            due_time: at(5),
            payload_sealed: Some("v4.local.other".to_owned()),
            ..mail
        };
        same(&fixture.living().await, [&expected, &other]);

        // S37: what is given up is forgotten, and never sent.
        let claimed = fixture.claim(&expected, 240).await.unwrap();
        assert!(fixture.write(async |tx| mails::bury(tx, &claimed, at(300)).await).await);
        same(fixture.living().await, [&other]);
        let dead = "mails WHERE payload_sealed IS NULL AND attempts = 2 AND dead_time IS NOT NULL";
        assert_eq!(fixture.count(dead).await, 1);
    }
}

on_both! {
    async fn who_had_the_claim_before_decides_nothing(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mail = fixture.mail(0).await;
        let stale = fixture.claim(&mail, 120).await.unwrap();
        let current = fixture.claim(&stale, 240).await.unwrap();
        assert_eq!(current.attempts, 2);
        for stale in [&mail, &stale] {
            assert!(fixture.claim(stale, 999).await.is_none());
            assert!(!fixture.write(async |tx| mails::set_payload(tx, stale, "stale").await).await);
            assert!(!fixture.write(async |tx| mails::postpone(tx, stale, at(999)).await).await);
            assert!(!fixture.write(async |tx| mails::bury(tx, stale, at(999)).await).await);
            same(fixture.living().await, [&current]);
        }
    }
}

on_both! {
    async fn a_delivered_mail_has_no_row(database: Kind) {
        // S37
        let fixture = Fixture::new(database).await;
        let (mail, other) = (fixture.mail(0).await, fixture.mail(1).await);
        let claimed = fixture.claim(&mail, 120).await.unwrap();
        assert_eq!(fixture.write(async |tx| mails::delete(tx, mail.id).await).await, 1);
        assert_eq!(fixture.write(async |tx| mails::delete(tx, mail.id).await).await, 0);
        same(fixture.living().await, [&other]);
        assert!(fixture.claim(&claimed, 240).await.is_none());
        assert!(!fixture.write(async |tx| mails::set_payload(tx, &claimed, "late").await).await);
        assert!(!fixture.write(async |tx| mails::postpone(tx, &claimed, at(5)).await).await);
        assert!(!fixture.write(async |tx| mails::bury(tx, &claimed, at(5)).await).await);
        assert_eq!(fixture.count("mails").await, 1);
    }
}

on_both! {
    async fn those_given_up_before_a_time_are_swept_in_batches_and_no_others(database: Kind) {
        let fixture = Fixture::new(database).await;
        for seconds in 0..7 {
            let claimed = fixture.claim(&fixture.mail(0).await, 120).await.unwrap();
            fixture.write(async |tx| mails::bury(tx, &claimed, at(seconds)).await).await;
        }
        // However long it has been waiting.
        let waiting = fixture.mail(-1_000_000).await;
        assert_eq!(fixture.batches(async |tx| mails::sweep(tx, at(5), 2).await).await, [2, 2, 1]);
        assert_eq!(fixture.count("mails WHERE dead_time IS NOT NULL").await, 2);
        same(fixture.living().await, [waiting]);
    }
}
