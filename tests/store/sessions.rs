//! `store::sessions`

use std::time::Duration;

use countersign::{
    store::{refresh_tokens, sessions, users},
    types::{SessionId, Time, UserId},
};

use crate::{
    common::Kind,
    on_both,
    support::{
        Fixture, NOW, at, by_pages, digest, expect_conflict, expect_refusal, same, scopes, session, user,
    },
};

on_both! {
    async fn a_session_is_read_as_it_was_written(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let session = fixture.session(&user, 0).await;
        let mut conn = fixture.conn().await;
        same(sessions::find(&mut conn, session.id).await.unwrap(), Some(&session));
        expect_conflict(&fixture.store.tx(async |tx| sessions::insert(tx, &session).await).await);
    }
}

on_both! {
    async fn times_keep_their_microseconds_and_sort(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let mut conn = fixture.conn().await;
        let micros = [0, 1, 999_999, 1_000_000, NOW - 1, NOW, NOW + 1, -1, 4_102_444_800_000_000];
        for micros in micros {
            let mut row = session(user.id, 0);
            row.expire_time = Time::from_micros(micros);
            fixture.write(async |tx| sessions::insert(tx, &row).await).await;
            let read = sessions::find(&mut conn, row.id).await.unwrap().unwrap();
            assert_eq!(read.expire_time.micros(), micros);
            // Alive one microsecond before its end, and no longer at it.
            let alive = async |conn: &mut _, now| {
                let live = sessions::list(conn, user.id, Time::from_micros(now), None, 100).await.unwrap();
                live.iter().any(|session| session.id == row.id)
            };
            assert!(alive(&mut conn, micros - 1).await, "{micros}");
            assert!(!alive(&mut conn, micros).await, "{micros}");
        }
        let text = "SELECT CAST(expire_time AS text) AS value FROM sessions ORDER BY expire_time";
        assert_eq!(fixture.texts(text).await.len(), micros.len());
        let mut sorted = micros;
        sorted.sort_unstable();
        for (beyond, micros) in sorted.into_iter().enumerate() {
            let live = sessions::list(&mut conn, user.id, Time::from_micros(micros), None, 100).await.unwrap();
            assert_eq!(live.len(), sorted.len() - 1 - beyond, "{micros}");
        }
    }
}

on_both! {
    async fn ids_sort_by_age(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let mut made = Vec::new();
        // Added out of order; one above 2^47 milliseconds, where a signed comparison of bytes would fail.
        for seconds in [3, 1, 150_000_000_000, 2, 0] {
            made.push(fixture.session(&user, seconds).await);
        }
        made.sort_by_key(|session| std::cmp::Reverse(session.create_time));
        let live = sessions::list(&mut fixture.conn().await, user.id, at(4), None, 100).await.unwrap();
        same(live, made);
    }
}

on_both! {
    async fn a_list_is_the_users_own_and_goes_by_pages(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut newest_first = Vec::new();
        for seconds in 0..5 {
            newest_first.insert(0, fixture.session(&ann, seconds).await);
            fixture.session(&bob, seconds).await;
        }
        let mut conn = fixture.conn().await;
        let pages = by_pages(|session: &sessions::Session| session.id, async |after, limit| {
            sessions::list(&mut conn, ann.id, at(10), after, limit).await.unwrap()
        });
        same(&pages.await, &newest_first);
        // The first two have ended by then.
        let live = sessions::list(&mut conn, ann.id, at(3601), None, 100).await.unwrap();
        same(live, &newest_first[..3]);

        let ids = |sessions: &[sessions::Session]| sessions.iter().map(|s| s.id).collect::<Vec<_>>();
        let beyond = sessions::list_beyond(&mut conn, ann.id, at(10), 2).await.unwrap();
        assert_eq!(beyond, ids(&newest_first[2..]));
        assert_eq!(sessions::list_beyond(&mut conn, ann.id, at(3601), 2).await.unwrap(), ids(&newest_first[2..3]));
        assert_eq!(sessions::list_beyond(&mut conn, ann.id, at(10), 5).await.unwrap(), []);
    }
}

on_both! {
    async fn a_session_is_used_while_it_is_alive(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let (session, other) = (fixture.session(&user, 0).await, fixture.session(&user, 0).await);
        let mut conn = fixture.conn().await;
        let touched = fixture.write(async |tx| sessions::touch(tx, session.id, at(5)).await).await.unwrap();
        assert_eq!((touched.last_used_time, touched.expire_time), (at(5), session.expire_time));
        same(sessions::find(&mut conn, session.id).await.unwrap(), Some(&touched));

        let end = session.expire_time;
        assert!(fixture.write(async |tx| sessions::touch(tx, session.id, end).await).await.is_none());
        let later = end + Duration::from_micros(1);
        assert_eq!(fixture.write(async |tx| sessions::set_expire_time(tx, session.id, later).await).await, 1);
        assert!(fixture.write(async |tx| sessions::touch(tx, session.id, end).await).await.is_some());
        same(sessions::find(&mut conn, other.id).await.unwrap(), Some(&other));
    }
}

