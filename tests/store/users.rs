//! `store::users`

use countersign::{
    store::{
        api_keys,
        changes::{self, Change},
        users,
    },
    types::{Email, UserId, UserKind, password::PasswordHash},
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest, email, expect_conflict, same, scopes, user},
};

on_both! {
    async fn an_account_is_read_as_it_was_written(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut conn = fixture.conn().await;
        let mut full = user("full");
        full.email_verified_time = Some(at(1));
        full.disabled_time = Some(at(2));
        "Zoë \u{1f980} O'Hara; --".clone_into(&mut full.name);
        let mut bare = user("bare");
        bare.password_hash = None;
        bare.name = String::new();
        bare.scopes = scopes(&[]);
        for user in [&full, &bare] {
            fixture.write(async |tx| users::insert(tx, user).await).await;
            let read = users::find(&mut conn, user.id).await.unwrap().unwrap();
            same(&read, user);
            // It shows nothing of itself.
            let phc = |hash: &Option<PasswordHash>| hash.as_ref().map(|hash| hash.expose().to_owned());
            assert_eq!(phc(&read.password_hash), phc(&user.password_hash));
        }
    }
}

on_both! {
    async fn an_account_is_found_by_its_address_in_any_spelling(database: Kind) {
        // S9
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let mut conn = fixture.conn().await;
        for spelling in ["ann@example.com", "ANN@EXAMPLE.COM", "Ann@Example.Com"] {
            let email = Email::parse(spelling).unwrap();
            let found = users::find_by_email(&mut conn, email.normalized()).await.unwrap();
            assert_eq!(found.unwrap().id, user.id, "{spelling}");
        }
        assert!(users::find_by_email(&mut conn, email("bob").normalized()).await.unwrap().is_none());
    }
}

on_both! {
    async fn an_address_has_one_account(database: Kind) {
        let fixture = Fixture::new(database).await;
        let first = fixture.user("ann").await;
        expect_conflict(&fixture.store.tx(async |tx| users::insert(tx, &user("ann")).await).await);
        let mut same_id = user("bob");
        same_id.id = first.id;
        expect_conflict(&fixture.store.tx(async |tx| users::insert(tx, &same_id).await).await);
        assert_eq!(fixture.count("users").await, 1);
    }
}

on_both! {
    async fn what_is_not_there_is_none(database: Kind) {
        let fixture = Fixture::new(database).await;
        fixture.user("ann").await;
        let mut conn = fixture.conn().await;
        let nobody = UserId::generate(at(0));
        let hash = PasswordHash::new("$argon2id$other".to_owned());
        assert!(users::find(&mut conn, nobody).await.unwrap().is_none());
        assert!(fixture.write(async |tx| users::lock(tx, nobody).await).await.is_none());
        assert!(fixture.write(async |tx| users::set_name(tx, nobody, "x", at(1)).await).await.is_none());
        assert_eq!(fixture.write(async |tx| users::set_password(tx, nobody, &hash, at(1)).await).await, 0);
        assert_eq!(fixture.write(async |tx| users::rehash_password(tx, nobody, &hash).await).await, 0);
        let new = email("new");
        assert!(fixture.write(async |tx| users::set_email(tx, nobody, &new, at(1)).await).await.is_none());
        assert!(fixture.write(async |tx| users::set_email_verified(tx, nobody, at(1)).await).await.is_none());
        assert_eq!(fixture.write(async |tx| users::set_disabled(tx, nobody, None, at(1)).await).await, 0);
        assert_eq!(fixture.write(async |tx| users::delete(tx, nobody).await).await, 0);
    }
}

on_both! {
    async fn locking_changes_nothing(database: Kind) {
        let fixture = Fixture::new(database).await;
        let user = fixture.user("ann").await;
        let mut tx = fixture.store.begin().await.unwrap();
        same(users::lock(&mut tx, user.id).await.unwrap(), Some(&user));
        tx.commit().await.unwrap();
        same(users::find(&mut fixture.conn().await, user.id).await.unwrap(), Some(&user));
    }
}

on_both! {
    async fn a_change_concerns_one_account_and_its_update_time(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut conn = fixture.conn().await;

        let renamed = fixture.write(async |tx| users::set_name(tx, ann.id, "Ann", at(1)).await).await.unwrap();
        assert_eq!((renamed.name.as_str(), renamed.update_time), ("Ann", at(1)));
        same(users::find(&mut conn, ann.id).await.unwrap(), Some(&renamed));

        let hash = PasswordHash::new("$argon2id$new".to_owned());
        assert_eq!(fixture.write(async |tx| users::set_password(tx, ann.id, &hash, at(2)).await).await, 1);
        let read = users::find(&mut conn, ann.id).await.unwrap().unwrap();
        assert_eq!((read.password_hash.unwrap().expose(), read.update_time), ("$argon2id$new", at(2)));

        let hash = PasswordHash::new("$argon2id$stronger".to_owned());
        assert_eq!(fixture.write(async |tx| users::rehash_password(tx, ann.id, &hash).await).await, 1);
        let read = users::find(&mut conn, ann.id).await.unwrap().unwrap();
        assert_eq!((read.password_hash.unwrap().expose(), read.update_time), ("$argon2id$stronger", at(2)));

        same(users::find(&mut conn, bob.id).await.unwrap(), Some(&bob));
    }
}

