//! Identities at providers, as a part of the story.

use serde_json::json;

use super::{Step, step};

/// What succeeds only with a provider: `tests/api/oauth.rs`. That it fails alike is seen here.
pub const TAKE_A_PROVIDER: [&str; 4] = ["StartOAuth", "CompleteOAuth", "StartLink", "CompleteLink"];

const IDENTITY: &str = "idt_01900000000070008000000000000000";

pub fn story() -> Vec<Step> {
    let at = json!({"provider": "nobody", "redirect_uri": "https://app.example.com/callback"});
    let back = json!({
        "provider": "nobody", "redirect_uri": "https://app.example.com/callback",
        "code": "code", "state": "os_", "flow_secret": "fs_",
    });
    let insert = "INSERT INTO identities (id, user_id, provider, issuer, subject, create_time, last_used_time) \
                  SELECT x'01900000000070008000000000000000', id, 'idp', 'https://idp.example', 'subject', \
                  create_time, create_time FROM users WHERE email LIKE 'carl%'";
    vec![
        step("StartOAuth", at.clone(), "UNKNOWN_PROVIDER"),
        step("CompleteOAuth", back.clone(), "UNKNOWN_PROVIDER"),
        step("StartLink", at.clone(), "UNKNOWN_PROVIDER").by("$carl"),
        step("StartLink", at, "MISSING_CREDENTIAL"),
        step("CompleteLink", back.clone(), "UNKNOWN_PROVIDER").by("$carl"),
        step("CompleteLink", back, "SESSION_REQUIRED").header("x-api-key", "$rotated"),
        step("ListIdentities", json!({}), "OK").by("$carl").sql(insert),
        step("ListIdentities", json!({}), "MISSING_CREDENTIAL"),
        step("Unlink", json!({"identity_id": "idt_1"}), "NOT_FOUND").by("$carl"),
        step("Unlink", json!({"identity_id": IDENTITY}), "NOT_FOUND").by("$ann"),
        step("Unlink", json!({"identity_id": IDENTITY}), "OK").by("$carl"),
        step("Unlink", json!({"identity_id": IDENTITY}), "NOT_FOUND").by("$carl"),
    ]
}
