//! `store::rate_windows`

use std::time::Duration;

use countersign::{store::rate_windows, types::Time};
use tokio::task::yield_now;

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest},
};

impl Fixture {
    async fn times(&self, number: u16) -> Vec<Time> {
        rate_windows::find(&mut self.conn().await, digest(number)).await.unwrap()
    }

    async fn set_times(&self, number: u16, times: &[Time], expire_time: Time) {
        let set = self.write(async |tx| {
            rate_windows::lock(tx, digest(number), at(0)).await?;
            rate_windows::set(tx, digest(number), times, expire_time).await
        });
        assert_eq!(set.await, 1);
    }
}

on_both! {
    async fn the_times_of_a_key_are_read_as_they_were_set(database: Kind) {
        let fixture = Fixture::new(database).await;
        assert_eq!(fixture.times(1).await, []);
        let times = [Time::from_micros(-1), at(0), at(0), at(1) + Duration::from_micros(1)];
        fixture.set_times(1, &times, at(60)).await;
        fixture.set_times(2, &[at(7)], at(60)).await;
        assert_eq!(fixture.times(1).await, times);
        // Locking changes nothing.
        assert_eq!(fixture.write(async |tx| rate_windows::lock(tx, digest(1), at(9)).await).await, times);
        assert_eq!(fixture.times(1).await, times);
        assert_eq!(fixture.write(async |tx| rate_windows::sweep(tx, at(60), 10).await).await, 0);
        fixture.set_times(1, &[], at(61)).await;
        assert_eq!((fixture.times(1).await, fixture.times(2).await), (vec![], vec![at(7)]));
        // Without a lock there may be no row.
        assert_eq!(fixture.write(async |tx| rate_windows::set(tx, digest(3), &times, at(60)).await).await, 0);
    }
}

on_both! {
    async fn a_key_is_locked_even_if_it_has_no_times_yet(database: Kind) {
        // S12, S13: who counts at the same time waits, and none is lost.
        let fixture = Fixture::new(database).await;
        fixture.set_times(2, &[], at(0)).await;
        for key in [1, 2].map(digest) {
            fixture
                .at_once(40, async |tx, number| {
                    let mut times = rate_windows::lock(tx, key, at(0)).await?;
                    yield_now().await;
                    times.push(at(i64::from(number)));
                    rate_windows::set(tx, key, &times, at(60)).await
                })
                .await;
        }
        for number in [1, 2] {
            let mut times = fixture.times(number).await;
            times.sort_unstable();
            assert_eq!(times, (0..40).map(at).collect::<Vec<_>>(), "{number}");
        }
    }
}

on_both! {
    async fn a_lock_that_is_undone_leaves_nothing(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut tx = fixture.store.begin().await.unwrap();
        assert_eq!(rate_windows::lock(&mut tx, digest(1), at(0)).await.unwrap(), []);
        tx.rollback().await.unwrap();
        assert_eq!(fixture.count("rate_windows").await, 0);
    }
}

on_both! {
    async fn keys_whose_span_is_over_are_swept_in_batches(database: Kind) {
        let fixture = Fixture::new(database).await;
        for number in 0..7 {
            let seconds = i64::from(number);
            fixture.set_times(number, &[at(seconds - 60)], at(seconds)).await;
        }
        assert_eq!(fixture.batches(async |tx| rate_windows::sweep(tx, at(5), 2).await).await, [2, 2, 1]);
        assert_eq!(fixture.count("rate_windows").await, 2);
        for number in [5, 6] {
            assert_eq!(fixture.times(number).await.len(), 1, "{number}");
        }
    }
}
