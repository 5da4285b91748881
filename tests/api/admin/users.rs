//! Accounts are looked up, shut, opened, deleted, and told what they may do.

use countersign::api::pb::CredentialStatus as S;
use serde_json::{Value, json};

use super::{ADMIN, House, SCOPE, TWO_DOORS};
use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, bearer, reason},
    wire::Door,
};

fn emails(answer: &Value) -> Vec<&str> {
    answer["users"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect()
}

on_both! {
    async fn accounts_are_found_by_page_address_state_and_kind(database: Kind) {
        let house = House::start(database).await;
        for email in ["ann@example.com", "Ann.B@Example.com", "a_n@example.com", "a%n@example.com", "bob@example.org"] {
            house.server.advance(1);
            house.server.register_as(email).await;
        }
        house.server.advance(1);
        let shut = house.person("shut@example.org").await;
        house.call(Door::Grpc, "DisableUser", json!({"user_id": shut.id})).await;
        house.server.advance(1);
        house.call(Door::Grpc, "CreateServiceAccount", json!({"name": "robot"})).await;
        let all = [
            "", "shut@example.org", "bob@example.org", "a%n@example.com", "a_n@example.com", "Ann.B@Example.com",
            "ann@example.com", ADMIN,
        ];
        for door in TWO_DOORS {
            for (message, expected) in [
                (json!({}), &all[..]),
                (json!({"email": "ann@example.com"}), &["ann@example.com"]),
                (json!({"email": " ANN@example.COM"}), &["ann@example.com"]),
                (json!({"email": "ann"}), &["Ann.B@Example.com", "ann@example.com"]),
                (json!({"email": "ANN.b@"}), &["Ann.B@Example.com"]),
                // Nothing of it is a pattern.
                (json!({"email": "a_n"}), &["a_n@example.com"]),
                (json!({"email": "a%"}), &["a%n@example.com"]),
                (json!({"email": "\\"}), &[]),
                (json!({"email": "usr_"}), &[]),
                (json!({"email": "example.org"}), &[]),
                (json!({"disabled": true}), &["shut@example.org"]),
                (json!({"disabled": false, "email": "s"}), &[]),
                (json!({"kind": "USER_KIND_SERVICE_ACCOUNT"}), &[""]),
                (json!({"kind": "USER_KIND_PERSON", "disabled": false}), &all[2..]),
            ] {
                let answer = house.call(door, "ListUsers", message.clone()).await;
                assert_eq!(emails(&answer), expected, "{door:?} {message}");
            }
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let page = house.call(door, "ListUsers", json!({"page_size": 3, "page_token": token})).await;
                assert!(emails(&page).len() <= 3);
                seen.extend(emails(&page).into_iter().map(str::to_owned));
                page["next_page_token"].as_str().unwrap().clone_into(&mut token);
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, all);
        }
        for bad in [
            json!({"page_size": -1}),
            json!({"page_token": "x"}),
            json!({"page_token": shut.id}),
            json!({"email": "a\u{0}"}),
            json!({"email": "x".repeat(255)}),
        ] {
            house.refuses("ListUsers", bad, "INVALID_FIELD").await;
        }
    }
}

on_both! {
    async fn an_account_is_shown_whole(database: Kind) {
        let house = House::start(database).await;
        let mut shown = Vec::new();
        for door in TWO_DOORS {
            let user = house.call(door, "GetUser", json!({"user_id": house.admin_id()})).await;
            assert_eq!(user["email"], ADMIN);
            assert_eq!(user["kind"], "USER_KIND_PERSON");
            assert_eq!(user["scopes"], json!([SCOPE, "jobs:run"]));
            assert!(user.get("disable_time").is_none_or(Value::is_null) && user.get("password_hash").is_none());
            shown.push(user);
        }
        assert_eq!(shown[0], shown[1]);
    }
}

