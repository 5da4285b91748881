//! `store::password_failures`

use countersign::store::password_failures;

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest},
};

impl Fixture {
    /// How many failures are counted under this number, and how many seconds after `NOW` the last one was.
    async fn failures(&self, number: u16) -> Option<(i32, i64)> {
        let found = password_failures::find(&mut self.conn().await, digest(number)).await.unwrap()?;
        Some((found.failures, (found.last_failure_time.micros() - at(0).micros()) / 1_000_000))
    }

    async fn fail(&self, number: u16, seconds: i64) -> i32 {
        self.write(async |tx| password_failures::add(tx, digest(number), at(seconds)).await).await
    }
}

on_both! {
    async fn failures_are_counted_for_whatever_address_until_it_begins_anew(database: Kind) {
        // S9: nothing asks whether it has an account.
        let fixture = Fixture::new(database).await;
        assert_eq!(fixture.failures(1).await, None);
        for (number, seconds, count) in [(1, 0, 1), (1, 5, 2), (2, 6, 1), (1, 7, 3)] {
            assert_eq!(fixture.fail(number, seconds).await, count);
            assert_eq!(fixture.failures(number).await, Some((count, seconds)));
        }
        let found = password_failures::find(&mut fixture.conn().await, digest(1)).await.unwrap().unwrap();
        assert_eq!(found.last_failure_time, at(7), "to the microsecond");

        assert_eq!(fixture.write(async |tx| password_failures::clear(tx, digest(1)).await).await, 1);
        assert_eq!(fixture.write(async |tx| password_failures::clear(tx, digest(1)).await).await, 0);
        assert_eq!((fixture.failures(1).await, fixture.failures(2).await), (None, Some((1, 6))));
        assert_eq!(fixture.fail(1, 8).await, 1);
    }
}

on_both! {
    async fn of_forty_failures_at_once_none_is_lost(database: Kind) {
        // S10
        let fixture = Fixture::new(database).await;
        let mut counts =
            fixture.at_once(40, async |tx, _| password_failures::add(tx, digest(1), at(0)).await).await;
        counts.sort_unstable();
        assert_eq!(counts, (1..=40).collect::<Vec<_>>());
        assert_eq!(fixture.failures(1).await, Some((40, 0)));
    }
}

on_both! {
    async fn old_ones_are_swept_in_batches_but_those_that_switched_a_password_off(database: Kind) {
        // S8
        let fixture = Fixture::new(database).await;
        for number in 0..7 {
            fixture.fail(number, i64::from(number)).await;
        }
        for (number, count) in [(10, 3), (11, 4), (12, 5)] {
            for _ in 0..count {
                fixture.fail(number, 0).await;
            }
        }
        let swept = fixture.batches(async |tx| password_failures::sweep(tx, 4, at(5), 2).await).await;
        assert_eq!(swept, [2, 2, 2]);
        for number in (0..5).chain([10]) {
            assert_eq!(fixture.failures(number).await, None, "{number}");
        }
        for (number, left) in [(5, (1, 5)), (6, (1, 6)), (11, (4, 0)), (12, (5, 0))] {
            assert_eq!(fixture.failures(number).await, Some(left), "{number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_one_that_is_counted_while_it_is_swept_stays() {
    // S10
    let fixture = Fixture::new(Kind::Postgres).await;
    fixture.fail(1, 0).await;
    let mut counting = fixture.store.begin().await.unwrap();
    assert_eq!(password_failures::add(&mut counting, digest(1), at(100)).await.unwrap(), 2);
    let store = fixture.store.clone();
    let sweep = async move { store.tx(async |tx| password_failures::sweep(tx, 100, at(50), 10).await).await };
    let sweep = tokio::spawn(sweep);
    fixture.somebody_waits().await;
    counting.commit().await.unwrap();
    assert_eq!(sweep.await.unwrap().unwrap(), 0);
    assert_eq!(fixture.failures(1).await, Some((2, 100)));
}
