//! The keys that access tokens are signed with, and tokens as others see them who verify them themselves.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::time::Duration;

use countersign::{
    api::pb::{self, CredentialStatus as S},
    crypto::KeyState,
    domain::{Domain, Error, signing_keys::Begin},
    types::Time,
};
use futures_util::future::join_all;
use pasetors::{
    keys::AsymmetricPublicKey,
    paserk::{FormatAsPaserk, Id},
    token::{Public, UntrustedToken},
    version4::{PublicToken, V4},
};
use serde_json::Value;

use crate::{
    common::{Database, Kind},
    on_both,
    support::{EMAIL, PASSWORD, START, Server, Setup, after_start},
};

async fn published(server: &Server) -> Vec<pb::VerificationKey> {
    let request = pb::ListVerificationKeysRequest {};
    server.auth().list_verification_keys(request).await.unwrap().into_inner().keys
}

fn kid_of(token: &str) -> String {
    let footer = URL_SAFE_NO_PAD.decode(token.split('.').nth(3).unwrap()).unwrap();
    let footer: Value = serde_json::from_slice(&footer).unwrap();
    let footer = footer.as_object().unwrap();
    assert_eq!(footer.keys().collect::<Vec<_>>(), ["kid"]);
    footer["kid"].as_str().unwrap().to_owned()
}

/// A token's claims, once its signature was checked with a published key.
fn claims(token: &str, key: &pb::VerificationKey) -> Value {
    let public = AsymmetricPublicKey::<V4>::try_from(key.public_key.as_str()).unwrap();
    let token = UntrustedToken::<Public, V4>::try_from(token).unwrap();
    let token = PublicToken::verify(&public, &token, None, None).unwrap();
    serde_json::from_str(token.payload()).unwrap()
}

/// Copies the signing key of one database into another, where it begins to sign after so many seconds.
pub async fn add_key(from: &Database, to: &Database, generation: i32, after: i64) {
    let row = from.query_text("SELECT kid || ' ' || secret_sealed FROM signing_keys").await.remove(0);
    let (kid, sealed) = row.split_once(' ').unwrap();
    let begin = to.time(Time::from_micros(START + after * 1_000_000));
    to.execute(&format!(
        "INSERT INTO signing_keys (generation, kid, secret_sealed, not_before_time)
         VALUES ({generation}, '{kid}', '{sealed}', {begin})"
    ))
    .await;
}

on_both! {
    async fn a_published_key_verifies_a_token_with_these_claims_and_no_others(database: Kind) {
        // S24, S25
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
        let tokens = server.register().await;
        let keys = published(&server).await;
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!((key.not_before_time, key.not_after_time), (Some(after_start(0)), None));
        assert!(key.public_key.starts_with("k4.public."));
        let public = AsymmetricPublicKey::<V4>::try_from(key.public_key.as_str()).unwrap();
        let mut id = String::new();
        Id::from(&public).fmt(&mut id).unwrap();
        assert_eq!(key.kid, id);
        assert_eq!(kid_of(&tokens.access_token), key.kid);

        let mut first = claims(&tokens.access_token, key);
        let principal = server.validate(&tokens.access_token).await.principal.unwrap();
        let names: Vec<_> = first.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "nbf", "scopes", "sid", "sub"]);
        assert_eq!(first["iss"], "https://auth.example.com");
        assert_eq!(first["aud"], "countersign");
        assert_eq!(first["sub"], principal.user_id);
        assert_eq!(first["sid"], principal.session_id);
        assert_eq!(first["scopes"], serde_json::json!(["read", "write"]));
        let time = |claim: &Value| claim.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let start = START / 1_000_000;
        assert_eq!(time(&first["exp"]).timestamp(), start + 900);
        assert!(time(&first["nbf"]).timestamp() <= start && time(&first["iat"]).timestamp() <= start);
        // Another token is another `jti`.
        let second = server.refresh(&tokens.refresh_token).await.unwrap().access_token;
        let second = claims(&second, key);
        assert_ne!(first["jti"], second["jti"]);
        first["jti"] = second["jti"].clone();
        assert_eq!(first, second);
    }
}

on_both! {
    async fn the_lifetime_is_the_operators_to_say_but_never_past_the_session(database: Kind) {
        // S20
        let setup = Setup::new(database).await.set("TOKENS__ACCESS_TTL", "1h");
        let server = setup.set("TOKENS__REFRESH_IDLE", "30m").start().await;
        let tokens = server.register().await;
        assert_eq!(tokens.expires_in, 1800);
        assert_eq!(server.validate(&tokens.access_token).await.expire_time, Some(after_start(1800)));
    }
}

on_both! {
    async fn the_keys_are_the_same_after_a_restart(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let before = published(&server).await;
        let server = server.restart().await;
        assert_eq!(published(&server).await, before);
        assert_eq!(server.status_of(&token).await, S::Valid);
        assert_eq!(kid_of(&server.login(EMAIL, PASSWORD).await.unwrap().access_token), before[0].kid);
    }
}

