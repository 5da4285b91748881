//! An administrator's right, which ends between the call's admission and its deed.

use std::{sync::Arc, time::Duration};

use countersign::{
    domain::{
        Administrator, Client, Domain, Error,
        admin::{Imported, What},
        keys::NewKey,
    },
    types::{KeyId, KeyName, Scopes, UserId},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{House, SCOPE, calls};
use crate::{
    common::Kind,
    on_both,
    support::{PASSWORD, Server},
    wire::Door,
};

/// The use cases, by which a test can stop between admission and deed.
async fn between(server: &Server) -> Arc<Domain> {
    let domain = server.replica().domain().await;
    domain.begin_following().await.unwrap();
    let follower = domain.clone();
    tokio::spawn(async move { follower.follow_changes().await });
    domain
}

async fn admitted(domain: &Domain, credential: &str) -> Administrator {
    domain.authenticate_administrator(Some(credential), Client::default()).await.unwrap()
}

/// To whom things are done.
struct Victims {
    person: UserId,
    persons_key: KeyId,
    robot: UserId,
}

impl Victims {
    /// Does what a call of this name does.
    async fn suffer(&self, rpc: &str, domain: &Domain, by: &Administrator) -> Result<(), Error> {
        let (id, key_id) = (self.person, self.persons_key);
        match rpc {
            "DisableUser" => domain.disable_user(id, by).await.map(drop),
            "EnableUser" => domain.enable_user(id, by).await.map(drop),
            "SetScopes" => domain.set_scopes(id, &Scopes::parse([SCOPE]).unwrap(), by).await.map(drop),
            "RevokeUserCredentials" => {
                domain.revoke_credentials(id, What { sessions: true, keys: true }, by).await.map(drop)
            }
            "CreateServiceAccount" => {
                let name = KeyName::parse("robot").unwrap();
                domain.create_service_account(&name, &Scopes::parse([SCOPE]).unwrap(), by).await.map(drop)
            }
            "CreateServiceAccountKey" => {
                let (name, scopes) = (KeyName::parse("k").unwrap(), Scopes::default());
                let new = NewKey { name, scopes, expire_time: None, rate_limit: None };
                domain.create_service_account_key(self.robot, new, by).await.map(drop)
            }
            "RotateUserKey" => domain.rotate_user_key(id, key_id, Duration::ZERO, by).await.map(drop),
            "RevokeUserKey" => domain.revoke_user_key(id, key_id, by).await,
            "DeleteUser" => domain.delete_user(id, by).await,
            "ImportUsers" => {
                let new = Imported::parse("imported@example.com", "", true, "", &[]).unwrap();
                domain.import_users(&[new], by).await.map(drop)
            }
            unknown => panic!("what does {unknown} do?"),
        }
    }
}

/// What may come between.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Disabled,
    Deleted,
    Scope,
    Sessions,
    SignedOut,
    Keys,
    Secret,
}

