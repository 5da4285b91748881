//! The master key is rotated: what is sealed under the old one is read, sealed anew, and needs the old one no more.

use countersign::{
    api::pb::CredentialStatus as S,
    domain::{Client, SealedValues, signing_keys::Begin},
};

use crate::{
    common::Kind,
    idp::{Idp, Signed},
    on_both, provider,
    support::{EMAIL, MASTER_KEY, Setup, account},
};

/// Another master key than the tests' own.
const NEW_MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn under(setup: Setup, key: &str, previous: &str) -> Setup {
    setup.set("SECRETS__MASTER_KEY", key).set("SECRETS__PREVIOUS_MASTER_KEYS", previous)
}

on_both! {
    async fn the_master_key_is_rotated_in_two_steps_and_nothing_is_lost(database: Kind) {
        // S58
        let setup = Setup::new(database).await;
        let (database, clock) = (setup.database().clone(), setup.clock());
        let with = |key: &str, previous: &str| under(Setup::on(database.clone(), clock.clone()), key, previous);
        let server = setup.start().await;
        let tokens = server.register().await;
        server.refresh(&tokens.refresh_token).await.unwrap();
        server.stop().await;

        // The first step, and beside it the second: each reads what the other seals.
        let (old, new) = (with(MASTER_KEY, NEW_MASTER_KEY).domain().await, with(NEW_MASTER_KEY, MASTER_KEY).domain().await);
        let found = new.sealed_values().await.unwrap();
        assert_eq!(new.rewrap().await.unwrap(), found);
        assert!(found.previous >= 2 && found.unknown == 0, "{found:?}");
        assert_eq!(new.rewrap().await.unwrap().previous, 0);
        assert_eq!(old.rewrap().await.unwrap().previous, found.previous);
        assert_eq!(new.rewrap().await.unwrap().previous, found.previous);
        let made = old.rotate_signing_key(Begin::Published).await.unwrap();
        assert_eq!(new.signing_keys().await.unwrap()[1].kid, made.kid);
        assert_eq!(new.rewrap().await.unwrap().previous, 1);

        // Now the old one may go: who was signed in still is.
        let server = with(NEW_MASTER_KEY, "").start().await;
        assert_eq!(server.status_of(&tokens.access_token).await, S::Valid);
        let again = server.refresh(&tokens.refresh_token).await.unwrap();
        assert_eq!(server.status_of(&again.access_token).await, S::Valid);
        server.stop().await;
        let config = with(MASTER_KEY, "").config();
        let error = countersign::app::App::build(&config, clock.clone()).await.err().unwrap().to_string();
        assert!(error.starts_with("secrets.master_key: ") && error.contains(&made.kid[..7]), "{error}");
    }
}

on_both! {
    async fn a_mail_that_waits_and_a_sign_in_under_way_outlast_the_master_key(database: Kind) {
        // S58
        let idp = Idp::start(false).await;
        let server = provider::setup(database, &idp).await.start().await;
        let (database, clock) = (server.database.clone(), server.clock.clone());
        let with = |key: &str, previous: &str| {
            under(provider::configure(Setup::on(database.clone(), clock.clone()), &idp), key, previous)
        };
        let flow = provider::start(&server).await;
        server.stop().await;
        // Nobody sends it.
        with(MASTER_KEY, "").domain().await.register(account(EMAIL), &Client::default()).await.unwrap();

        let new = with(NEW_MASTER_KEY, MASTER_KEY).domain().await;
        // The signing key, the mail and the sign-in.
        let found = SealedValues { previous: 3, ..SealedValues::default() };
        assert_eq!(new.rewrap().await.unwrap(), found);
        assert_eq!(new.sealed_values().await.unwrap(), SealedValues { current: 3, ..SealedValues::default() });

        let server = with(NEW_MASTER_KEY, "").start().await;
        assert!(server.new_mail().await.to.contains(EMAIL));
        idp.issue(&idp.claims(Some(&provider::nonce(&flow))), Signed::Well);
        let tokens = provider::complete(&server, provider::returned(&flow)).await.unwrap();
        assert_eq!(server.status_of(&tokens.access_token).await, S::Valid);
    }
}
