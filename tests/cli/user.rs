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
        let (_, registered) = service.post(REGISTER, &account());
        let id = registered["user"]["id"].as_str().unwrap();
        for (args, expected) in [
            (&["grant", id, "jobs:read", "countersign:watch"][..], "countersign:watch jobs:read"),
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

on_both! {
    async fn the_first_administrator_is_made_as_the_guide_says_also_where_addresses_must_be_proven(database: Kind) {
        // S46
        for required in ["false", "true"] {
            let database = Database::create(database).await;
            let place = Place::on(&database).set("COUNTERSIGN_ACCOUNTS__REQUIRE_VERIFIED_EMAIL", required);
            let made = place.run_with(&["user", "create", "--email", EMAIL, "--name", "Admin"], PASSWORD);
            assert_eq!(made.code, Some(0), "{made:?}");
            let granted = place.run(&["user", "grant", EMAIL, "countersign:admin"]);
            assert_eq!((granted.code, granted.stdout.trim()), (Some(0), "countersign:admin"), "{granted:?}");
            let service = place.serve();
            let (code, tokens) = service.post(LOGIN, &account());
            assert_eq!((code, &tokens["user"]["email_verified"]), (200, &json!(true)), "{tokens}");
            let bearer = format!("authorization: Bearer {}\r\n", tokens["access_token"].as_str().unwrap());
            let made = json!({ "name": "jobs", "scopes": ["jobs:run"] });
            assert_eq!(service.post_with("/api/v1/admin/service-accounts", &made, &bearer).0, 200);
            service.stop();
        }
    }
}

on_both! {
    async fn an_operator_is_warned_that_a_stranger_may_have_registered_an_administrators_address(database: Kind) {
        // S46
        let database = Database::create(database).await;
        let place = Place::on(&database);
        let service = place.serve();
        let (_, stranger) = service.post(REGISTER, &account());
        let id = stranger["user"]["id"].as_str().unwrap();
        service.stop();
        let scopes = || objects(&place.run(&["user", "show", "--json", EMAIL]).stdout)[0]["scopes"].clone();
        let run = |arguments: &[&str]| {
            let ran = place.run(&[&["user"], arguments].concat());
            assert_eq!(ran.code, Some(0), "{ran:?}");
            ran.stderr.contains("warning").then_some(ran.stderr)
        };
        for scope in ["countersign:admin", "countersign:watch"] {
            let warning = run(&["grant", EMAIL, "a", scope]).expect("a warning");
            let back = format!("countersign user revoke-scope {id} a {scope}");
            assert!(warning.contains("stranger") && warning.contains(&back), "{warning}");
        }
        assert_eq!(scopes(), json!(["a", "countersign:admin", "countersign:watch"]));
        // What is not this service's to give comes without one, and so does taking.
        assert_eq!(run(&["grant", EMAIL, "a"]), None);
        assert_eq!(run(&["revoke-scope", EMAIL, "countersign:admin"]), None);
        // Whoever names the account knows whose it is; and whoever has the mailbox is no stranger.
        assert_eq!(run(&["grant", id, "countersign:watch"]), None);
        database.execute("UPDATE users SET email_verified_time = create_time").await;
        assert_eq!(run(&["grant", EMAIL, "countersign:admin"]), None);
    }
}

on_both! {
    async fn what_the_database_says_is_told_to_whoever_runs_a_command(database: Kind) {
        let database = Database::create(database).await;
        let place = Place::on(&database);
        assert_eq!(place.run(&["migrate"]).code, Some(0));
        database.execute("ALTER TABLE users RENAME TO away").await;
        for (args, input) in [
            (&["list"][..], ""),
            (&["show", EMAIL], ""),
            (&["disable", EMAIL], ""),
            (&["grant", EMAIL, "a"], ""),
            (&["revoke-credentials", EMAIL], ""),
            (&["create", "--email", EMAIL], PASSWORD),
            (&["import", "-"], r#"{"email": "a@example.com"}"#),
        ] {
            place.run_with(&[&["user"], args].concat(), input).expect_complaint(69, &["database.url: ", "users"]);
        }
    }
}

/// The objects of JSON lines.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

on_both! {
    async fn accounts_are_listed_and_shown_and_their_credentials_ended_under_a_running_service(database: Kind) {
        // S21
        let database = Database::create(database).await;
        let place = Place::on(&database);
        let service = place.serve();
        let (_, tokens) = service.post(REGISTER, &account());
        let (_, other) = service.post(LOGIN, &account());
        let bearer = format!("authorization: Bearer {}\r\n", tokens["access_token"].as_str().unwrap());
        let (_, key) = service.post_with("/api/v1/keys", &json!({ "name": "test" }), &bearer);
        let id = tokens["user"]["id"].as_str().unwrap();
        assert_eq!(place.run_with(&["user", "create", "--email", "second@example.com"], PASSWORD).code, Some(0));
        place.run(&["user", "disable", "second@example.com"]);

        let table = place.run(&["user", "list"]);
        let lines: Vec<_> = table.stdout.lines().collect();
        assert_eq!(lines.len(), 3, "{table:?}");
        assert!(lines[0].starts_with("ID ") && lines[0].ends_with("SCOPES"), "{table:?}");
        assert!(lines[1].contains("disabled") && lines[1].contains("second@example.com"), "{table:?}");
        assert!(lines[2].starts_with(id) && lines[2].contains(EMAIL), "{table:?}");
        for (args, expected) in [
            (&["--json"][..], &["second@example.com", EMAIL][..]),
            (&["--json", "--email", "USER@"], &[EMAIL]),
            (&["--json", "--disabled"], &["second@example.com"]),
            (&["--json", "--service-accounts"], &[]),
        ] {
            let ran = place.run(&[&["user", "list"], args].concat());
            let emails: Vec<_> = objects(&ran.stdout).iter().map(|user| user["email"].clone()).collect();
            assert_eq!((ran.code, emails), (Some(0), expected.iter().map(|email| json!(email)).collect()), "{args:?}");
        }

        for user in [id, EMAIL] {
            let shown = place.run(&["user", "show", user]);
            assert!(shown.stdout.contains(id) && shown.stdout.contains(EMAIL), "{shown:?}");
            // S57
            assert!(!shown.stdout.contains("argon2"), "{shown:?}");
            let shown = objects(&place.run(&["user", "show", "--json", user]).stdout).remove(0);
            assert_eq!((&shown["id"], &shown["has_password"]), (&json!(id), &json!(true)));
        }

        for (args, printed, worth) in [
            (&["--keys"][..], "sessions 0, keys 1", ["VALID", "VALID", "REVOKED"]),
            (&[], "sessions 2, keys 0", ["REVOKED"; 3]),
            (&["--sessions"], "sessions 0, keys 0", ["REVOKED"; 3]),
        ] {
            let ran = place.run(&[&["user", "revoke-credentials", EMAIL], args].concat());
            assert_eq!((ran.code, ran.stdout.trim()), (Some(0), printed), "{ran:?}");
            let credentials = [&tokens["access_token"], &other["access_token"], &key["secret"]];
            let is_so = || credentials.map(|credential| status(&service, credential)) == worth;
            assert!((0..2000).any(|_| {
                let so = is_so();
                std::thread::sleep(std::time::Duration::from_millis(if so { 0 } else { 10 }));
                so
            }), "{args:?}");
        }
        place.run(&["user", "show", "nobody@example.com"]).expect_complaint(1, &["no such user"]);
        place.run(&["user", "revoke-credentials", "nobody"]).expect_complaint(64, &["neither a user's id"]);
        assert_eq!(place.run(&["user", "revoke-credentials", EMAIL, "--keys", "--sessions"]).code, Some(64));
        service.stop();
    }
}

on_both! {
    async fn accounts_of_another_system_are_imported_and_every_bad_line_is_named(database: Kind) {
        let database = Database::create(database).await;
        let place = Place::on(&database);
        let service = place.serve();
        // Of `PASSWORD`, by libxcrypt.
        let bcrypt = "$2y$10$abcdefghijklmnopqrstuuCj7fyLDJytXL.TfOiOeiv0fQvSOK1/2";
        let mut lines: Vec<_> =
            (0..250).map(|n| json!({ "email": format!("p{n}@example.com") }).to_string()).collect();
        lines[120] = json!({ "email": EMAIL, "password_hash": bcrypt, "email_verified": true, "scopes": ["a"] }).to_string();
        std::fs::write(place.path("good.jsonl"), lines.join("\n")).unwrap();
        for summary in ["created 250, existing 0, refused 0", "created 0, existing 250, refused 0"] {
            let ran = place.run(&["user", "import", "good.jsonl"]);
            assert_eq!((ran.code, ran.stdout.trim()), (Some(0), summary), "{ran:?}");
        }
        let (code, signed_in) = service.post(LOGIN, &account());
        assert_eq!((code, &signed_in["scopes"], &signed_in["user"]["email_verified"]), (200, &json!(["a"]), &json!(true)));
        service.stop();

        let secret = "canary-hash";
        let bad = [
            "{".to_owned(),
            json!({ "email": "nowhere" }).to_string(),
            String::new(),
            json!({ "email": "new@example.com" }).to_string(),
            json!({ "email": "a@example.com", "password_hash": secret }).to_string(),
            json!({ "email": "a@example.com", "password": secret }).to_string(),
            json!({ "email": "a@example.com", "email_verified": secret }).to_string(),
            json!({ "name": "a" }).to_string(),
        ];
        let ran = place.run_with(&["user", "import", "-"], &bad.join("\n"));
        assert_eq!((ran.code, ran.stdout.trim()), (Some(1), "created 1, existing 0, refused 6"), "{ran:?}");
        let told: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("-:")).collect();
        let expected = ["-:1: not a JSON object", "-:2: email: ", "-:5: password_hash: ", "-:6: ", "-:7: ", "-:8: "];
        assert_eq!(told.len(), expected.len(), "{ran:?}");
        for (line, expected) in told.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
        // S57
        assert!(!ran.stderr.contains(secret), "{ran:?}");
        place.run(&["user", "import", "none.jsonl"]).expect_complaint(64, &["none.jsonl"]);

        // What is no text ends no more than its own line: those before and after it are taken over.
        let line = |name: &str| json!({ "email": format!("{name}@example.com") }).to_string().into_bytes();
        let bytes = [line("before"), b"{\"email\": \"\xff@example.com\"}".to_vec(), b" \r".to_vec(), line("after")].join(&b'\n');
        std::fs::write(place.path("bytes.jsonl"), bytes).unwrap();
        let ran = place.run(&["user", "import", "bytes.jsonl"]);
        assert_eq!((ran.code, ran.stdout.trim()), (Some(1), "created 2, existing 0, refused 1"), "{ran:?}");
        assert!(ran.stderr.contains("bytes.jsonl:2: not UTF-8, after 11 bytes"), "{ran:?}");
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
