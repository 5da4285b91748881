//! Service accounts and their keys, and the keys of people.

use countersign::api::pb::{self, CredentialStatus as S, PrincipalType};
use serde_json::{Value, json};

use super::{House, SCOPE, TWO_DOORS};
use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, api_key, reason},
    wire::Door,
};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl House {
    async fn robot(&self, door: Door, scopes: &[&str]) -> String {
        let message = json!({"name": "robot", "scopes": scopes});
        text(&self.call(door, "CreateServiceAccount", message).await["id"])
    }

    async fn key_of(&self, door: Door, robot: &str, scopes: &[&str]) -> [String; 2] {
        let message = json!({"user_id": robot, "name": "production", "scopes": scopes});
        let made = self.call(door, "CreateServiceAccountKey", message).await;
        [text(&made["key"]["id"]), text(&made["secret"])]
    }
}

on_both! {
    async fn a_service_account_acts_by_its_keys_within_its_scopes(database: Kind) {
        // S34
        let house = House::start(database).await;
        for door in TWO_DOORS {
            let robot = house.robot(door, &["jobs:read", "jobs:run"]).await;
            let shown = house.call(door, "GetUser", json!({"user_id": robot})).await;
            assert_eq!(shown["kind"], "USER_KIND_SERVICE_ACCOUNT");
            assert_eq!((&shown["name"], &shown["email"]), (&json!("robot"), &json!("")));
            let [key_id, secret] = house.key_of(door, &robot, &["jobs:run"]).await;
            let answer = house.server.validate_for(&secret, &["jobs:run"]).await;
            let principal = answer.principal.clone().unwrap();
            assert_eq!((answer.status(), principal.r#type()), (S::Valid, PrincipalType::ApiKey));
            assert_eq!((&principal.user_id, &principal.key_id), (&robot, &key_id));
            assert_eq!(house.server.validate_for(&secret, &["jobs:read"]).await.status(), S::InsufficientScope);
            let me = house.server.auth().get_me(api_key(&secret, pb::GetMeRequest {})).await.unwrap().into_inner();
            assert_eq!((me.id, me.email, me.name), (robot.clone(), String::new(), "robot".to_owned()));

            let key = |name: &str, scopes: Value| json!({"user_id": robot, "name": name, "scopes": scopes});
            house.refuses("CreateServiceAccountKey", key("k", json!(["other"])), "INSUFFICIENT_SCOPE").await;
            // Not even what the administrator may do.
            house.refuses("CreateServiceAccountKey", key("k", json!([SCOPE])), "INSUFFICIENT_SCOPE").await;
            house.refuses("CreateServiceAccountKey", key("", json!([])), "INVALID_FIELD").await;
            house.refuses("CreateServiceAccount", json!({"name": ""}), "INVALID_FIELD").await;
            house.refuses("CreateServiceAccount", json!({"name": "r", "scopes": ["a b"]}), "INVALID_FIELD").await;
            let mut past = key("k", json!([]));
            past["expire_time"] = json!("2020-01-01T00:00:00Z");
            house.refuses("CreateServiceAccountKey", past, "INVALID_FIELD").await;

            let act = |action: &str, key: &str| [action.to_owned(), house.admin_id().to_owned(), key.to_owned()];
            assert_eq!(house.told(&robot).await, [act("CREATE_SERVICE_ACCOUNT", ""), act("CREATE_KEY", "")]);
            house.call(door, "DisableUser", json!({"user_id": robot})).await;
            assert_eq!(house.server.status_of(&secret).await, S::Disabled);
            // It would come to life with the account.
            house.refuses("CreateServiceAccountKey", key("k", json!([])), "INVALID_FIELD").await;
        }
    }
}

on_both! {
    async fn its_keys_outlive_whoever_made_it(database: Kind) {
        let house = House::start(database).await;
        let second = house.person(EMAIL).await;
        house.call(Door::Grpc, "SetScopes", json!({"user_id": second.id, "scopes": [SCOPE]})).await;
        let token = house.server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        let made = house.ask(Door::Rest, &token, "CreateServiceAccount", &json!({"name": "robot"})).await;
        let robot = text(&made.result.unwrap()["id"]);
        let message = json!({"user_id": robot, "name": "production"});
        house.server.advance(1);
        let made = house.ask(Door::Rest, &token, "CreateServiceAccountKey", &message).await;
        let secret = text(&made.result.unwrap()["secret"]);
        house.call(Door::Grpc, "DeleteUser", json!({"user_id": second.id})).await;
        assert_eq!(house.server.status_of(&token).await, S::Revoked);
        assert_eq!(house.server.status_of(&secret).await, S::Valid);
        // Who made it is still told.
        assert_eq!(house.told(&robot).await[0], ["CREATE_SERVICE_ACCOUNT".to_owned(), second.id, String::new()]);
    }
}

on_both! {
    async fn nobody_signs_in_to_a_service_account(database: Kind) {
        // S7
        let house = House::start(database).await;
        let robot = house.robot(Door::Grpc, &[]).await;
        let [_, secret] = house.key_of(Door::Grpc, &robot, &[]).await;
        for email in ["", robot.as_str(), "robot"] {
            for password in ["", PASSWORD, secret.as_str()] {
                let refused = house.server.login(email, password).await.unwrap_err();
                assert_eq!(reason(&refused), "INVALID_FIELD", "{email:?}");
            }
            assert_eq!(reason(&house.server.forgot_password(email).await.unwrap_err()), "INVALID_FIELD");
        }
        // Nor makes a key of it more of itself (S35).
        let request = pb::CreateKeyRequest { name: "more".to_owned(), ..Default::default() };
        let refused = house.server.keys().create_key(api_key(&secret, request)).await.unwrap_err();
        assert_eq!(reason(&refused), "SESSION_REQUIRED");
        // Two have no address alike, and both are there.
        assert_ne!(house.robot(Door::Rest, &[]).await, robot);
    }
}

on_both! {
    async fn a_persons_keys_are_made_by_that_person_alone(database: Kind) {
        // S33: a key made for somebody else would be a way to act as they.
        let house = House::start(database).await;
        let person = house.person(EMAIL).await;
        for id in [person.id.as_str(), house.admin_id()] {
            house.refuses("CreateServiceAccountKey", json!({"user_id": id, "name": "k"}), "NOT_FOUND").await;
        }
        let keys = house.call(Door::Rest, "ListUserKeys", json!({"user_id": person.id})).await;
        assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    }
}

on_both! {
    async fn keys_of_others_are_listed_rotated_and_revoked(database: Kind) {
        // S31, S34
        let house = House::start(database).await;
        let robot = house.robot(Door::Grpc, &[]).await;
        let mut made = Vec::new();
        for door in [Door::Grpc, Door::Rest, Door::Grpc] {
            house.server.advance(1);
            made.push(house.key_of(door, &robot, &[]).await);
        }
        for door in TWO_DOORS {
            let (mut ids, mut token) = (Vec::new(), String::new());
            loop {
                let message = json!({"user_id": robot, "page_size": 2, "page_token": token});
                let page = house.call(door, "ListUserKeys", message).await;
                assert!(!page.to_string().contains(&made[0][1]), "secrets are not shown");
                ids.extend(page["keys"].as_array().unwrap().iter().map(|key| text(&key["id"])));
                page["next_page_token"].as_str().unwrap().clone_into(&mut token);
                if token.is_empty() {
                    break;
                }
            }
            assert!(ids.iter().rev().eq(made.iter().map(|[id, _]| id)));
        }
        let [first, second, third] = &made[..] else { panic!("three") };
        let rotate = |id: &str, grace: &str| json!({"user_id": robot, "key_id": id, "grace_period": grace});
        let rotated = house.call(Door::Rest, "RotateUserKey", rotate(&first[0], "60s")).await;
        let fresh = text(&rotated["secret"]);
        assert_eq!(rotated["key"]["id"], json!(first[0]));
        assert_eq!(house.server.status_of(&first[1]).await, S::Valid);
        house.server.advance(60);
        assert_eq!(house.server.status_of(&first[1]).await, S::Revoked);
        assert_eq!(house.server.status_of(&fresh).await, S::Valid);
        house.call(Door::Grpc, "RotateUserKey", json!({"user_id": robot, "key_id": second[0]})).await;
        assert_eq!(house.server.status_of(&second[1]).await, S::Revoked);
        for bad in ["604801s", "-1s"] {
            house.refuses("RotateUserKey", rotate(&first[0], bad), "INVALID_FIELD").await;
        }
        let revoke = || json!({"user_id": robot, "key_id": third[0]});
        for door in TWO_DOORS {
            assert_eq!(house.call(door, "RevokeUserKey", revoke()).await, json!({}));
            assert_eq!(house.server.status_of(&third[1]).await, S::Revoked);
        }
        house.refuses("RotateUserKey", revoke(), "INVALID_FIELD").await;
        let told = house.told(&robot).await;
        let acts: Vec<_> = told.iter().skip(4).map(|[action, actor, _]| (action.as_str(), actor.as_str())).collect();
        let by = house.admin_id();
        assert_eq!(acts, [("ROTATE_KEY", by), ("ROTATE_KEY", by), ("REVOKE_KEY", by)]);
    }
}