on_both! {
    async fn whoever_loses_the_right_after_admission_does_nothing_more(database: Kind) {
        // S21, S34
        let house = House::start(database).await;
        let server = &house.server;
        let domain = between(server).await;
        let person = house.person("person@example.com").await;
        let robot = house.call(Door::Grpc, "CreateServiceAccount", json!({"name": "robot"})).await;
        let victims = Victims {
            person: person.id.parse().unwrap(),
            persons_key: person.key_id.parse().unwrap(),
            robot: robot["id"].as_str().unwrap().parse().unwrap(),
        };
        let writing = calls().into_iter().filter(|rpc| !rpc.starts_with("List") && !rpc.starts_with("Get"));
        let writing: Vec<_> = writing.collect();
        assert_eq!(writing.len(), 10);
        let kept = async || {
            let mut kept = server.changes().await;
            for query in [
                "SELECT action FROM events ORDER BY action",
                "SELECT email_normalized || scopes FROM users ORDER BY email_normalized",
                "SELECT hint FROM api_keys ORDER BY hint",
            ] {
                kept.extend(server.database.query_text(query).await);
            }
            kept
        };
        let operator = Administrator::operator();
        let (lives, gone) = ("", "the credential was revoked");
        let (shut, scope) = ("the account is disabled", "missing scope: countersign:admin");
        for (loss, by_token, by_key) in [
            (Loss::Disabled, shut, shut),
            (Loss::Deleted, gone, gone),
            (Loss::Scope, scope, scope),
            (Loss::Sessions, gone, lives),
            (Loss::SignedOut, gone, lives),
            (Loss::Keys, lives, gone),
            (Loss::Secret, lives, gone),
        ] {
            let email = format!("{loss:?}@example.com").to_lowercase();
            let id = server.register_as(&email).await.user.unwrap().id;
            house.call(Door::Grpc, "SetScopes", json!({"user_id": id, "scopes": [SCOPE]})).await;
            let token = server.login(&email, PASSWORD).await.unwrap().access_token;
            let key = server.create_key(&token, &[SCOPE]).await;
            let (id, key_id): (UserId, KeyId) = (id.parse().unwrap(), key.key.unwrap().id.parse().unwrap());
            let admitted = [admitted(&domain, &token).await, admitted(&domain, &key.secret).await];
            let end = async |sessions, keys| {
                domain.revoke_credentials(id, What { sessions, keys }, &operator).await.map(drop)
            };
            match loss {
                Loss::Disabled => domain.disable_user(id, &operator).await.map(drop),
                Loss::Deleted => domain.delete_user(id, &operator).await,
                Loss::Scope => {
                    let scopes = Scopes::parse([SCOPE]).unwrap();
                    domain.revoke_scopes(id, &scopes, &operator).await.map(drop)
                }
                Loss::Sessions => end(true, false).await,
                Loss::SignedOut => {
                    server.logout(&token).await.unwrap();
                    Ok(())
                }
                Loss::Keys => end(false, true).await,
                Loss::Secret => domain.rotate_user_key(id, key_id, Duration::ZERO, &operator).await.map(drop),
            }
            .unwrap();
            for (by, expected) in admitted.iter().zip([by_token, by_key]) {
                if expected == lives {
                    victims.suffer("CreateServiceAccount", &domain, by).await.unwrap();
                    continue;
                }
                let before = kept().await;
                for rpc in &writing {
                    let refused = victims.suffer(rpc, &domain, by).await.unwrap_err();
                    assert_eq!(refused.to_string(), expected, "{loss:?} {rpc}");
                }
                assert_eq!(kept().await, before, "{loss:?}");
            }
        }
        // They are all good, but for that.
        let by = admitted(&domain, &house.admin.access_token).await;
        for rpc in ["SetScopes", "EnableUser", "RotateUserKey", "RevokeUserKey", "CreateServiceAccountKey", "ImportUsers"] {
            victims.suffer(rpc, &domain, &by).await.unwrap();
        }
    }
}

on_both! {
    async fn of_two_who_disable_each_other_at_once_one_succeeds(database: Kind) {
        // S21
        let house = House::start(database).await;
        let domain = between(&house.server).await;
        let second = house.person("second@example.com").await;
        house.call(Door::Grpc, "SetScopes", json!({"user_id": second.id, "scopes": [SCOPE]})).await;
        let token = house.server.login(&second.email, PASSWORD).await.unwrap().access_token;
        let (one, other): (UserId, UserId) =
            (house.admin_id().parse().unwrap(), second.id.parse().unwrap());
        let (by_one, by_other) =
            (admitted(&domain, &house.admin.access_token).await, admitted(&domain, &token).await);

        // On PostgreSQL both have begun, and wait for rows, before either goes on.
        let mut rows = match database {
            Kind::Postgres => Some(AsyncPgConnection::establish(&house.server.database.url).await.unwrap()),
            Kind::Sqlite => None,
        };
        if let Some(rows) = &mut rows {
            rows.batch_execute("BEGIN; UPDATE users SET name = name").await.unwrap();
        }
        let release = async {
            let Some(rows) = &mut rows else { return };
            let waiting = "SELECT state FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let both_wait = async {
                while house.server.database.query_text(waiting).await.len() < 2 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_mins(1), both_wait).await.expect("two who wait");
            rows.batch_execute("ROLLBACK").await.unwrap();
        };
        let (first, last, ()) = tokio::join!(
            domain.disable_user(other, &by_one),
            domain.disable_user(one, &by_other),
            release,
        );
        let answers = [first.map(|user| user.id), last.map(|user| user.id)];
        assert!(
            matches!(answers, [Ok(_), Err(Error::AccountDisabled)] | [Err(Error::AccountDisabled), Ok(_)]),
            "{answers:?}"
        );
        let shut = house.server.database.query_text("SELECT email FROM users WHERE disabled_time IS NOT NULL").await;
        assert_eq!(shut.len(), 1, "{shut:?}");
    }
}
