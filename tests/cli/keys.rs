//! The commands for signing keys and master keys, beside a running service and by themselves.

use std::{fs, thread, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{LOGIN, MASTER_KEY, Place, REGISTER, Ran, account, user::status};
use crate::{
    common::{Database, Kind},
    on_both,
};

/// Another master key.
const NEW_MASTER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
/// What a service says once the old master key may go.
const SEALED_ANEW: &str = "everything is sealed under secrets.master_key";

/// Expects a command to succeed, and returns what it prints.
#[track_caller]
fn done(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

/// Id and state of each key, oldest first, as `list --json` has them.
fn keys(place: &Place) -> Vec<(String, String)> {
    let listed: Vec<Value> =
        serde_json::from_str(&done(place.run(&["signing-key", "list", "--json"]))).unwrap();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    listed.iter().map(|key| (text(key, "kid"), text(key, "state"))).collect()
}

fn states(place: &Place) -> Vec<String> {
    keys(place).into_iter().map(|(_, state)| state).collect()
}

/// The id of the key that has signed a token.
fn kid_of(token: &Value) -> String {
    let footer = URL_SAFE_NO_PAD.decode(token.as_str().unwrap().split('.').nth(3).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&footer).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// Waits until something holds: a service sees within a second what a command did, on a machine that is not busy.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} does not come true");
}

on_both! {
    async fn signing_keys_are_listed_rotated_and_retired_beside_a_running_service(database: Kind) {
        // S30
        let database = Database::create(database).await;
        let place = Place::on(&database);
        let service = place.serve();
        let (_, tokens) = service.post(REGISTER, &account());
        let first = kid_of(&tokens["access_token"]);
        assert_eq!(keys(&place), [(first.clone(), "signing".to_owned())]);
        let listed: Value =
            serde_json::from_str(&done(place.run(&["signing-key", "list", "--json"]))).unwrap();
        assert!(listed[0]["create_time"].is_string() && listed[0]["not_before_time"].is_string(), "{listed}");
        assert!(listed[0]["not_after_time"].is_null(), "{listed}");

        // The next is made once, and does not sign.
        let made = done(place.run(&["signing-key", "rotate"]));
        let next = keys(&place)[1].0.clone();
        assert!(made.starts_with(&format!("{next} (made) signs from ")) && made.lines().count() == 1, "{made}");
        let again = done(place.run(&["signing-key", "rotate"]));
        assert!(again.starts_with(&format!("{next} (made before) signs from ")), "{again}");
        assert_eq!(states(&place), ["signing", "next"]);
        let table = done(place.run(&["signing-key", "list"]));
        let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["KID", "STATE", "MADE", "SIGNS", "FROM", "ENDS"]);
        assert_eq!((rows[1][..2].to_vec(), rows[2][..2].to_vec()), (vec![first.as_str(), "signing"], vec![next.as_str(), "next"]));
        assert_eq!((rows.len(), rows[2].last()), (3, Some(&"-")));

        // Sooner, and it is said what that costs.
        let now = done(place.run(&["signing-key", "rotate", "--now"]));
        assert!(now.starts_with(&format!("{next} (made before) signs from ")), "{now}");
        assert!(now.contains("services that verify tokens themselves may refuse its tokens"), "{now}");
        let mut signed = json!(null);
        soon("the next key signs", || {
            signed = service.post(LOGIN, &account()).1["access_token"].take();
            kid_of(&signed) == next
        });
        assert_eq!(states(&place), ["retiring", "signing"]);
        let worth = |token: &Value| status(&service, token);
        assert_eq!((worth(&tokens["access_token"]), worth(&signed)), ("VALID".to_owned(), "VALID".to_owned()));

        let retired = done(place.run(&["signing-key", "retire", &first]));
        assert!(retired.starts_with(&format!("{first} is retired")) && retired.lines().count() == 1, "{retired}");
        soon("a retired key's token is refused", || worth(&tokens["access_token"]) == "INVALID");
        assert_eq!(worth(&signed), "VALID");
        let refresh = json!({ "refresh_token": tokens["refresh_token"] });
        assert_eq!(service.post("/api/v1/auth/refresh", &refresh).0, 200, "nobody is signed out");
        place.run(&["signing-key", "retire", &first]).expect_complaint(1, &["there is no signing key", &first]);

        // The one that signs has a successor at once, which is named.
        let retired = done(place.run(&["signing-key", "retire", &next]));
        let left = keys(&place);
        assert_eq!((left.len(), left[0].1.as_str()), (1, "signing"));
        assert!(retired.contains(&format!("{} was made", left[0].0)), "{retired}");
        soon("the successor signs", || kid_of(&service.post(LOGIN, &account()).1["access_token"]) == left[0].0);
        soon("a retired key's token is refused", || worth(&signed) == "INVALID");
        service.stop();
    }
}

on_both! {
    async fn in_an_emergency_every_key_is_retired_and_another_one_signs(database: Kind) {
        // S30
        let database = Database::create(database).await;
        let place = Place::on(&database);
        let service = place.serve();
        let (_, tokens) = service.post(REGISTER, &account());
        let first = kid_of(&tokens["access_token"]);
        done(place.run(&["signing-key", "rotate", "--now"]));
        let mut signed = json!(null);
        soon("the second key signs", || {
            signed = service.post(LOGIN, &account()).1["access_token"].take();
            kid_of(&signed) != first
        });
        done(place.run(&["signing-key", "rotate"]));
        let leaked = keys(&place);
        let state = |number: usize| leaked[number].1.as_str();
        assert_eq!((leaked.len(), state(0), state(1), state(2)), (3, "retiring", "signing", "next"));
        for (kid, _) in leaked.iter().rev() {
            done(place.run(&["signing-key", "retire", kid]));
        }
        let left = keys(&place);
        assert_eq!((left.len(), left[0].1.as_str()), (1, "signing"));
        assert!(leaked.iter().all(|(kid, _)| *kid != left[0].0), "{left:?}");
        for token in [&tokens["access_token"], &signed] {
            soon("a retired key's token is refused", || status(&service, token) == "INVALID");
        }
        soon("the new key signs", || kid_of(&service.post(LOGIN, &account()).1["access_token"]) == left[0].0);
        service.stop();
    }
}

#[test]
fn an_unknown_signing_key_is_named_and_so_is_a_database_that_is_away() {
    let place = Place::empty();
    let kid = "k4.pid.no-such-key";
    place.run(&["signing-key", "retire", kid]).expect_complaint(1, &["there is no signing key", kid]);
    assert_eq!(states(&place), ["signing"]);
    for usage in [
        &["signing-key"][..],
        &["signing-key", "retire"],
        &["signing-key", "rotate", "soon"],
        &["master-key"],
    ] {
        assert_eq!(place.run(usage).code, Some(64), "{usage:?}");
    }
    let away = Place::empty()
        .set("COUNTERSIGN_DATABASE__URL", "postgres://user@127.0.0.1:1/auth")
        .set("COUNTERSIGN_SECRETS__MASTER_KEY", MASTER_KEY);
    for command in [
        &["signing-key", "list"][..],
        &["signing-key", "rotate"],
        &["signing-key", "retire", kid],
        &["master-key", "check"],
    ] {
        away.run(command).expect_complaint(69, &["database.url"]);
    }
}

on_both! {
    async fn the_master_key_is_exchanged_and_one_that_opens_nothing_is_refused(database: Kind) {
        // S58
        let database = Database::create(database).await;
        let with = |key: &str, previous: &str| {
            Place::on(&database)
                .set("COUNTERSIGN_SECRETS__MASTER_KEY", key)
                .set("COUNTERSIGN_SECRETS__PREVIOUS_MASTER_KEYS", previous)
        };
        let old = with(MASTER_KEY, "");
        let service = old.serve();
        let (_, tokens) = service.post(REGISTER, &account());
        service.stop();
        let kid = kid_of(&tokens["access_token"]);
        assert!(done(old.run(&["master-key", "check"])).contains("under secrets.previous_master_keys: 0\n"));

        let new = with(NEW_MASTER_KEY, "");
        for command in [&["serve"][..], &["master-key", "check"], &["signing-key", "list"]] {
            new.run(command).expect_complaint(64, &["secrets.master_key", &kid]);
        }

        // Both, the new one first: `check` changes nothing, a service seals anew and says when that is done.
        let both = with(NEW_MASTER_KEY, MASTER_KEY);
        for _ in 0..2 {
            let check = both.run(&["master-key", "check"]);
            assert_eq!(check.code, Some(1), "{check:?}");
            assert!(check.stdout.starts_with("sealed under secrets.master_key: 0\n"), "{check:?}");
            assert!(check.stdout.ends_with("under another: 0\n"), "{check:?}");
        }
        let mut service = both.serve();
        service.line_with(SEALED_ANEW);
        assert_eq!(status(&service, &tokens["access_token"]), "VALID");
        let check = done(both.run(&["master-key", "check"]));
        assert!(check.ends_with("under secrets.previous_master_keys: 0\nunder another: 0\n"), "{check}");
        service.stop();

        let service = new.serve();
        assert_eq!(status(&service, &tokens["access_token"]), "VALID");
        let refresh = json!({ "refresh_token": tokens["refresh_token"] });
        assert_eq!(service.post("/api/v1/auth/refresh", &refresh).0, 200);
        service.stop();
        old.run(&["serve"]).expect_complaint(64, &["secrets.master_key", &kid]);
    }
}

#[test]
fn the_file_beside_a_sqlite_database_is_exchanged_as_the_guide_says() {
    // S58
    let place = Place::empty();
    let service = place.serve();
    let (_, tokens) = service.post(REGISTER, &account());
    service.stop();
    fs::rename(place.path("countersign.key"), place.path("old.key")).unwrap();
    fs::write(place.path("countersign.key"), format!("{NEW_MASTER_KEY}\n")).unwrap();
    place.run(&["serve"]).expect_complaint(64, &["secrets.master_key", &kid_of(&tokens["access_token"])]);

    let place = place.set("COUNTERSIGN_SECRETS__PREVIOUS_MASTER_KEYS_FILE", "old.key");
    let mut service = place.serve();
    service.line_with(SEALED_ANEW);
    service.stop();
    done(place.run(&["master-key", "check"]));

    fs::remove_file(place.path("old.key")).unwrap();
    let place = place.unset("COUNTERSIGN_SECRETS__PREVIOUS_MASTER_KEYS_FILE");
    let service = place.serve();
    assert_eq!(status(&service, &tokens["access_token"]), "VALID");
    service.stop();
}
