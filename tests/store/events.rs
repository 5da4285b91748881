//! `store::events`

use countersign::{
    store::{
        events::{self, Event},
        users,
    },
    types::{
        KeyId, SessionId, UserId,
        event::{Action, Outcome},
    },
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, by_pages, event, expect_conflict, same},
};

impl Fixture {
    async fn event(&self, event: &Event) {
        self.write(async |tx| events::insert(tx, event).await).await;
    }
}

on_both! {
    async fn each_action_and_outcome_is_read_as_it_was_written(database: Kind) {
        // S56
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let mut newest_first = Vec::new();
        for (seconds, action) in (0..).zip(Action::ALL) {
            let mut event = event(ann.id, seconds);
            event.action = *action;
            event.outcome = Outcome::ALL[usize::try_from(seconds % 2).unwrap()];
            event.session_id = (seconds % 3 == 0).then(|| SessionId::generate(at(0)));
            event.key_id = (seconds % 5 == 0).then(|| KeyId::generate(at(0)));
            fixture.event(&event).await;
            expect_conflict(&fixture.store.tx(async |tx| events::insert(tx, &event).await).await);
            newest_first.insert(0, event);
        }
        same(events::list(&mut fixture.conn().await, Some(ann.id), None, None, 100).await.unwrap(), newest_first);
    }
}

on_both! {
    async fn a_list_is_the_users_own_and_goes_by_pages(database: Kind) {
        let fixture = Fixture::new(database).await;
        let (ann, bob) = (fixture.user("ann").await, fixture.user("bob").await);
        let mut newest_first = Vec::new();
        for seconds in 0..5 {
            let (own, others) = (event(ann.id, seconds), event(bob.id, seconds));
            let nobodys = Event { user_id: None, ..event(ann.id, seconds) };
            for event in [&others, &own, &nobodys] {
                fixture.event(event).await;
            }
            newest_first.insert(0, own);
        }
        let mut conn = fixture.conn().await;
        let pages = by_pages(|event: &Event| event.id, async |after, limit| {
            events::list(&mut conn, Some(ann.id), None, after, limit).await.unwrap()
        });
        same(pages.await, &newest_first);
        same(events::list(&mut conn, Some(ann.id), None, None, 100).await.unwrap(), &newest_first);
        assert!(events::list(&mut conn, Some(UserId::generate(at(0))), None, None, 100).await.unwrap().is_empty());
    }
}

on_both! {
    async fn what_a_later_version_has_written_is_unknown(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        fixture.event(&event(ann.id, 0)).await;
        fixture.event(&event(ann.id, 1)).await;
        let newest = format!("create_time = {}", fixture.database.time(at(1)));
        fixture.database.execute(&format!("UPDATE events SET action = 'fly', outcome = 'soared' WHERE {newest}")).await;
        let read = events::list(&mut fixture.conn().await, Some(ann.id), None, None, 100).await.unwrap();
        let told: Vec<_> = read.iter().map(|event| (event.action, event.outcome)).collect();
        assert_eq!(told, [(Action::Unknown, Outcome::Unknown), (Action::SignIn, Outcome::Failed)]);
    }
}

on_both! {
    async fn they_outlive_the_account(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        let event = event(ann.id, 0);
        fixture.event(&event).await;
        fixture.write(async |tx| users::delete(tx, ann.id).await).await;
        same(events::list(&mut fixture.conn().await, Some(ann.id), None, None, 100).await.unwrap(), [event]);
    }
}

on_both! {
    async fn those_from_before_a_time_are_swept_in_batches(database: Kind) {
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        for seconds in 0..6 {
            fixture.event(&event(ann.id, seconds)).await;
        }
        fixture.event(&Event { user_id: None, ..event(ann.id, 0) }).await;
        assert_eq!(fixture.batches(async |tx| events::sweep(tx, at(4), 2).await).await, [2, 2, 1]);
        let left = events::list(&mut fixture.conn().await, Some(ann.id), None, None, 100).await.unwrap();
        let times: Vec<_> = left.iter().map(|event| event.create_time).collect();
        assert_eq!(times, [at(5), at(4)]);
        assert_eq!(fixture.count("events").await, 2);
    }
}
