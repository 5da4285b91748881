//! `AdminService`: who may call it, and what each of its calls does; through gRPC and REST.

mod events;
mod imports;
mod keys;
mod right;
mod users;

use countersign::{
    api::pb::{self, CredentialStatus as S},
    domain::Administrator,
    types::{Scopes, UserId},
};
use serde_json::{Value, json};

use crate::{
    common::Kind,
    on_both,
    support::{PASSWORD, Server, Setup},
    wire::{Answer, Door, rpcs},
};

const ADMIN: &str = "admin@example.com";
const SCOPE: &str = "countersign:admin";
/// The doors that are not the same code behind the first line.
const TWO_DOORS: [Door; 2] = [Door::Grpc, Door::Rest];

/// A service with an administrator.
pub struct House {
    pub server: Server,
    pub admin: pb::TokenResponse,
}

impl House {
    pub async fn start(kind: Kind) -> Self {
        Self::on(Setup::new(kind).await.start().await).await
    }

    pub async fn on(server: Server) -> Self {
        let id: UserId = server.register_as(ADMIN).await.user.unwrap().id.parse().unwrap();
        // As the first is made: by a command beside the service.
        let operator = server.replica().domain().await;
        let scopes = Scopes::parse([SCOPE, "jobs:run"]).unwrap();
        operator.grant_scopes(id, &scopes, &Administrator::operator()).await.unwrap();
        let admin = server.login(ADMIN, PASSWORD).await.unwrap();
        Self { server, admin }
    }

    pub fn admin_id(&self) -> &str {
        &self.admin.user.as_ref().unwrap().id
    }

    pub async fn ask(&self, door: Door, credential: &str, rpc: &str, message: &Value) -> Answer {
        let authorization = format!("Bearer {credential}");
        self.server.call(door, rpc, &[("authorization", &authorization)], message).await
    }

    /// What the administrator is answered, who is refused nothing.
    #[track_caller]
    pub fn call(&self, door: Door, rpc: &'static str, message: Value) -> impl Future<Output = Value> {
        // Ids of one millisecond have no order.
        self.server.advance(1);
        async move {
            let answer = self.ask(door, &self.admin.access_token, rpc, &message).await;
            answer.result.unwrap_or_else(|failure| panic!("{door:?} {rpc} {message}: {failure:?}"))
        }
    }

    /// The administrator is refused, for this reason.
    pub async fn refuses(&self, rpc: &'static str, message: Value, reason: &str) {
        for door in TWO_DOORS {
            let answer = self.ask(door, &self.admin.access_token, rpc, &message).await;
            answer.expect(reason, &format!("{door:?} {rpc} {message}"));
        }
    }

    /// Somebody else, with two sessions and a key.
    pub async fn person(&self, email: &str) -> Person {
        let tokens = self.server.register_as(email).await;
        self.server.advance(1);
        let other = self.server.login(email, PASSWORD).await.unwrap();
        self.server.advance(1);
        let key = self.server.create_key(&tokens.access_token, &[]).await;
        let id = tokens.user.unwrap().id;
        let credentials = [tokens.access_token, other.access_token, key.secret];
        Person { id, email: email.to_owned(), credentials, key_id: key.key.unwrap().id }
    }

    /// What is written of an account, oldest first: action, actor, the actor's key.
    pub async fn told(&self, user_id: &str) -> Vec<[String; 3]> {
        let message = json!({"user_id": user_id, "page_size": 200});
        let answer = self.call(Door::Rest, "ListEvents", message).await;
        let told = |event: &Value| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            let action = text("action").trim_start_matches("EVENT_ACTION_").to_owned();
            [action, text("actor_user_id"), text("actor_key_id")]
        };
        answer["events"].as_array().unwrap().iter().rev().map(told).collect()
    }
}

pub struct Person {
    pub id: String,
    pub email: String,
    /// Access tokens of both sessions, and a key.
    pub credentials: [String; 3],
    pub key_id: String,
}