on_both! {
    async fn a_session_is_ended_by_its_user_alone_and_its_refresh_tokens_go(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let (session, other) = (fixture.session(&ann, 0).await, fixture.session(&ann, 1).await);
        fixture.refresh_token(&session, 1).await;
        fixture.refresh_token(&session, 2).await;
        fixture.refresh_token(&other, 3).await;
        assert!(fixture.write(async |tx| sessions::delete(tx, bob.id, session.id).await).await.is_none());
        same(fixture.write(async |tx| sessions::delete(tx, ann.id, session.id).await).await, Some(&session));
        assert!(fixture.write(async |tx| sessions::delete(tx, ann.id, session.id).await).await.is_none());
        assert_eq!((fixture.count("sessions").await, fixture.count("refresh_tokens").await), (1, 1));
    }
}

on_both! {
    async fn its_owner_is_found_with_it_and_without_it(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let mut bob = user("bob");
        (bob.disabled_time, bob.scopes) = (Some(at(7)), scopes(&["admin"]));
        fixture.write(async |tx| users::insert(tx, &bob).await).await;
        let (anns, ended) = (fixture.session(&ann, 0).await.id, fixture.session(&ann, 1).await.id);
        // One that has run out has not been ended.
        let bobs = fixture.session(&bob, -7200).await.id;
        fixture.write(async |tx| sessions::delete(tx, ann.id, ended).await).await;
        let mut conn = fixture.conn().await;
        for (user, session, lives) in
            [(&ann, anns, true), (&bob, bobs, true), (&ann, ended, false), (&ann, bobs, false), (&bob, anns, false)]
        {
            let (owner, found) = sessions::find_owner(&mut conn, user.id, session).await.unwrap().unwrap();
            assert_eq!((owner.disabled_time, owner.scopes), (user.disabled_time, user.scopes.clone()));
            assert_eq!(found, lives.then_some(session));
        }
        let nobody = sessions::find_owner(&mut conn, UserId::generate(at(0)), anns).await.unwrap();
        assert!(nobody.is_none());
    }
}

on_both! {
    async fn all_sessions_of_a_user_end_but_for_one(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let kept = fixture.session(&ann, 0).await;
        let mut ended = vec![fixture.session(&ann, 1).await.id, fixture.session(&ann, 2).await.id];
        let others = fixture.session(&bob, 0).await;
        let mut conn = fixture.conn().await;
        let deleted = fixture.write(async |tx| sessions::delete_all(tx, ann.id, Some(kept.id)).await).await;
        let mut ids: Vec<_> = deleted.iter().map(|session| session.id).collect();
        ids.sort_unstable();
        ended.sort_unstable();
        assert_eq!(ids, ended);
        same(fixture.write(async |tx| sessions::delete_all(tx, ann.id, None).await).await, [&kept]);
        same(fixture.write(async |tx| sessions::delete_all(tx, ann.id, None).await).await, [(); 0]);
        same(sessions::find(&mut conn, others.id).await.unwrap(), Some(&others));
    }
}

on_both! {
    async fn those_that_expired_before_a_time_are_swept_in_batches_with_their_refresh_tokens(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let mut all = Vec::new();
        for number in 0..7_u16 {
            // Each ends an hour later.
            let session = fixture.session(&user, i64::from(number) - 3600).await;
            fixture.refresh_token(&session, number).await;
            all.push(session);
        }
        assert_eq!(fixture.batches(async |tx| sessions::sweep(tx, at(5), 2).await).await, [2, 2, 1]);
        let mut conn = fixture.conn().await;
        for (number, session) in (0..).zip(&all) {
            let left = (number >= 5).then_some(session);
            same(sessions::find(&mut conn, session.id).await.unwrap(), left);
            let token = refresh_tokens::find(&mut conn, digest(number)).await.unwrap();
            assert_eq!(token.is_some(), left.is_some(), "{number}");
        }
        // Nobody is told: it had ended before.
        assert_eq!(fixture.count("changes").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_one_that_is_used_while_it_is_swept_stays() {
    let fixture = Fixture::new(Kind::Postgres).await;
    let session = fixture.session(&fixture.user("ann").await, -3600).await;
    let mut using = fixture.store.begin().await.unwrap();
    sessions::set_expire_time(&mut using, session.id, at(100)).await.unwrap();
    let store = fixture.store.clone();
    let sweep = tokio::spawn(async move { store.tx(async |tx| sessions::sweep(tx, at(50), 10).await).await });
    fixture.somebody_waits().await;
    using.commit().await.unwrap();
    assert_eq!(sweep.await.unwrap().unwrap(), 0);
    assert_eq!(fixture.count("sessions").await, 1);
}

on_both! {
    async fn what_is_not_there_is_none(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut conn = fixture.conn().await;
        let none = SessionId::generate(at(0));
        assert!(sessions::find(&mut conn, none).await.unwrap().is_none());
        assert!(fixture.write(async |tx| sessions::touch(tx, none, at(0)).await).await.is_none());
        assert_eq!(fixture.write(async |tx| sessions::set_expire_time(tx, none, at(0)).await).await, 0);
        let nobody = UserId::generate(at(0));
        assert!(sessions::list(&mut conn, nobody, at(0), None, 10).await.unwrap().is_empty());
        // Of nobody there can be no session.
        let orphan = session(nobody, 0);
        expect_refusal(&fixture.store.tx(async |tx| sessions::insert(tx, &orphan).await).await);
    }
}
