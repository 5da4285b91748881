//! `Conn::now` and `Conn::ping`

use std::time::Duration;

use countersign::types::Clock;

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at},
};

on_both! {
    async fn a_clock_that_was_set_by_hand_goes_before_the_databases(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut tx = fixture.store.begin().await.unwrap();
        assert_eq!(tx.now().await.unwrap(), at(0));
        fixture.clock.advance(Duration::from_secs(5));
        assert_eq!(tx.now().await.unwrap(), at(5));
    }
}

on_both! {
    async fn otherwise_it_is_the_databases_and_runs_on_within_a_transaction(database: Kind) {
        let fixture = Fixture::with_clock(database, Clock::System).await;
        let mut tx = fixture.store.begin().await.unwrap();
        let first = tx.now().await.unwrap();
        // The cluster is on this machine, so both clocks are one.
        let distance = Clock::System.now().since(first).max(first.since(Clock::System.now()));
        assert!(distance < Duration::from_mins(1), "{distance:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(tx.now().await.unwrap() > first);
    }
}

on_both! {
    async fn a_database_that_answers_says_so(database: Kind) {
        let fixture = Fixture::new(database).await;
        fixture.conn().await.ping().await.unwrap();
    }
}
