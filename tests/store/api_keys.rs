//! `store::api_keys`

use std::time::Duration;

use countersign::{
    store::{api_keys, users},
    types::{KeyId, RateLimit, UserId},
};

use crate::{
    common::Kind,
    on_both,
    support::{
        Fixture, at, by_pages, digest, expect_conflict, expect_refusal, key, same, scopes, secret, user,
    },
};

fn full_settings() -> api_keys::Settings {
    api_keys::Settings {
        name: "renamed".to_owned(),
        scopes: scopes(&["a", "b"]),
        expire_time: Some(at(100)),
        rate_requests: Some(1_000_000),
        rate_per_micros: Some(24 * 60 * 60 * 1_000_000),
    }
}

on_both! {
    async fn a_key_is_read_as_it_was_written(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut full = key(ann.id, 0);
        full.expire_time = Some(at(1));
        full.last_used_time = Some(at(2));
        full.revoke_time = Some(at(3));
        full.rate_requests = Some(10);
        // More than 32 bits hold.
        full.rate_per_micros = Some(24 * 60 * 60 * 1_000_000);
        let mut conn = fixture.conn().await;
        fixture.write(async |tx| api_keys::insert(tx, &full).await).await;
        let bare = fixture.key(&ann, 1).await;
        for key in [&full, &bare] {
            let read = api_keys::find(&mut conn, ann.id, key.id).await.unwrap().unwrap();
            same(&read, key);
            // S33
            assert!(api_keys::find(&mut conn, bob.id, key.id).await.unwrap().is_none());
            assert!(fixture.write(async |tx| api_keys::lock(tx, bob.id, key.id).await).await.is_none());
            same(fixture.write(async |tx| api_keys::lock(tx, ann.id, key.id).await).await, Some(key));
            same(api_keys::find(&mut conn, ann.id, key.id).await.unwrap(), Some(key));
            expect_conflict(&fixture.store.tx(async |tx| api_keys::insert(tx, key).await).await);
        }
        let day = Duration::from_hours(24);
        assert_eq!(full.rate_limit(), Some(RateLimit::new(10, day).unwrap()));
        assert_eq!(bare.rate_limit(), None);
    }
}

on_both! {
    async fn a_key_and_its_owner_are_found_by_any_of_its_secrets(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let mut bob = user("bob");
        (bob.disabled_time, bob.scopes) = (Some(at(7)), scopes(&["admin"]));
        fixture.write(async |tx| users::insert(tx, &bob).await).await;
        let (anns, bobs) = (fixture.key(&ann, 0).await, fixture.key(&bob, 0).await);
        let mut rotated = secret(anns.id, 1);
        rotated.expire_time = Some(at(60));
        let mut conn = fixture.conn().await;
        fixture.write(async |tx| api_keys::insert_secret(tx, &rotated).await).await;
        let current = fixture.secret(&anns, 2).await;
        let others = fixture.secret(&bobs, 3).await;
        for (secret, key, user) in [(&rotated, &anns, &ann), (&current, &anns, &ann), (&others, &bobs, &bob)] {
            let (found, of_key, owner) = api_keys::find_by_secret(&mut conn, secret.digest).await.unwrap().unwrap();
            same((found, of_key), (secret, key));
            assert_eq!((owner.disabled_time, owner.scopes), (user.disabled_time, user.scopes.clone()));
        }
        assert!(api_keys::find_by_secret(&mut conn, digest(4)).await.unwrap().is_none());
        expect_conflict(&fixture.store.tx(async |tx| api_keys::insert_secret(tx, &secret(bobs.id, 2)).await).await);
        let orphan = secret(KeyId::generate(at(0)), 5);
        expect_refusal(&fixture.store.tx(async |tx| api_keys::insert_secret(tx, &orphan).await).await);
        let orphan = key(UserId::generate(at(0)), 0);
        expect_refusal(&fixture.store.tx(async |tx| api_keys::insert(tx, &orphan).await).await);
    }
}

on_both! {
    async fn a_list_is_the_users_own_and_goes_by_pages(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut newest_first = Vec::new();
        for seconds in 0..5 {
            newest_first.insert(0, fixture.key(&ann, seconds).await);
            fixture.key(&bob, seconds).await;
        }
        let mut conn = fixture.conn().await;
        let pages = by_pages(|key: &api_keys::ApiKey| key.id, async |after, limit| {
            api_keys::list(&mut conn, ann.id, at(0), after, limit).await.unwrap()
        });
        same(&pages.await, &newest_first);

        // A revoked one is shown if it was revoked after the given time.
        newest_first[1].revoke_time = Some(at(50));
        assert!(fixture.write(async |tx| api_keys::mark_revoked(tx, newest_first[1].id, at(50)).await).await);
        same(api_keys::list(&mut conn, ann.id, at(49), None, 100).await.unwrap(), &newest_first);
        newest_first.remove(1);
        same(api_keys::list(&mut conn, ann.id, at(50), None, 100).await.unwrap(), &newest_first);
    }
}

