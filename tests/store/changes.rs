//! `store::changes`

use std::time::Duration;

use countersign::{
    store::changes::{self, Change},
    types::{KeyId, SessionId, UserId},
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at},
};

on_both! {
    async fn each_kind_of_change_is_recorded_with_its_subject_and_times(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (user, session, key) = (UserId::generate(at(0)), SessionId::generate(at(0)), KeyId::generate(at(0)));
        let all = [
            (Change::SessionEnded(session), "session_ended", session.0),
            (Change::KeyEnded(key), "key_ended", key.0),
            (Change::KeyChanged(key), "key_changed", key.0),
            (Change::UserChanged(user), "user_changed", user.0),
        ];
        fixture.write(async |tx| changes::insert(tx, &[], at(0), at(1)).await).await;
        assert_eq!(fixture.count("changes").await, 0);
        // One, and several at a time.
        let changes = all.map(|(change, ..)| change);
        for changes in [&changes[..1], &changes[1..]] {
            fixture.write(async |tx| changes::insert(tx, changes, at(1), at(1) + Duration::from_mins(1)).await).await;
        }
        let hex = match database {
            Kind::Sqlite => "lower(hex(subject))",
            Kind::Postgres => "replace(CAST(subject AS text), '-', '')",
        };
        let rows = fixture.texts(&format!("SELECT kind || ' ' || {hex} AS value FROM changes ORDER BY id")).await;
        assert_eq!(rows, all.map(|(_, kind, subject)| format!("{kind} {}", subject.simple())));

        // 2027-01-15 08:00:01.123457, and a minute later.
        let times = match database {
            Kind::Sqlite => "create_time || ' ' || expire_time",
            Kind::Postgres => {
                "to_char(create_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' ' || \
                 to_char(expire_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
            }
        };
        let rows = fixture.texts(&format!("SELECT DISTINCT {times} AS value FROM changes")).await;
        assert_eq!(rows, ["2027-01-15 08:00:01.123457 2027-01-15 08:01:01.123457"]);
    }
}

on_both! {
    async fn those_that_need_not_be_remembered_are_swept_in_batches(database: Kind) {
        let fixture = Fixture::new(database).await;
        let change = Change::UserChanged(UserId::generate(at(0)));
        for seconds in 0..7 {
            fixture.write(async |tx| changes::insert(tx, &[change], at(0), at(seconds)).await).await;
        }
        assert_eq!(fixture.batches(async |tx| changes::sweep(tx, at(5), 2).await).await, [2, 2, 1]);
        // The sequence goes on: an id stands for one change for ever.
        fixture.write(async |tx| changes::insert(tx, &[change], at(0), at(9)).await).await;
        let left = fixture.texts("SELECT CAST(id AS text) AS value FROM changes ORDER BY id").await;
        assert_eq!(left, ["6", "7", "8"]);
        assert_eq!(fixture.batches(async |tx| changes::sweep(tx, at(10), 2).await).await, [2, 1]);
        fixture.write(async |tx| changes::insert(tx, &[change], at(0), at(9)).await).await;
        assert_eq!(fixture.texts("SELECT CAST(id AS text) AS value FROM changes").await, ["9"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_a_change_knows_its_transaction() {
    let fixture = Fixture::new(Kind::Postgres).await;
    let change = Change::UserChanged(UserId::generate(at(0)));
    for rows in [2, 1] {
        let mut tx = fixture.store.begin().await.unwrap();
        changes::insert(&mut tx, &vec![change; rows], at(0), at(1)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let transactions = fixture
        .texts("SELECT CAST(dense_rank() OVER (ORDER BY transaction_id) AS text) AS value FROM changes ORDER BY id")
        .await;
    assert_eq!(transactions, ["1", "1", "2"]);
}