on_both! {
    async fn an_account_is_shut_and_opened(database: Kind) {
        // S21
        let house = House::start(database).await;
        for door in TWO_DOORS {
            let person = house.person(&format!("{door:?}@example.com")).await;
            let whom = || json!({"user_id": person.id});
            for _ in 0..2 {
                let shut = house.call(door, "DisableUser", whom()).await;
                assert!(shut["disable_time"].is_string(), "{shut}");
                person.assert_worth(&house.server, [S::Disabled; 3]).await;
            }
            assert_eq!(house.call(door, "GetUser", whom()).await["disable_time"].as_str().map(str::len), Some(20));
            let refused = house.server.login(&person.email, PASSWORD).await.unwrap_err();
            assert_eq!(reason(&refused), "ACCOUNT_DISABLED");
            for _ in 0..2 {
                let opened = house.call(door, "EnableUser", whom()).await;
                assert!(opened.get("disable_time").is_none_or(Value::is_null), "{opened}");
            }
            person.assert_worth(&house.server, [S::Revoked; 3]).await;
            house.server.login(&person.email, PASSWORD).await.unwrap();
            // What changes nothing is no event.
            let told = house.told(&person.id).await;
            let acts: Vec<_> = told.iter().filter(|[action, ..]| action.ends_with("ABLE_ACCOUNT")).collect();
            let act = |action: &str| [action.to_owned(), house.admin_id().to_owned(), String::new()];
            assert_eq!(acts, [&act("DISABLE_ACCOUNT"), &act("ENABLE_ACCOUNT")]);
        }
    }
}

on_both! {
    async fn nobody_shuts_or_deletes_their_own_account_here(database: Kind) {
        let house = House::start(database).await;
        for rpc in ["DisableUser", "DeleteUser"] {
            house.refuses(rpc, json!({"user_id": house.admin_id()}), "INVALID_FIELD").await;
        }
        assert_eq!(house.server.status_of(&house.admin.access_token).await, S::Valid);
    }
}

on_both! {
    async fn nobody_takes_the_right_to_administer_from_themselves_here(database: Kind) {
        let house = House::start(database).await;
        let set = |id: &str, scopes: Value| json!({"user_id": id, "scopes": scopes});
        for scopes in [json!([]), json!(["jobs:run"]), json!(["countersign", "countersign:admins"])] {
            house.refuses("SetScopes", set(house.admin_id(), scopes), "INVALID_FIELD").await;
        }
        // All else is theirs to change, and the right is another's to take.
        for door in TWO_DOORS {
            for scopes in [json!([SCOPE]), json!([SCOPE, "other"])] {
                let answer = house.call(door, "SetScopes", set(house.admin_id(), scopes.clone())).await;
                assert_eq!(answer["scopes"], scopes);
            }
        }
        let second = house.person(EMAIL).await;
        house.call(Door::Grpc, "SetScopes", set(&second.id, json!([SCOPE]))).await;
        let token = house.server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        let answer = house.ask(Door::Grpc, &token, "SetScopes", &set(house.admin_id(), json!([]))).await;
        assert_eq!(answer.result.unwrap().get("scopes").cloned().unwrap_or(json!([])), json!([]));
    }
}

on_both! {
    async fn scopes_are_replaced_and_what_was_issued_before_gains_none(database: Kind) {
        // S34
        let house = House::start(database).await;
        let person = house.person(EMAIL).await;
        let set = |scopes: Value| json!({"user_id": person.id, "scopes": scopes});
        let answer = house.call(Door::Rest, "SetScopes", set(json!(["b", "a", "b"]))).await;
        assert_eq!(answer["scopes"], json!(["a", "b"]));
        let before = &person.credentials[0];
        let missing = house.server.validate_for(before, &["a"]).await;
        assert_eq!(missing.status(), S::InsufficientScope);
        let token = house.server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        let key = house.server.create_key(&token, &["a", "b"]).await.secret;
        house.call(Door::Grpc, "SetScopes", set(json!(["b", "c"]))).await;
        // At once, where it was asked for.
        for credential in [&token, &key] {
            let worth = house.server.validate_for(credential, &["a"]).await;
            assert_eq!((worth.status(), worth.missing_scopes), (S::InsufficientScope, vec!["a".to_owned()]));
            assert_eq!(house.server.validate_for(credential, &["b"]).await.status(), S::Valid);
            assert_eq!(house.server.validate_for(credential, &["c"]).await.status(), S::InsufficientScope);
        }
        house.call(Door::Rest, "SetScopes", set(json!([]))).await;
        assert_eq!(house.server.validate_for(&key, &["b"]).await.status(), S::InsufficientScope);
        let many: Vec<_> = (0..65).map(|n| format!("s{n}")).collect();
        for bad in [json!(["a b"]), json!([""]), json!(["\u{e9}"]), json!(["x".repeat(65)]), json!(many)] {
            house.refuses("SetScopes", set(bad), "INVALID_FIELD").await;
        }
        let told = house.told(&person.id).await;
        assert_eq!(told.iter().filter(|[action, ..]| action == "CHANGE_SCOPES").count(), 3);
    }
}