impl Person {
    pub async fn assert_worth(&self, server: &Server, expected: [S; 3]) {
        for (credential, expected) in self.credentials.iter().zip(expected) {
            assert_eq!(server.status_of(credential).await, expected);
        }
    }
}

/// The names of its calls.
fn calls() -> Vec<String> {
    let ours = rpcs().into_iter().filter(|rpc| rpc.parent_service().name() == "AdminService");
    ours.map(|rpc| rpc.name().to_owned()).collect()
}

/// A message that would do something to this person.
fn about(person: &Person, rpc: &str) -> Value {
    let mut message = json!({});
    let input = crate::wire::rpc(rpc).input();
    for (name, value) in [("user_id", &person.id), ("key_id", &person.key_id), ("name", &"mine".to_owned())] {
        if input.get_field_by_name(name).is_some() {
            message[name] = json!(value);
        }
    }
    message
}

on_both! {
    async fn whoever_lacks_the_scope_is_told_so_and_changes_nothing(database: Kind) {
        // S33, S34
        let house = House::start(database).await;
        let victim = house.person("victim@example.com").await;
        // Its owner may administer, it may not.
        let lesser = house.server.create_key(&house.admin.access_token, &["jobs:run"]).await.secret;
        let own = victim.credentials[0].clone();
        let kept = async || {
            let mut kept = house.server.database.query_text("SELECT action FROM events ORDER BY action").await;
            kept.extend(house.server.database.query_text("SELECT email FROM users ORDER BY email").await);
            kept.extend(house.server.changes().await);
            kept
        };
        let before = kept().await;
        assert_eq!(calls().len(), 14);
        for rpc in calls() {
            let message = about(&victim, &rpc);
            for door in TWO_DOORS {
                for (credential, reason) in [
                    (&own, "INSUFFICIENT_SCOPE"),
                    (&victim.credentials[2], "INSUFFICIENT_SCOPE"),
                    (&lesser, "INSUFFICIENT_SCOPE"),
                    (&"nonsense".to_owned(), "INVALID_CREDENTIAL"),
                    (&house.admin.refresh_token, "INVALID_CREDENTIAL"),
                ] {
                    let answer = house.ask(door, credential, &rpc, &message).await;
                    answer.expect(reason, &format!("{door:?} {rpc}"));
                }
                let answer = house.server.call(door, &rpc, &[], &message).await;
                answer.expect("MISSING_CREDENTIAL", &rpc);
            }
        }
        victim.assert_worth(&house.server, [S::Valid; 3]).await;
        // Not even an event; of the refused it is the log that tells.
        assert_eq!(kept().await, before);
    }
}

on_both! {
    async fn whoever_loses_the_scope_may_do_nothing_from_that_moment(database: Kind) {
        // S34: by token and by key. What is changed in this way no replica is told of, so memory cannot know.
        let house = House::start(database).await;
        let now = house.server.database.time(house.server.clock.now());
        let (scope, shut) = ("INSUFFICIENT_SCOPE", "ACCOUNT_DISABLED");
        let (lives, ended) = ("", "CREDENTIAL_REVOKED");
        for (n, (lose, by_token, by_key)) in [
            ("UPDATE users SET scopes = 'jobs:run' WHERE id = {id}".to_owned(), scope, scope),
            (format!("UPDATE users SET disabled_time = {now} WHERE id = {{id}}"), shut, shut),
            ("DELETE FROM sessions WHERE user_id = {id}".to_owned(), ended, lives),
            (format!("UPDATE api_keys SET revoke_time = {now} WHERE user_id = {{id}}"), lives, ended),
            ("UPDATE api_keys SET scopes = 'jobs:run' WHERE user_id = {id}".to_owned(), lives, scope),
        ]
        .into_iter()
        .enumerate()
        {
            let email = format!("second{n}@example.com");
            let id = house.server.register_as(&email).await.user.unwrap().id;
            house.call(Door::Grpc, "SetScopes", json!({"user_id": id, "scopes": [SCOPE, "jobs:run"]})).await;
            let token = house.server.login(&email, PASSWORD).await.unwrap().access_token;
            let key = house.server.create_key(&token, &[SCOPE, "jobs:run"]).await.secret;
            let ask = async |credential: &str| {
                house.ask(Door::Grpc, credential, "ListUsers", &json!({"email": "nobody"})).await
            };
            for credential in [&token, &key] {
                assert!(ask(credential).await.result.is_ok(), "{lose}");
            }
            let sql = lose.replace("{id}", &format!("(SELECT id FROM users WHERE email = '{email}')"));
            house.server.database.execute(&sql).await;
            for (credential, reason) in [(&token, by_token), (&key, by_key)] {
                let answer = ask(credential).await;
                if reason == lives {
                    assert!(answer.result.is_ok(), "{lose}: {answer:?}");
                } else {
                    answer.expect(reason, &lose);
                }
            }
        }
    }
}