on_both! {
    async fn a_proven_address_is_noted_with_the_time(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (mut ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut conn = fixture.conn().await;
        let verified = fixture.write(async |tx| users::set_email_verified(tx, ann.id, at(3)).await).await;
        (ann.email_verified_time, ann.update_time) = (Some(at(3)), at(3));
        same(verified, Some(&ann));
        same(users::find(&mut conn, ann.id).await.unwrap(), Some(&ann));
        same(users::find(&mut conn, bob.id).await.unwrap(), Some(&bob));
    }
}

on_both! {
    async fn an_account_is_shut_and_opened_again(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (mut ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut conn = fixture.conn().await;
        for (disabled_time, now) in [(Some(at(3)), at(4)), (None, at(5))] {
            let set = fixture.write(async |tx| users::set_disabled(tx, ann.id, disabled_time, now).await).await;
            assert_eq!(set, 1);
            (ann.disabled_time, ann.update_time) = (disabled_time, now);
            same(users::find(&mut conn, ann.id).await.unwrap(), Some(&ann));
        }
        same(users::find(&mut conn, bob.id).await.unwrap(), Some(&bob));
    }
}

on_both! {
    async fn another_address_is_proven_and_the_old_one_is_free(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (mut ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let new = Email::parse("Ann.New@Example.com").unwrap();
        let changed = fixture.write(async |tx| users::set_email(tx, ann.id, &new, at(3)).await).await;
        (ann.email, ann.email_normalized) = (new.as_given().to_owned(), new.normalized().to_owned());
        (ann.email_verified_time, ann.update_time) = (Some(at(3)), at(3));
        same(changed, Some(&ann));
        let mut conn = fixture.conn().await;
        same(users::find_by_email(&mut conn, new.normalized()).await.unwrap(), Some(&ann));
        assert!(users::find_by_email(&mut conn, email("ann").normalized()).await.unwrap().is_none());
        same(users::find(&mut conn, bob.id).await.unwrap(), Some(&bob));
        fixture.user("ann").await;
    }
}

on_both! {
    async fn an_address_that_another_account_has_is_a_conflict_in_any_spelling(database: Kind) {
        // S9
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        for spelling in ["bob@example.com", "BOB@EXAMPLE.COM"] {
            let taken = Email::parse(spelling).unwrap();
            expect_conflict(&fixture.store.tx(async |tx| users::set_email(tx, ann.id, &taken, at(3)).await).await);
        }
        let mut conn = fixture.conn().await;
        same(users::find(&mut conn, ann.id).await.unwrap(), Some(&ann));
        same(users::find(&mut conn, bob.id).await.unwrap(), Some(&bob));
        // One's own in another spelling is none.
        let own = Email::parse("ANN@example.com").unwrap();
        let changed = fixture.write(async |tx| users::set_email(tx, ann.id, &own, at(3)).await).await.unwrap();
        assert_eq!(changed.email, "ANN@example.com");
    }
}

on_both! {
    async fn an_address_that_has_an_account_is_left_as_it_is(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let other = users::User { name: "other".to_owned(), ..user("ann") };
        assert!(!fixture.write(async |tx| users::insert_if_absent(tx, &other).await).await);
        same(users::find_by_email(&mut fixture.conn().await, &ann.email_normalized).await.unwrap(), Some(&ann));
        let bob = user("bob");
        assert!(fixture.write(async |tx| users::insert_if_absent(tx, &bob).await).await);
        same(users::find(&mut fixture.conn().await, bob.id).await.unwrap(), Some(&bob));
    }
}

on_both! {
    async fn accounts_without_an_address_are_told_apart_and_found_by_none(database: Kind) {
        let fixture = Fixture::new(database).await;
        let robots = [1, 2].map(|n| users::User::new(None, "robot", scopes(&[]), at(n)));
        for robot in &robots {
            fixture.write(async |tx| users::insert(tx, robot).await).await;
            assert!(Email::parse(&robot.email_normalized).is_err());
        }
        fixture.user("ann").await;
        let filter = users::Filter { kind: Some(UserKind::ServiceAccount), ..Default::default() };
        let listed = users::list(&mut fixture.conn().await, &filter, None, 10).await.unwrap();
        same(listed, [&robots[1], &robots[0]]);
        let filter = users::Filter { email_prefix: Some("usr_".to_owned()), ..Default::default() };
        assert!(users::list(&mut fixture.conn().await, &filter, None, 10).await.unwrap().is_empty());
    }
}

on_both! {
    async fn with_an_account_go_its_sessions_and_keys_and_what_hangs_on_them(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        for (number, user) in [(1, &ann), (2, &ann), (3, &bob)] {
            let session = fixture.session(user, i64::from(number)).await;
            fixture.refresh_token(&session, number).await;
            let key = fixture.key(user, i64::from(number)).await;
            fixture.secret(&key, number).await;
        }
        let ended = [Change::UserChanged(ann.id)];
        fixture.write(async |tx| changes::insert(tx, &ended, at(0), at(60)).await).await;

        assert_eq!(fixture.write(async |tx| users::delete(tx, ann.id).await).await, 1);
        for table in ["users", "sessions", "refresh_tokens", "api_keys", "api_key_secrets"] {
            assert_eq!(fixture.count(table).await, 1, "{table}");
        }
        // What other replicas must learn stays.
        assert_eq!(fixture.count("changes").await, 1);
        let left = api_keys::find_by_secret(&mut fixture.conn().await, digest(3)).await.unwrap();
        assert_eq!(left.unwrap().1.user_id, bob.id);
    }
}
