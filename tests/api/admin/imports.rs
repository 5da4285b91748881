//! Accounts of another system, with the hashes of their passwords.

use serde_json::{Value, json};

use super::{House, TWO_DOORS};
use crate::{
    common::Kind,
    log::Log,
    on_both,
    support::{EMAIL, PASSWORD, Setup, reason},
    wire::Door,
};

/// Of `PASSWORD`, by libxcrypt.
const BCRYPT: &str = "$2y$10$abcdefghijklmnopqrstuuCj7fyLDJytXL.TfOiOeiv0fQvSOK1/2";
/// Of `PASSWORD`, by argon2-cffi.
const ARGON2I: &str =
    "$argon2i$v=19$m=8192,t=3,p=2$c29tZXNhbHQwMTIzNDU2Nw$/jwaptJsClnQb+088ogp+qI9+QpNlpLT9KFiTN9NvIM";
const ARGON2ID: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQwMTIzNDU2Nw$kRAuLUXFLgscxH3Pj1bqSQ";

/// Outcome and refused field of each.
fn results(answer: &Value) -> Vec<(&str, &str)> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| {
            let outcome = result["outcome"].as_str().unwrap();
            (outcome.trim_start_matches("IMPORT_OUTCOME_"), result["field"].as_str().unwrap())
        })
        .collect()
}

async fn stored(house: &House, email: &str) -> String {
    let query = format!("SELECT password_hash FROM users WHERE email = '{email}'");
    house.server.database.query_text(&query).await.remove(0)
}