on_both! {
    async fn those_alive_are_counted(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        fixture.key(&bob, 0).await;
        let keys = [fixture.key(&ann, 0).await, fixture.key(&ann, 1).await, fixture.key(&ann, 2).await];
        let mut conn = fixture.conn().await;
        fixture.write(async |tx| api_keys::mark_revoked(tx, keys[0].id, at(1)).await).await;
        fixture.write(async |tx| api_keys::update(tx, keys[1].id, &full_settings()).await).await;
        assert_eq!(api_keys::count_live(&mut conn, ann.id, at(99)).await.unwrap(), 2);
        assert_eq!(api_keys::count_live(&mut conn, ann.id, at(100)).await.unwrap(), 1);
        assert_eq!(api_keys::count_live(&mut conn, UserId::generate(at(0)), at(0)).await.unwrap(), 0);
    }
}

on_both! {
    async fn all_of_a_users_keys_are_ended_at_once(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let others = fixture.key(&bob, 0).await.id;
        let (first, second, third) =
            (fixture.key(&ann, 0).await.id, fixture.key(&ann, 1).await.id, fixture.key(&ann, 2).await.id);
        // One that has run out counts; one that was revoked before does not.
        fixture.write(async |tx| api_keys::update(tx, first, &full_settings()).await).await;
        fixture.write(async |tx| api_keys::mark_revoked(tx, second, at(1)).await).await;
        let mut ended = fixture.write(async |tx| api_keys::mark_all_revoked(tx, ann.id, at(2)).await).await;
        ended.sort_unstable();
        let mut expected = [(first, full_settings().expire_time), (third, None)];
        expected.sort_unstable();
        assert_eq!(ended, expected);
        assert!(fixture.write(async |tx| api_keys::mark_all_revoked(tx, ann.id, at(3)).await).await.is_empty());
        let mut conn = fixture.conn().await;
        assert_eq!(api_keys::find(&mut conn, ann.id, first).await.unwrap().unwrap().revoke_time, Some(at(2)));
        assert_eq!(api_keys::find(&mut conn, bob.id, others).await.unwrap().unwrap().revoke_time, None);
    }
}

on_both! {
    async fn a_rate_limit_is_whole_or_absent(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let good = fixture.key(&ann, 0).await;
        for (rate_requests, rate_per_micros) in [(Some(1), None), (None, Some(1))] {
            let mut half = key(ann.id, 1);
            (half.rate_requests, half.rate_per_micros) = (rate_requests, rate_per_micros);
            expect_refusal(&fixture.store.tx(async |tx| api_keys::insert(tx, &half).await).await);
            let half = api_keys::Settings { rate_requests, rate_per_micros, ..full_settings() };
            expect_refusal(&fixture.store.tx(async |tx| api_keys::update(tx, good.id, &half).await).await);
        }
        same(api_keys::find(&mut fixture.conn().await, ann.id, good.id).await.unwrap(), Some(&good));
        let limit = RateLimit::new(3, Duration::from_secs(2)).unwrap();
        assert_eq!(api_keys::rate_columns(Some(limit)), (Some(3), Some(2_000_000)));
        assert_eq!(api_keys::rate_columns(None), (None, None));
    }
}

on_both! {
    async fn settings_are_replaced_whole(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let (before, other) = (fixture.key(&user, 0).await, fixture.key(&user, 1).await);
        let mut conn = fixture.conn().await;
        let updated = fixture.write(async |tx| api_keys::update(tx, before.id, &full_settings()).await).await;
        let mut expected = before.clone();
        let settings = full_settings();
        (expected.name, expected.scopes, expected.expire_time) = (settings.name, settings.scopes, settings.expire_time);
        (expected.rate_requests, expected.rate_per_micros) = (settings.rate_requests, settings.rate_per_micros);
        same(updated, Some(&expected));
        same(api_keys::find(&mut conn, user.id, before.id).await.unwrap(), Some(&expected));

        // What is absent becomes NULL.
        let bare = api_keys::Settings {
            name: before.name.clone(),
            scopes: before.scopes.clone(),
            expire_time: None,
            rate_requests: None,
            rate_per_micros: None,
        };
        same(fixture.write(async |tx| api_keys::update(tx, before.id, &bare).await).await, Some(&before));
        same(api_keys::find(&mut conn, user.id, before.id).await.unwrap(), Some(&before));
        let hinted = fixture.write(async |tx| api_keys::set_hint(tx, before.id, "csk_new…hint").await).await;
        let mut expected = before.clone();
        "csk_new…hint".clone_into(&mut expected.hint);
        same(hinted, Some(&expected));
        same(api_keys::find(&mut conn, user.id, before.id).await.unwrap(), Some(&expected));
        same(api_keys::find(&mut conn, user.id, other.id).await.unwrap(), Some(&other));
    }
}