on_both! {
    async fn a_key_with_the_scope_may_and_is_named(database: Kind) {
        let house = House::start(database).await;
        let victim = house.person("victim@example.com").await;
        let key = house.server.create_key(&house.admin.access_token, &[SCOPE]).await;
        let key_id = key.key.unwrap().id;
        for (door, scopes) in TWO_DOORS.into_iter().zip([["a"], ["b"]]) {
            house.server.advance(1);
            let message = json!({"user_id": victim.id, "scopes": scopes});
            let answer = house.ask(door, &key.secret, "SetScopes", &message).await;
            assert_eq!(answer.result.unwrap()["scopes"], json!(scopes));
        }
        let told = house.told(&victim.id).await;
        let act = ["CHANGE_SCOPES".to_owned(), house.admin_id().to_owned(), key_id];
        assert_eq!(told[told.len() - 2..], [act.clone(), act]);
        // Nor can it do to its owner what it must not do to itself.
        for rpc in ["DisableUser", "DeleteUser", "SetScopes"] {
            let answer = house.ask(Door::Grpc, &key.secret, rpc, &json!({"user_id": house.admin_id()})).await;
            answer.expect("INVALID_FIELD", rpc);
        }
        house.server.revoke_key(&house.admin.access_token, &told[told.len() - 1][2]).await.unwrap();
        let again = house.ask(Door::Grpc, &key.secret, "ListUsers", &json!({})).await;
        again.expect("CREDENTIAL_REVOKED", "a key that has ended");
    }
}

on_both! {
    async fn an_id_of_another_kind_is_nobodys(database: Kind) {
        let house = House::start(database).await;
        let victim = house.person("victim@example.com").await;
        let (uuid, key_uuid) = (&victim.id["usr_".len()..], &victim.key_id["key_".len()..]);
        let wrong = [
            victim.key_id.clone(),
            format!("ses_{uuid}"),
            format!("usr_{key_uuid}"),
            victim.id.to_uppercase(),
            uuid.to_owned(),
            victim.email.clone(),
            "usr_00000000000000000000000000000000".to_owned(),
            "..".to_owned(),
            "%2e%2e/users".to_owned(),
        ];
        for rpc in calls().iter().filter(|rpc| about(&victim, rpc).get("user_id").is_some()) {
            if rpc == "ListEvents" {
                continue;
            }
            for id in &wrong {
                let mut message = about(&victim, rpc);
                message["user_id"] = json!(id);
                for door in TWO_DOORS {
                    let answer = house.ask(door, &house.admin.access_token, rpc, &message).await;
                    answer.expect("NOT_FOUND", &format!("{door:?} {rpc} {id}"));
                }
            }
        }
        // A key is its owner's alone, whoever asks (S33).
        let key_of_admin = house.server.create_key(&house.admin.access_token, &[]).await.key.unwrap().id;
        for key_id in [key_of_admin.as_str(), &victim.id, &format!("key_{uuid}"), "key_"] {
            for rpc in ["RotateUserKey", "RevokeUserKey"] {
                house.refuses(rpc, json!({"user_id": victim.id, "key_id": key_id}), "NOT_FOUND").await;
            }
        }
        victim.assert_worth(&house.server, [S::Valid; 3]).await;
    }
}