on_both! {
    async fn an_imported_password_signs_in_and_is_hashed_anew(database: Kind) {
        // S6
        let house = House::start(database).await;
        for (n, hash) in [BCRYPT, ARGON2I, ARGON2ID].into_iter().enumerate() {
            let (door, email) = (TWO_DOORS[n % 2], format!("person{n}@example.com"));
            let person = json!({"email": email, "name": "Ann", "password_hash": hash, "scopes": ["a"]});
            let import = json!({"users": [person]});
            let answer = house.call(door, "ImportUsers", import.clone()).await;
            assert_eq!(results(&answer), [("CREATED", "")]);
            let id = answer["results"][0]["user_id"].as_str().unwrap();
            assert_eq!(stored(&house, &email).await, hash);
            house.server.advance(1);
            let refused = house.server.login(&email, "wrong horse battery").await.unwrap_err();
            assert_eq!(reason(&refused), "WRONG_EMAIL_OR_PASSWORD");
            assert_eq!(stored(&house, &email).await, hash, "only the right one says what to hash");

            let tokens = house.server.login(&email, PASSWORD).await.unwrap();
            let user = tokens.user.unwrap();
            assert_eq!((user.id.as_str(), user.name.as_str(), user.email_verified), (id, "Ann", false));
            assert_eq!(tokens.scopes, ["a"]);
            let anew = stored(&house, &email).await;
            assert!(anew.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{anew}");
            house.server.login(&email, PASSWORD).await.unwrap();
            assert_eq!(stored(&house, &email).await, anew);

            // Again changes nothing, whatever it says of the account.
            let again = house.call(door, "ImportUsers", import).await;
            assert_eq!(results(&again), [("EXISTS", "")]);
            assert_eq!(again["results"][0]["user_id"], id);
            assert_eq!(stored(&house, &email).await, anew);
            let told = house.told(id).await;
            assert_eq!(told[0], ["IMPORT_ACCOUNT".to_owned(), house.admin_id().to_owned(), String::new()]);
            assert_eq!(told.iter().filter(|[action, ..]| action == "IMPORT_ACCOUNT").count(), 1);
        }
    }
}

on_both! {
    async fn each_is_told_what_became_of_it(database: Kind) {
        // S57: no answer, and no log, repeats a hash.
        let log = Log::start();
        let server = Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "everybody").start().await;
        server.register().await;
        let house = House::on(server).await;
        let (bad, good) = ("canary-hash-of-another-kind", BCRYPT);
        let person = |email: &str, hash: &str| json!({"email": email, "password_hash": hash});
        let users = json!([
            person("new@example.com", good),
            person(" USER@example.com", good),
            person("NEW@example.com", ""),
            person("nowhere", good),
            person("a@example.com", bad),
            person("b@example.com", &good.replace("$10$", "$15$")),
            person("c@example.com", &ARGON2ID.replace("m=19456", "m=1000000")),
            person("d@example.com", &ARGON2ID.replace("m=19456", "m=4294967295")),
            person("e@example.com", &"\u{1f980}".repeat(200)),
            {"email": "f@example.com", "name": "a\u{7}"},
            {"email": "g@example.com", "scopes": ["a b"]},
            {"email": "without@example.com", "email_verified": true},
        ]);
        for (door, created) in TWO_DOORS.into_iter().zip(["CREATED", "EXISTS"]) {
            let answer = house.call(door, "ImportUsers", json!({"users": users})).await;
            let hash = ("REFUSED", "password_hash");
            assert_eq!(results(&answer), [
                (created, ""), ("EXISTS", ""), ("EXISTS", ""), ("REFUSED", "email"), hash, hash, hash, hash, hash,
                ("REFUSED", "name"), ("REFUSED", "scopes"), (created, ""),
            ]);
            for result in answer["results"].as_array().unwrap() {
                let refused = result["outcome"] == "IMPORT_OUTCOME_REFUSED";
                assert_eq!(result["user_id"] == "", refused, "{result}");
                assert_eq!(result["description"] != "", refused, "{result}");
            }
            assert!(!answer.to_string().contains(bad) && !answer.to_string().contains(&good[8..]));
        }
        let text = log.text();
        assert!(text.contains("import_account succeeded") && !text.contains(bad) && !text.contains(&good[8..]));

        let tokens = house.server.login("new@example.com", PASSWORD).await.unwrap();
        assert_eq!(tokens.scopes, ["everybody"]);
        // Without a password none signs in, and a mailed link gives one (S7).
        for password in ["", PASSWORD] {
            let refused = house.server.login("without@example.com", password).await.unwrap_err();
            assert_eq!(reason(&refused), "WRONG_EMAIL_OR_PASSWORD");
        }
        house.server.new_mails().await;
        house.server.forgot_password("without@example.com").await.unwrap();
        let token = house.server.mailed_token().await;
        house.server.reset_password(&token, "battery staple horse").await.unwrap();
        let user = house.server.login("without@example.com", "battery staple horse").await.unwrap().user.unwrap();
        assert!(user.email_verified);
        assert_eq!(reason(&house.server.login(EMAIL, "battery staple horse").await.unwrap_err()), "WRONG_EMAIL_OR_PASSWORD");
    }
}

on_both! {
    async fn a_hundred_go_in_one_call_and_no_more(database: Kind) {
        let house = House::start(database).await;
        let people = |count: usize| -> Vec<Value> {
            (0..count).map(|n| json!({"email": format!("p{n}@example.com"), "password_hash": BCRYPT})).collect()
        };
        house.refuses("ImportUsers", json!({"users": people(101)}), "INVALID_FIELD").await;
        let answer = house.call(Door::Grpc, "ImportUsers", json!({"users": people(100)})).await;
        assert_eq!(results(&answer), [("CREATED", ""); 100]);
        assert_eq!(house.call(Door::Rest, "ImportUsers", json!({})).await, json!({"results": []}));
    }
}

on_both! {
    async fn two_imports_at_once_make_one_account(database: Kind) {
        let house = House::start(database).await;
        let import = |n: usize| {
            // In two orders, by which each might wait for the other.
            let mut users = [json!({"email": EMAIL}), json!({"email": "b@example.com"})];
            users.rotate_left(n % 2);
            house.call(Door::Grpc, "ImportUsers", json!({"users": users}))
        };
        let answers = futures_util::future::join_all((0..16).map(import)).await;
        let created = answers.iter().flat_map(results).filter(|(outcome, _)| *outcome == "CREATED").count();
        assert_eq!(created, 2);
    }
}