on_both! {
    async fn a_key_is_revoked_once(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let (key, other) = (fixture.key(&user, 0).await, fixture.key(&user, 1).await);
        let mut conn = fixture.conn().await;
        assert!(fixture.write(async |tx| api_keys::mark_revoked(tx, key.id, at(1)).await).await);
        assert!(!fixture.write(async |tx| api_keys::mark_revoked(tx, key.id, at(2)).await).await);
        let read = api_keys::find(&mut conn, user.id, key.id).await.unwrap().unwrap();
        assert_eq!(read.revoke_time, Some(at(1)));
        same(api_keys::find(&mut conn, user.id, other.id).await.unwrap(), Some(&other));
    }
}

on_both! {
    async fn of_forty_who_revoke_a_key_at_once_one_wins(database: Kind) {
        let fixture = Fixture::new(database).await;
        let key = fixture.key(&fixture.user("ann").await, 0).await.id;
        let revocations: Vec<_> = (0..40)
            .map(|_| {
                let store = fixture.store.clone();
                tokio::spawn(async move {
                    let mut tx = store.begin().await.unwrap();
                    let won = api_keys::mark_revoked(&mut tx, key, at(1)).await.unwrap();
                    tx.commit().await.unwrap();
                    won
                })
            })
            .collect();
        let mut winners = 0;
        for each in revocations {
            winners += usize::from(each.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
}

on_both! {
    async fn the_latest_use_is_kept(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let key = fixture.key(&user, 0).await;
        let mut conn = fixture.conn().await;
        for (seconds, changed, latest) in [(5, 1, 5), (3, 0, 5), (5, 0, 5), (6, 1, 6)] {
            assert_eq!(fixture.write(async |tx| api_keys::mark_used(tx, key.id, at(seconds)).await).await, changed);
            let read = api_keys::find(&mut conn, user.id, key.id).await.unwrap().unwrap();
            assert_eq!(read.last_used_time, Some(at(latest)));
        }
    }
}

on_both! {
    async fn secrets_end_in_turn(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let (key, other) = (fixture.key(&user, 0).await, fixture.key(&user, 1).await);
        fixture.secret(&key, 1).await;
        fixture.secret(&other, 9).await;
        let mut conn = fixture.conn().await;
        let end = async |conn: &mut _, number| {
            api_keys::find_by_secret(conn, digest(number)).await.unwrap().unwrap().0.expire_time
        };
        assert_eq!(fixture.write(async |tx| api_keys::expire_current_secret(tx, key.id, at(60)).await).await, 1);
        assert_eq!(fixture.write(async |tx| api_keys::expire_current_secret(tx, key.id, at(61)).await).await, 0);
        fixture.secret(&key, 2).await;
        assert_eq!(end(&mut conn, 1).await, Some(at(60)));

        // At a second rotation the first secret's grace is over.
        assert_eq!(fixture.write(async |tx| api_keys::expire_rotated_secrets(tx, key.id, at(10)).await).await, 1);
        assert_eq!(fixture.write(async |tx| api_keys::expire_rotated_secrets(tx, key.id, at(10)).await).await, 0);
        assert_eq!(end(&mut conn, 1).await, Some(at(10)));
        assert_eq!(end(&mut conn, 2).await, None);
        assert_eq!(end(&mut conn, 9).await, None);
    }
}

on_both! {
    async fn what_is_not_there_is_none(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let mut conn = fixture.conn().await;
        let none = KeyId::generate(at(0));
        assert!(api_keys::find(&mut conn, user.id, none).await.unwrap().is_none());
        assert!(fixture.write(async |tx| api_keys::lock(tx, user.id, none).await).await.is_none());
        assert!(api_keys::list(&mut conn, user.id, at(0), None, 10).await.unwrap().is_empty());
        assert!(fixture.write(async |tx| api_keys::mark_all_revoked(tx, user.id, at(0)).await).await.is_empty());
        assert!(!fixture.write(async |tx| api_keys::mark_revoked(tx, none, at(0)).await).await);
        assert!(fixture.write(async |tx| api_keys::update(tx, none, &full_settings()).await).await.is_none());
        assert_eq!(fixture.write(async |tx| api_keys::mark_used(tx, none, at(0)).await).await, 0);
        assert!(fixture.write(async |tx| api_keys::set_hint(tx, none, "x").await).await.is_none());
        assert_eq!(fixture.write(async |tx| api_keys::expire_current_secret(tx, none, at(0)).await).await, 0);
        assert_eq!(fixture.write(async |tx| api_keys::expire_rotated_secrets(tx, none, at(0)).await).await, 0);
    }
}
