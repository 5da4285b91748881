//! Accounts are shut and opened again beside a running service.

use serde_json::{Value, json};

use super::{EMAIL, LOGIN, PASSWORD, Place, REGISTER, Service, account};
use crate::{
    common::{Database, Kind},
    on_both,
};

/// What the service says that a credential is worth.
pub fn status(service: &Service, credential: &Value) -> String {
    let (status, answer) = service.post("/api/v1/auth/validate", &json!({ "credential": credential }));
    assert_eq!(status, 200, "{answer}");
    answer["status"].as_str().unwrap().trim_start_matches("CREDENTIAL_STATUS_").to_owned()
}

/// The status and the reason of a refusal.
fn refusal((status, answer): (u16, Value)) -> (u16, String) {
    (status, answer["reason"].as_str().unwrap_or_default().to_owned())
}

on_both! {
    async fn a_running_service_refuses_who_was_shut_out(database: Kind) {
        // S21
        let database = Database::create(database).await;
        let place = Place::on(&database);
        let service = place.serve();
        let (_, registered) = service.post(REGISTER, &account());
        let id = registered["user"]["id"].as_str().unwrap();
        for user in [id, EMAIL, " User@EXAMPLE.com"] {
            let (_, tokens) = service.post(LOGIN, &account());
            let bearer = format!("authorization: Bearer {}\r\n", tokens["access_token"].as_str().unwrap());
            let (_, key) = service.post_with("/api/v1/keys", &json!({ "name": "test" }), &bearer);
            let worth = || [status(&service, &tokens["access_token"]), status(&service, &key["secret"])];
            // What a command did is known within a second, on a machine that is not busy.
            let soon = |expected: [&str; 2]| {
                for _ in 0..2000 {
                    if worth() == expected {
                        return;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                panic!("{:?} and not {expected:?}", worth());
            };
            let refresh = || {
                service.post("/api/v1/auth/refresh", &json!({ "refresh_token": tokens["refresh_token"] }))
            };
            soon(["VALID", "VALID"]);

            // Again is no error.
            for _ in 0..2 {
                let ran = place.run(&["user", "disable", user]);
                assert_eq!((ran.code, ran.stdout.trim()), (Some(0), id), "{ran:?}");
            }
            soon(["DISABLED", "DISABLED"]);
            assert_eq!(refusal(refresh()), (401, "REFRESH_TOKEN_INVALID".to_owned()));
            assert_eq!(refusal(service.post(LOGIN, &account())), (403, "ACCOUNT_DISABLED".to_owned()));
            // Only who knows the password is told (S14).
            let wrong = service.post(LOGIN, &json!({ "email": EMAIL, "password": "not it at all" }));
            assert_eq!(refusal(wrong), (401, "WRONG_EMAIL_OR_PASSWORD".to_owned()));

            for _ in 0..2 {
                let ran = place.run(&["user", "enable", user]);
                assert_eq!((ran.code, ran.stdout.trim()), (Some(0), id), "{ran:?}");
            }
            soon(["REVOKED", "REVOKED"]);
            assert_eq!(refusal(refresh()), (401, "REFRESH_TOKEN_INVALID".to_owned()));
        }
        assert_eq!(service.post(LOGIN, &account()).0, 200);
        service.stop();
        let told = "SELECT action FROM events WHERE action LIKE '%able_account' ORDER BY id";
        assert_eq!(database.query_text(told).await, ["disable_account", "enable_account"].repeat(3));
    }
}

on_both! {
    async fn scopes_are_granted_and_revoked_under_a_running_service(database: Kind) {
        // S34
        let database = Database::create(database).await;
        let place = Place::on(&database);
        let service = place.serve();
        service.post(REGISTER, &account());
        for (args, expected) in [
            (&["grant", EMAIL, "jobs:read", "countersign:watch"][..], "countersign:watch jobs:read"),
            (&["grant", EMAIL, "jobs:read"], "countersign:watch jobs:read"),
            (&["grant", EMAIL, "jobs:write"], "countersign:watch jobs:read jobs:write"),
            (&["revoke-scope", EMAIL, "jobs:write", "other"], "countersign:watch jobs:read"),
        ] {
            let ran = place.run(&[&["user"], args].concat());
            assert_eq!((ran.code, ran.stdout.trim()), (Some(0), expected), "{ran:?}");
        }
        let (_, tokens) = service.post(LOGIN, &account());
        assert_eq!(tokens["scopes"], json!(["countersign:watch", "jobs:read"]));
        let question = json!({ "credential": tokens["access_token"], "required_scopes": ["jobs:read"] });
        let worth = || service.post("/api/v1/auth/validate", &question).1["status"].clone();
        assert_eq!(worth(), "CREDENTIAL_STATUS_VALID");
        let ran = place.run(&["user", "revoke-scope", EMAIL, "jobs:read"]);
        assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "countersign:watch"), "{ran:?}");
        for _ in 0..2000 {
            if worth() == "CREDENTIAL_STATUS_INSUFFICIENT_SCOPE" {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(worth(), "CREDENTIAL_STATUS_INSUFFICIENT_SCOPE");
        let ran = place.run(&["user", "grant", EMAIL, "not a scope"]);
        assert!(ran.code != Some(0) && ran.stderr.contains("a scope is"), "{ran:?}");
        service.stop();
        // What changes nothing is no event.
        let told = "SELECT action FROM events WHERE action = 'change_scopes'";
        assert_eq!(database.query_text(told).await.len(), 4);
    }
}

#[test]
fn whom_nobody_knows_is_told_in_one_line() {
    let place = Place::empty();
    let made = place.run_with(&["user", "create", "--email", EMAIL], PASSWORD);
    assert_eq!(made.code, Some(0), "{made:?}");
    let unknown = ["usr_00000000000000000000000000000000", "nobody@example.com"];
    let id = made.stdout.trim();
    let malformed =
        ["", "nobody", "usr_", &id[1..], &id.to_uppercase(), "@", "a@example.com\nb", "\u{1f980}"];
    // What cannot be anybody is known without the database.
    let away = Place::empty()
        .set("COUNTERSIGN_DATABASE__URL", "postgres://user@127.0.0.1:1/auth")
        .set("COUNTERSIGN_SECRETS__MASTER_KEY", super::MASTER_KEY);
    for command in ["disable", "enable"] {
        for user in unknown {
            place.run(&["user", command, user]).expect_complaint(1, &["no such user"]);
        }
        for user in malformed {
            for place in [&place, &away] {
                let ran = place.run(&["user", command, user]);
                ran.expect_complaint(64, &["neither a user's id", "nor an e-mail address"]);
            }
        }
        assert_eq!(place.run(&["user", command]).code, Some(64));
        away.run(&["user", command, EMAIL]).expect_complaint(69, &["database.url"]);
    }
}