on_both! {
    async fn credentials_are_ended_and_counted(database: Kind) {
        // S21
        let house = House::start(database).await;
        let (revoked, valid) = (S::Revoked, S::Valid);
        for (n, (what, [sessions, keys], worth)) in [
            (json!({}), [2, 1], [revoked; 3]),
            (json!({"keys": false}), [2, 0], [revoked, revoked, valid]),
            (json!({"sessions": false}), [0, 1], [valid, valid, revoked]),
            (json!({"sessions": true, "keys": true}), [2, 1], [revoked; 3]),
            (json!({"sessions": false, "keys": false}), [0, 0], [valid; 3]),
        ]
        .into_iter()
        .enumerate()
        {
            let person = house.person(&format!("p{n}@example.com")).await;
            let mut message = what.clone();
            message["user_id"] = json!(person.id);
            let door = TWO_DOORS[n % 2];
            let answer = house.call(door, "RevokeUserCredentials", message.clone()).await;
            let counts = json!({"revoked_session_count": sessions, "revoked_key_count": keys});
            assert_eq!(answer, counts, "{door:?} {what}");
            person.assert_worth(&house.server, worth).await;
            let again = house.call(door, "RevokeUserCredentials", message).await;
            assert_eq!(again, json!({"revoked_session_count": 0, "revoked_key_count": 0}));
            // What changes nothing is no event.
            let told = house.told(&person.id).await;
            let acts = told.iter().filter(|[action, ..]| action == "REVOKE_CREDENTIALS").count();
            assert_eq!(acts, usize::from(sessions + keys > 0), "{what}");
            // The password is still theirs.
            house.server.login(&person.email, PASSWORD).await.unwrap();
        }
    }
}

on_both! {
    async fn a_change_of_address_that_ends_with_the_sessions_is_told(database: Kind) {
        // S21, S56: nothing else of the account lives.
        let house = House::start(database).await;
        let person = house.person(EMAIL).await;
        house.server.request_email_change(&person.credentials[0], "new@example.com", Some(PASSWORD)).await.unwrap();
        let mails = house.server.new_mails().await;
        let link = mails.iter().find(|mail| mail.to == "new@example.com").unwrap().token();
        house.server.database.execute("DELETE FROM sessions WHERE user_id IN (SELECT id FROM users WHERE email = 'user@example.com')").await;
        let revoke = |what: &str| json!({"user_id": person.id, (what): false});
        let told = async || house.told(&person.id).await.last().unwrap()[0].clone();
        // Keys have nothing to do with it.
        house.call(Door::Rest, "RevokeUserCredentials", revoke("sessions")).await;
        house.call(Door::Rest, "SetScopes", json!({"user_id": person.id, "scopes": ["a"]})).await;
        assert_eq!(told().await, "CHANGE_SCOPES");
        let counts = house.call(Door::Grpc, "RevokeUserCredentials", revoke("keys")).await;
        assert_eq!(counts, json!({"revoked_session_count": 0, "revoked_key_count": 0}));
        assert_eq!(told().await, "REVOKE_CREDENTIALS");
        let refused = house.server.confirm_email_change(&link).await.unwrap_err();
        assert_eq!(reason(&refused), "ONE_TIME_TOKEN_INVALID");
    }
}

