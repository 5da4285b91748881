//! What an administrator does, as a part of the story.

use serde_json::json;

use super::{Step, step};
use crate::support::PASSWORD;

const ROOT: &str = "root@example.com";

pub fn story() -> Vec<Step> {
    let account = |email: &str| json!({"email": email, "password": PASSWORD});
    let of = |id: &str| json!({"user_id": id});
    let key = |id: &str, key: &str| json!({"user_id": id, "key_id": key});
    let import = json!({"users": [
        {"email": "imported@example.com", "name": "Imp"},
        {"email": "other@example.org", "password_hash": "md5"},
        {"email": ROOT},
    ]});
    let too_many = vec![json!({}); 101];
    let grant = format!("UPDATE users SET scopes = 'countersign:admin' WHERE email = '{ROOT}'");
    let mut story = vec![
        step("Register", account(ROOT), "OK").keep("$root_id", "/user/id"),
        step("Login", account(ROOT), "OK").sql(grant).keep("$root", "/access_token"),
        step("ListUsers", json!({"email": "ROOT@"}), "OK").by("$root"),
        step("ListUsers", json!({"page_size": -1}), "INVALID_FIELD").by("$root"),
        step("ListUsers", json!({}), "INSUFFICIENT_SCOPE").by("$bob"),
        step("ListUsers", json!({}), "MISSING_CREDENTIAL"),
        step("ImportUsers", import, "OK").by("$root").keep("$imported_id", "/results/0/user_id"),
        step("ImportUsers", json!({"users": too_many}), "INVALID_FIELD").by("$root"),
        step("ListUsers", json!({"email": "imported@example.com", "disabled": false}), "OK").by("$root"),
        step("SetScopes", json!({"user_id": "$imported_id", "scopes": ["b", "a"]}), "OK").by("$root"),
        step("SetScopes", json!({"user_id": "$imported_id", "scopes": ["a b"]}), "INVALID_FIELD").by("$root"),
        step("DisableUser", of("$imported_id"), "OK").by("$root"),
        step("DisableUser", of("$root_id"), "INVALID_FIELD").by("$root"),
        step("GetUser", of("$imported_id"), "OK").by("$root"),
        step("EnableUser", of("$imported_id"), "OK").by("$root"),
        step("RevokeUserCredentials", of("$imported_id"), "OK").by("$root"),
        step("ListEvents", json!({"user_id": "$imported_id", "page_size": 3}), "OK").by("$root"),
        step("ListEvents", json!({"user_id": "$root_id", "action": "EVENT_ACTION_SIGN_IN"}), "OK").by("$root"),
        step("ListEvents", json!({"page_token": "x"}), "INVALID_FIELD").by("$root"),
        step("CreateServiceAccount", json!({"name": "robot", "scopes": ["jobs"]}), "OK")
            .by("$root")
            .keep("$robot", "/id"),
        step("CreateServiceAccount", json!({"name": ""}), "INVALID_FIELD").by("$root"),
        step(
            "CreateServiceAccountKey",
            json!({"user_id": "$robot", "name": "k", "scopes": ["jobs"], "rate_limit": {"requests": 2, "per": "60s"}}),
            "OK",
        )
        .by("$root")
        .keep("$robot_key", "/key/id"),
        step(
            "CreateServiceAccountKey",
            json!({"user_id": "$robot", "name": "k", "scopes": ["other"]}),
            "INSUFFICIENT_SCOPE",
        )
        .by("$root"),
        step("ListUserKeys", of("$robot"), "OK").by("$root"),
        step("RotateUserKey", key("$robot", "$robot_key"), "OK").by("$root").keep("$robot_secret", "/secret"),
        step("RotateUserKey", key("$root_id", "$robot_key"), "NOT_FOUND").by("$root"),
        step("GetMe", json!({}), "OK").header("x-api-key", "$robot_secret"),
        step("RevokeUserKey", key("$robot", "$robot_key"), "OK").by("$root"),
        step("GetMe", json!({}), "CREDENTIAL_REVOKED").header("x-api-key", "$robot_secret"),
        step("DeleteUser", of("$imported_id"), "OK").by("$root"),
    ];
    let gone = ["GetUser", "EnableUser", "RevokeUserCredentials", "ListUserKeys", "DeleteUser"];
    story.extend(gone.map(|rpc| step(rpc, of("$imported_id"), "NOT_FOUND").by("$root")));
    story.push(step("RevokeUserKey", key("$imported_id", "$robot_key"), "NOT_FOUND").by("$root"));
    story
}