on_both! {
    async fn a_new_key_is_published_before_it_signs_and_an_old_one_until_it_ends(database: Kind) {
        // S30
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let other = Server::start(database).await;
        add_key(&other.database, &server.database, 2, 960).await;
        let server = server.restart().await;

        let keys = published(&server).await;
        let kids: Vec<_> = keys.iter().map(|key| key.kid.clone()).collect();
        assert_eq!(kids.len(), 2);
        assert_eq!(keys[1].not_before_time, Some(after_start(960)));
        server.advance(959);
        let old = server.refresh(&tokens.refresh_token).await.unwrap();
        assert_eq!(kid_of(&old.access_token), kids[0]);
        server.advance(1);
        let new = server.refresh(&old.refresh_token).await.unwrap();
        assert_eq!(kid_of(&new.access_token), kids[1]);
        claims(&new.access_token, &keys[1]);
        for token in [&old.access_token, &new.access_token] {
            assert_eq!(server.status_of(token).await, S::Valid);
        }

        let end = server.database.time(Time::from_micros(START + 961 * 1_000_000));
        let retire = format!("UPDATE signing_keys SET not_after_time = {end} WHERE generation = 1");
        server.database.execute(&retire).await;
        let server = server.restart().await;
        assert_eq!(published(&server).await.len(), 2);
        assert_eq!(server.status_of(&old.access_token).await, S::Valid);
        server.advance(1);
        let left: Vec<_> = published(&server).await.into_iter().map(|key| key.kid).collect();
        assert_eq!(left, [kids[1].clone()]);
        assert_eq!(server.status_of(&old.access_token).await, S::Invalid);
        assert_eq!(server.status_of(&new.access_token).await, S::Valid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_start_at_once_on_an_empty_database_make_one_key() {
    let setup = Setup::new(Kind::Postgres).await;
    let (first, second) = tokio::join!(setup.replica().start(), setup.start());
    let keys = published(&first).await;
    assert_eq!(keys.len(), 1);
    assert_eq!(published(&second).await, keys);
    assert_eq!(first.database.query_text("SELECT kid FROM signing_keys").await, [keys[0].kid.clone()]);
    // What one signs, the other knows.
    let tokens = first.register().await;
    assert_eq!(second.status_of(&tokens.access_token).await, S::Valid);
    let tokens = second.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(first.status_of(&tokens.access_token).await, S::Valid);
}

/// How long a key is published before it signs: access tokens live for 900 s, and a minute.
const LEAD: u64 = 960;
/// How long it stays when another signs: as long as access tokens may live at most, and a minute.
const STAYS: u64 = 24 * 60 * 60 + 60;

async fn states(domain: &Domain) -> Vec<KeyState> {
    domain.signing_keys().await.unwrap().iter().map(|key| key.state).collect()
}

/// Waits until a replica publishes these keys.
async fn wait_for_keys(server: &Server, expected: &[&str]) {
    for _ in 0..2000 {
        if published(server).await.iter().map(|key| key.kid.as_str()).eq(expected.iter().copied()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} and not {expected:?}", published(server).await);
}

/// The id in a token of either format.
fn kid_in(token: &str) -> String {
    if token.starts_with("v4.") {
        return kid_of(token);
    }
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

on_both! {
    async fn every_token_is_good_through_two_rotations_and_an_old_key_goes_by_itself(database: Kind) {
        // S30
        for format in ["paseto", "jwt"] {
            let setup = Setup::new(database).await.set("TOKENS__FORMAT", format);
            let command = setup.domain().await;
            let server = setup.start().await;
            let mut tokens = server.register().await;
            let first = kid_in(&tokens.access_token);
            let mut kids = vec![first.clone()];
            for _ in 0..2 {
                let before = tokens.access_token.clone();
                let next = command.rotate_signing_key(Begin::Published).await.unwrap();
                assert!(next.made && next.published == next.lead, "{next:?}");
                kids.push(next.kid.clone());
                wait_for_keys(&server, &kids.iter().map(String::as_str).collect::<Vec<_>>()).await;
                // Again makes no other.
                let again = command.rotate_signing_key(Begin::Published).await.unwrap();
                assert!(!again.made && again.kid == next.kid, "{again:?}");

                server.advance(LEAD - 1);
                tokens = server.refresh(&tokens.refresh_token).await.unwrap();
                let last = tokens.access_token.clone();
                assert_eq!(kid_in(&last), kids[kids.len() - 2]);
                assert_eq!(server.status_of(&before).await, S::Expired);
                server.advance(1);
                tokens = server.refresh(&tokens.refresh_token).await.unwrap();
                assert_eq!(kid_in(&tokens.access_token), next.kid);
                for token in [&last, &tokens.access_token] {
                    assert_eq!(server.status_of(token).await, S::Valid);
                }
            }
            assert_eq!(states(&command).await, [KeyState::Retiring, KeyState::Retiring, KeyState::Signing]);
            let other = server.replica().domain().await;
            let stats = other.stats();
            assert_eq!(stats.signing_key_age, Some(Duration::ZERO));
            assert_eq!((stats.signing_keys.next, stats.signing_keys.signing, stats.signing_keys.retiring), (0, 1, 2));

            server.advance(STAYS - LEAD - 1);
            other.sweep().await.unwrap();
            assert_eq!(published(&server).await.len(), 3);
            server.advance(1);
            assert_eq!(published(&server).await.len(), 2);
            server.advance(1);
            other.sweep().await.unwrap();
            let left = server.database.query_text("SELECT kid FROM signing_keys ORDER BY generation").await;
            assert_eq!(left, kids[1..]);
        }
    }
}

on_both! {
    async fn a_retired_key_refuses_at_once_what_was_known_to_be_good(database: Kind) {
        // S30
        for format in ["paseto", "jwt"] {
            let setup = Setup::new(database).await.set("TOKENS__FORMAT", format);
            let command = setup.domain().await;
            let server = setup.start().await;
            let tokens = server.register().await;
            assert_eq!(server.status_of(&tokens.access_token).await, S::Valid);
            let old = kid_in(&tokens.access_token);
            let retired = command.retire_signing_key(&old).await.unwrap();
            let (successor, made) = retired.successor.unwrap();
            assert!(made && retired.state == KeyState::Signing);
            server.wait_for_status(&tokens.access_token, S::Invalid).await;
            wait_for_keys(&server, &[&successor]).await;
            // Nobody is signed out.
            let next = server.refresh(&tokens.refresh_token).await.unwrap();
            assert_eq!(kid_in(&next.access_token), successor);
            assert_eq!(server.status_of(&next.access_token).await, S::Valid);
            let again = command.retire_signing_key(&old).await;
            assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
        }
    }
}

on_both! {
    async fn the_next_key_takes_over_from_one_that_is_retired_and_can_itself_be_retired(database: Kind) {
        let command = Setup::new(database).await.domain().await;
        let first = command.signing_keys().await.unwrap().remove(0).kid;
        let next = command.rotate_signing_key(Begin::Published).await.unwrap();
        let retired = command.retire_signing_key(&next.kid).await.unwrap();
        assert!(retired.state == KeyState::Next && retired.successor.is_none());
        let left = command.signing_keys().await.unwrap().remove(0);
        assert_eq!((left.kid, left.state, left.not_after_time), (first.clone(), KeyState::Signing, None));

        let next = command.rotate_signing_key(Begin::Published).await.unwrap();
        let retired = command.retire_signing_key(&first).await.unwrap();
        assert_eq!(retired.successor, Some((next.kid, false)));
        assert_eq!(states(&command).await, [KeyState::Signing]);
    }
}

on_both! {
    async fn what_cannot_wait_signs_in_two_seconds(database: Kind) {
        let setup = Setup::new(database).await;
        let (command, clock) = (setup.domain().await, setup.clock());
        let published = command.rotate_signing_key(Begin::Published).await.unwrap();
        let now = command.rotate_signing_key(Begin::Now).await.unwrap();
        assert_eq!((&now.kid, now.made, now.not_before_time), (&published.kid, false, clock.now() + Duration::from_secs(2)));
        assert!(now.published < now.lead);
        clock.advance(Duration::from_secs(2));
        assert_eq!(states(&command).await, [KeyState::Retiring, KeyState::Signing]);
        assert!(command.rotate_signing_key(Begin::Now).await.unwrap().made);
    }
}

on_both! {
    async fn a_key_is_rotated_when_it_is_old_enough_by_one_of_many(database: Kind) {
        let setup = Setup::new(database).await.set("TOKENS__ROTATE_EVERY", "30d");
        let (one, other, clock) = (setup.domain().await, setup.replica().set("TOKENS__ROTATE_EVERY", "30d").domain().await, setup.clock());
        let off = setup.replica().set("TOKENS__ROTATE_EVERY", "0s").domain().await;
        clock.advance(Duration::from_secs(30 * 24 * 60 * 60 - LEAD - 1));
        assert!(one.rotate_signing_key_if_due().await.unwrap().is_none());
        clock.advance(Duration::from_secs(1));
        assert!(off.rotate_signing_key_if_due().await.unwrap().is_none());
        let asked = (0..8).map(|i| if i % 2 == 0 { &one } else { &other });
        let made = join_all(asked.map(|domain| domain.rotate_signing_key_if_due())).await;
        assert_eq!(made.into_iter().filter(|made| made.as_ref().unwrap().is_some()).count(), 1);
        assert_eq!(states(&one).await, [KeyState::Signing, KeyState::Next]);
    }
}