/// What an administrator does at one replica, and what the other then answers: of the tokens of both of a person's sessions,
/// which had the scope `a` as had the key, and of the key.
fn deeds_and_their_ends() -> [(&'static str, Value, [S; 3]); 6] {
    let (valid, revoked) = (S::Valid, S::Revoked);
    [
        ("RevokeUserCredentials", json!({}), [revoked; 3]),
        ("DisableUser", json!({}), [S::Disabled; 3]),
        ("SetScopes", json!({"scopes": ["b"]}), [S::InsufficientScope; 3]),
        ("RevokeUserKey", json!({"key_id": ""}), [valid, valid, revoked]),
        ("RotateUserKey", json!({"key_id": ""}), [valid, valid, revoked]),
        ("DeleteUser", json!({}), [revoked, revoked, S::Invalid]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_learns_what_an_administrator_did() {
    // S34: SQLite serves one replica.
    let server = Setup::new(Kind::Postgres).await.set("ACCOUNTS__DEFAULT_SCOPES", "a").start().await;
    let house = House::on(server).await;
    let other = house.server.replica().start().await;
    // The other knows each of them before, and so asks nobody about them afterwards.
    let known = async |credential: &str| {
        assert_eq!(other.validate_for(credential, &["a"]).await.status(), S::Valid);
    };
    for (n, (rpc, mut message, ends)) in deeds_and_their_ends().into_iter().enumerate() {
        let email = format!("person{n}@example.com");
        let tokens = house.server.register_as(&email).await;
        let second = house.server.login(&email, PASSWORD).await.unwrap().access_token;
        let key = house.server.create_key(&tokens.access_token, &["a"]).await;
        let credentials = [tokens.access_token, second, key.secret];
        for credential in &credentials {
            known(credential).await;
        }
        message["user_id"] = json!(tokens.user.unwrap().id);
        if message.get("key_id").is_some() {
            message["key_id"] = json!(key.key.unwrap().id);
        }
        house.call(TWO_DOORS[n % 2], rpc, message).await;
        for (credential, expected) in credentials.iter().zip(ends) {
            other.wait_for_status_for(credential, &["a"], expected).await;
        }
    }
    let robot =
        house.call(Door::Rest, "CreateServiceAccount", json!({"name": "robot", "scopes": ["a"]})).await;
    let message = json!({"user_id": robot["id"], "name": "production", "scopes": ["a"]});
    let key = house.call(Door::Rest, "CreateServiceAccountKey", message).await;
    let secret = key["secret"].as_str().unwrap();
    known(secret).await;
    house.call(Door::Grpc, "DeleteUser", json!({"user_id": robot["id"]})).await;
    other.wait_for_status(secret, S::Invalid).await;
}

on_both! {
    async fn an_account_is_deleted_and_its_story_stays(database: Kind) {
        // S21
        let house = House::start(database).await;
        for door in TWO_DOORS {
            let person = house.person(&format!("{door:?}@example.com")).await;
            let whom = json!({"user_id": person.id});
            assert_eq!(house.call(door, "DeleteUser", whom.clone()).await, json!({}));
            person.assert_worth(&house.server, [S::Revoked, S::Revoked, S::Invalid]).await;
            assert_eq!(reason(&house.server.login(&person.email, PASSWORD).await.unwrap_err()), "WRONG_EMAIL_OR_PASSWORD");
            house.refuses("DeleteUser", whom.clone(), "NOT_FOUND").await;
            house.refuses("GetUser", whom, "NOT_FOUND").await;
            let told = house.told(&person.id).await;
            assert_eq!(told[0][0], "REGISTER");
            assert_eq!(told.last().unwrap()[..2], ["DELETE_ACCOUNT".to_owned(), house.admin_id().to_owned()]);
            house.server.register_as(&person.email).await;
        }
    }
}

on_both! {
    async fn what_a_caller_may_not_set_cannot_be_slipped_in(database: Kind) {
        // S33, S42: mass assignment.
        let house = House::start(database).await;
        let token = register(&house.server).await;
        let header = format!("Bearer {token}");
        let headers = [("authorization", header.as_str())];
        for field in ["scopes", "kind", "disable_time", "email_verified", "id"] {
            for (rpc, mut message) in [
                ("UpdateMe", json!({"name": "Ann"})),
                ("Register", json!({"email": "new@example.com", "password": PASSWORD})),
            ] {
                message[field] = json!(SCOPE);
                let path = if rpc == "UpdateMe" { "/api/v1/users/me" } else { "/api/v1/auth/register" };
                let method = if rpc == "UpdateMe" { http::Method::PATCH } else { http::Method::POST };
                let answer = house.server.exchange(Door::Rest, method, path, &headers, message.to_string()).await;
                answer.expect("INVALID_FIELD", &format!("{rpc} {field}"));
            }
        }
        let me = house.server.auth().get_me(bearer(&token, countersign::api::pb::GetMeRequest {})).await.unwrap();
        assert!(me.into_inner().scopes.is_empty());
    }
}

async fn register(server: &Server) -> String {
    server.register().await.access_token
}
