//! Identities, and sign-ins that are under way.

use countersign::{
    store::{
        Error,
        identities::{self, Identity},
        oauth_flows::{self, OauthFlow},
        users,
    },
    types::{IdentityId, UserId},
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest, user},
};

fn identity(user_id: UserId, issuer: &str, subject: &str) -> Identity {
    Identity {
        id: IdentityId::generate(at(0)),
        user_id,
        provider: "idp".to_owned(),
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        email: None,
        create_time: at(0),
        last_used_time: at(0),
    }
}

on_both! {
    async fn a_subject_of_an_issuer_is_one_accounts(database: Kind) {
        // S45
        let fixture = Fixture::new(database).await;
        let mut tx = fixture.store.begin().await.unwrap();
        let (ann, bob) = (user("ann"), user("bob"));
        users::insert(&mut tx, &ann).await.unwrap();
        users::insert(&mut tx, &bob).await.unwrap();
        identities::insert(&mut tx, &identity(ann.id, "one", "1")).await.unwrap();
        identities::insert(&mut tx, &identity(bob.id, "two", "1")).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = fixture.store.begin().await.unwrap();
        let again = identities::insert(&mut tx, &identity(bob.id, "one", "1")).await;
        assert!(matches!(again, Err(Error::Conflict)), "{again:?}");
        drop(tx);
        let mut tx = fixture.store.begin().await.unwrap();
        assert_eq!(identities::find(&mut tx, "one", "1").await.unwrap().unwrap().user_id, ann.id);
        assert!(identities::find(&mut tx, "one", "2").await.unwrap().is_none());
        let bobs = identities::list(&mut tx, bob.id).await.unwrap().remove(0);
        assert!(!identities::delete(&mut tx, ann.id, bobs.id).await.unwrap());
        // They go with their account.
        users::delete(&mut tx, ann.id).await.unwrap();
        assert!(identities::find(&mut tx, "one", "1").await.unwrap().is_none());
        assert_eq!(identities::delete_all(&mut tx, bob.id).await.unwrap(), 1);
        assert_eq!(identities::mark_used(&mut tx, bobs.id, at(1)).await.unwrap(), 0);
    }
}

on_both! {
    async fn a_flow_is_taken_once_and_goes_with_whom_it_was_for(database: Kind) {
        // S43
        let fixture = Fixture::new(database).await;
        let mut tx = fixture.store.begin().await.unwrap();
        let ann = user("ann");
        users::insert(&mut tx, &ann).await.unwrap();
        for (number, user_id) in [(1, None), (2, Some(ann.id))] {
            let flow = OauthFlow {
                state: digest(number),
                flow_secret: digest(number),
                provider: "idp".to_owned(),
                redirect_uri: "https://app.example.com".to_owned(),
                proofs_sealed: "sealed".to_owned(),
                user_id,
                create_time: at(0),
                expire_time: at(600),
            };
            oauth_flows::insert(&mut tx, &flow).await.unwrap();
        }
        assert_eq!(oauth_flows::find(&mut tx, digest(2)).await.unwrap().unwrap().user_id, Some(ann.id));
        assert!(oauth_flows::take(&mut tx, digest(1)).await.unwrap());
        assert!(!oauth_flows::take(&mut tx, digest(1)).await.unwrap());
        users::delete(&mut tx, ann.id).await.unwrap();
        assert!(oauth_flows::find(&mut tx, digest(2)).await.unwrap().is_none());
    }
}
