//! `store::signing_keys`

use countersign::store::signing_keys::{self, SigningKey};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, expect_conflict, same},
};

fn key(generation: i32) -> SigningKey {
    SigningKey {
        generation,
        kid: format!("k4.pid.{generation}"),
        secret_sealed: "v4.local.sealed".to_owned(),
        not_before_time: at(i64::from(generation)),
        not_after_time: (generation == 1).then(|| at(100)),
        create_time: (generation > 1).then(|| at(0)),
    }
}

on_both! {
    async fn keys_are_listed_as_they_were_written_oldest_first(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut conn = fixture.conn().await;
        assert!(signing_keys::list(&mut conn).await.unwrap().is_empty());
        for generation in [2, 10, 1] {
            fixture.write(async |tx| signing_keys::insert(tx, &key(generation)).await).await;
        }
        same(signing_keys::list(&mut conn).await.unwrap(), [key(1), key(2), key(10)]);
    }
}

on_both! {
    async fn a_generation_and_a_name_are_given_once(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut conn = fixture.conn().await;
        fixture.write(async |tx| signing_keys::insert(tx, &key(1)).await).await;
        let same_generation = SigningKey { kid: "k4.pid.other".to_owned(), ..key(1) };
        expect_conflict(&fixture.store.tx(async |tx| signing_keys::insert(tx, &same_generation).await).await);
        let same_name = SigningKey { generation: 2, ..key(1) };
        expect_conflict(&fixture.store.tx(async |tx| signing_keys::insert(tx, &same_name).await).await);
        same(signing_keys::list(&mut conn).await.unwrap(), [key(1)]);
    }
}
