//! The audit trail of all accounts.

use serde_json::{Value, json};

use super::{House, SCOPE, TWO_DOORS};
use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, Server},
    wire::Door,
};

async fn events(house: &House, door: Door, message: Value) -> (Vec<Value>, String) {
    let mut answer = house.call(door, "ListEvents", message).await;
    let token = answer["next_page_token"].as_str().unwrap().to_owned();
    (answer["events"].as_array_mut().unwrap().drain(..).collect(), token)
}

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["action"].as_str().unwrap().trim_start_matches("EVENT_ACTION_")).collect()
}

async fn fail_to_sign_in(server: &Server, email: &str) {
    server.login(email, "wrong horse battery").await.unwrap_err();
}

on_both! {
    async fn events_are_found_by_account_and_action_and_page(database: Kind) {
        // S56
        let house = House::start(database).await;
        let person = house.person(EMAIL).await;
        house.server.advance(1);
        fail_to_sign_in(&house.server, EMAIL).await;
        house.server.advance(1);
        fail_to_sign_in(&house.server, "nobody@example.com").await;
        for door in TWO_DOORS {
            let (all, _) = events(&house, door, json!({})).await;
            // By the administrator, who registered, was granted the scope and signed in; by the person; and by nobody.
            assert_eq!(all.len(), 3 + 4 + 1, "{all:?}");
            assert_eq!((&all[0]["user_id"], &all[0]["outcome"]), (&json!(""), &json!("EVENT_OUTCOME_FAILED")));
            let (theirs, _) = events(&house, door, json!({"user_id": person.id})).await;
            assert!(theirs.iter().all(|event| event["user_id"] == json!(person.id)));
            assert_eq!(actions(&theirs), ["SIGN_IN", "CREATE_KEY", "SIGN_IN", "REGISTER"]);
            let made = json!({"action": "EVENT_ACTION_CREATE_KEY"});
            assert_eq!(events(&house, door, made).await.0, [theirs[1].clone()]);
            let both = json!({"action": "EVENT_ACTION_SIGN_IN", "user_id": person.id});
            assert_eq!(actions(&events(&house, door, both).await.0), ["SIGN_IN"; 2]);
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let message = json!({"page_size": 3, "page_token": token});
                let (page, next) = events(&house, door, message).await;
                seen.extend(page);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, all);
        }
        for (bad, reason) in [
            (json!({"user_id": person.key_id}), "NOT_FOUND"),
            (json!({"page_size": -1}), "INVALID_FIELD"),
            (json!({"page_token": "x"}), "INVALID_FIELD"),
            (json!({"action": 99}), "INVALID_FIELD"),
        ] {
            house.refuses("ListEvents", bad, reason).await;
        }
        let nobody = json!({"user_id": "usr_00000000000000000000000000000000"});
        assert!(events(&house, Door::Rest, nobody).await.0.is_empty());
    }
}

on_both! {
    async fn the_owner_is_not_shown_where_the_administrator_was(database: Kind) {
        // S56, S57
        let house = House::start(database).await;
        let person = house.person(EMAIL).await;
        let authorization = format!("Bearer {}", house.admin.access_token);
        let headers = [("authorization", authorization.as_str()), ("user-agent", "console/1")];
        let where_from = |event: &Value| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            (text("ip_address"), text("user_agent"))
        };
        let blank = (String::new(), String::new());
        let administrators = ("127.0.0.1".to_owned(), "console/1".to_owned());
        for (n, door) in TWO_DOORS.into_iter().enumerate() {
            for (id, own, shown) in [
                (person.id.as_str(), &person.credentials[0], &blank),
                // Where they were themselves they may know, or that it was not they.
                (house.admin_id(), &house.admin.access_token, &administrators),
            ] {
                house.server.advance(1);
                let scopes = json!({"user_id": id, "scopes": [SCOPE, format!("s{n}")]});
                house.server.call(door, "SetScopes", &headers, &scopes).await.result.unwrap();
                let answer = house.ask(door, own, "ListMyEvents", &json!({})).await.result.unwrap();
                let mine = answer["events"].as_array().unwrap();
                assert_eq!(actions(&mine[..1]), ["CHANGE_SCOPES"]);
                assert_eq!(mine[0]["actor_user_id"], json!(house.admin_id()));
                assert_eq!(where_from(&mine[0]), *shown);
                // What was done by themselves is shown whole.
                assert!(mine.iter().any(|event| event["actor_user_id"] == json!("") && event["ip_address"] == "127.0.0.1"));
                let (all, _) = events(&house, door, json!({"user_id": id})).await;
                assert_eq!(where_from(&all[0]), administrators);
            }
        }
    }
}
