//! `store::api_keys`

use std::time::Duration;

use countersign::{
    store::{Error, api_keys},
    types::{KeyId, RateLimit, UserId},
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest, expect_conflict, key, same, scopes, secret},
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
        api_keys::insert(&mut conn, &full).await.unwrap();
        let bare = fixture.key(&ann, 1).await;
        for key in [&full, &bare] {
            let read = api_keys::find(&mut conn, ann.id, key.id).await.unwrap().unwrap();
            same(&read, key);
            // S33
            assert!(api_keys::find(&mut conn, bob.id, key.id).await.unwrap().is_none());
            assert!(api_keys::lock(&mut conn, bob.id, key.id).await.unwrap().is_none());
            same(api_keys::lock(&mut conn, ann.id, key.id).await.unwrap(), Some(key));
            same(api_keys::find(&mut conn, ann.id, key.id).await.unwrap(), Some(key));
            expect_conflict(&api_keys::insert(&mut conn, key).await);
        }
        let day = Duration::from_hours(24);
        assert_eq!(full.rate_limit(), Some(RateLimit::new(10, day).unwrap()));
        assert_eq!(bare.rate_limit(), None);
    }
}

on_both! {
    async fn a_key_and_its_owner_are_found_by_any_of_its_secrets(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let (anns, bobs) = (fixture.key(&ann, 0).await, fixture.key(&bob, 0).await);
        let mut rotated = secret(anns.id, 1);
        rotated.expire_time = Some(at(60));
        let mut conn = fixture.conn().await;
        api_keys::insert_secret(&mut conn, &rotated).await.unwrap();
        let current = fixture.secret(&anns, 2).await;
        let others = fixture.secret(&bobs, 3).await;
        for row in [(&rotated, &anns, &ann), (&current, &anns, &ann), (&others, &bobs, &bob)] {
            same(api_keys::find_by_secret(&mut conn, row.0.digest).await.unwrap(), Some(row));
        }
        assert!(api_keys::find_by_secret(&mut conn, digest(4)).await.unwrap().is_none());
        expect_conflict(&api_keys::insert_secret(&mut conn, &secret(bobs.id, 2)).await);
        let orphan = api_keys::insert_secret(&mut conn, &secret(KeyId::generate(at(0)), 5)).await;
        assert!(matches!(orphan, Err(Error::Refused(_))), "{orphan:?}");
        let orphan = api_keys::insert(&mut conn, &key(UserId::generate(at(0)), 0)).await;
        assert!(matches!(orphan, Err(Error::Refused(_))), "{orphan:?}");
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
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = api_keys::list(&mut conn, ann.id, at(0), after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            assert!(page.len() <= 2);
            pages.extend(page);
        }
        same(&pages, &newest_first);

        // A revoked one is shown if it was revoked after the given time.
        newest_first[1].revoke_time = Some(at(50));
        assert!(api_keys::mark_revoked(&mut conn, newest_first[1].id, at(50)).await.unwrap());
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
        api_keys::mark_revoked(&mut conn, keys[0].id, at(1)).await.unwrap();
        api_keys::update(&mut conn, keys[1].id, &full_settings()).await.unwrap();
        assert_eq!(api_keys::count_live(&mut conn, ann.id, at(99)).await.unwrap(), 2);
        assert_eq!(api_keys::count_live(&mut conn, ann.id, at(100)).await.unwrap(), 1);
        assert_eq!(api_keys::count_live(&mut conn, UserId::generate(at(0)), at(0)).await.unwrap(), 0);
    }
}

on_both! {
    async fn settings_are_replaced_whole(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let (before, other) = (fixture.key(&user, 0).await, fixture.key(&user, 1).await);
        let mut conn = fixture.conn().await;
        assert_eq!(api_keys::update(&mut conn, before.id, &full_settings()).await.unwrap(), 1);
        let mut expected = before.clone();
        let settings = full_settings();
        (expected.name, expected.scopes, expected.expire_time) = (settings.name, settings.scopes, settings.expire_time);
        (expected.rate_requests, expected.rate_per_micros) = (settings.rate_requests, settings.rate_per_micros);
        same(api_keys::find(&mut conn, user.id, before.id).await.unwrap(), Some(&expected));

        // What is absent becomes NULL.
        let bare = api_keys::Settings {
            name: before.name.clone(),
            scopes: before.scopes.clone(),
            expire_time: None,
            rate_requests: None,
            rate_per_micros: None,
        };
        assert_eq!(api_keys::update(&mut conn, before.id, &bare).await.unwrap(), 1);
        same(api_keys::find(&mut conn, user.id, before.id).await.unwrap(), Some(&before));
        assert_eq!(api_keys::set_hint(&mut conn, before.id, "csk_new…hint").await.unwrap(), 1);
        let read = api_keys::find(&mut conn, user.id, before.id).await.unwrap().unwrap();
        assert_eq!(read.hint, "csk_new…hint");
        same(api_keys::find(&mut conn, user.id, other.id).await.unwrap(), Some(&other));
    }
}

on_both! {
    async fn a_key_is_revoked_once(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let (key, other) = (fixture.key(&user, 0).await, fixture.key(&user, 1).await);
        let mut conn = fixture.conn().await;
        assert!(api_keys::mark_revoked(&mut conn, key.id, at(1)).await.unwrap());
        assert!(!api_keys::mark_revoked(&mut conn, key.id, at(2)).await.unwrap());
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
            assert_eq!(api_keys::mark_used(&mut conn, key.id, at(seconds)).await.unwrap(), changed);
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
        assert_eq!(api_keys::expire_current_secret(&mut conn, key.id, at(60)).await.unwrap(), 1);
        assert_eq!(api_keys::expire_current_secret(&mut conn, key.id, at(61)).await.unwrap(), 0);
        fixture.secret(&key, 2).await;
        assert_eq!(end(&mut conn, 1).await, Some(at(60)));

        // At a second rotation the first secret's grace is over.
        assert_eq!(api_keys::expire_rotated_secrets(&mut conn, key.id, at(10)).await.unwrap(), 1);
        assert_eq!(api_keys::expire_rotated_secrets(&mut conn, key.id, at(10)).await.unwrap(), 0);
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
        assert!(api_keys::lock(&mut conn, user.id, none).await.unwrap().is_none());
        assert!(api_keys::list(&mut conn, user.id, at(0), None, 10).await.unwrap().is_empty());
        assert!(!api_keys::mark_revoked(&mut conn, none, at(0)).await.unwrap());
        assert_eq!(api_keys::update(&mut conn, none, &full_settings()).await.unwrap(), 0);
        assert_eq!(api_keys::mark_used(&mut conn, none, at(0)).await.unwrap(), 0);
        assert_eq!(api_keys::set_hint(&mut conn, none, "x").await.unwrap(), 0);
        assert_eq!(api_keys::expire_current_secret(&mut conn, none, at(0)).await.unwrap(), 0);
        assert_eq!(api_keys::expire_rotated_secrets(&mut conn, none, at(0)).await.unwrap(), 0);
    }
}
