//! What is done by mail, and what was done, as a part of the story.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Step, step};
use crate::support::{EMAIL, PASSWORD, hex};

/// Who is sent mail.
const CARL: &str = "carl@example.com";
/// What is mailed.
const TOKEN: &str = "ot_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

impl Step {
    /// As if Carl had been mailed [`TOKEN`] for this purpose, to this address.
    fn mailed(self, purpose: &str, email: &str) -> Self {
        let digest = hex(Sha256::digest(TOKEN));
        self.sql(format!(
            "REPLACE INTO one_time_tokens (digest, user_id, purpose, email, create_time, expire_time) \
             SELECT x'{digest}', id, '{purpose}', '{email}', create_time, '2100-01-01 00:00:00.000000' \
             FROM users WHERE email = '{CARL}'"
        ))
    }
}

/// Others than Carl ask for mail that is put together later, which would void what he is said to have been mailed.
pub fn story() -> Vec<Step> {
    let token = || json!({"token": TOKEN});
    let reset = |new: &str| json!({"token": TOKEN, "new_password": new});
    let change = |email: &str, password: &str| json!({"new_email": email, "password": password});
    let wrong = "wrong horse battery";
    vec![
        step("Register", json!({"email": CARL, "password": PASSWORD}), "OK").keep("$carl", "/access_token"),
        step("VerifyEmail", token(), "ONE_TIME_TOKEN_INVALID"),
        step("VerifyEmail", token(), "OK").mailed("verify_email", CARL),
        step("VerifyEmail", token(), "ONE_TIME_TOKEN_INVALID"),
        step("VerifyEmail", token(), "ONE_TIME_TOKEN_INVALID").mailed("reset_password", CARL),
        step("VerifyEmail", json!({}), "ONE_TIME_TOKEN_INVALID"),
        step("ResendVerification", json!({"email": "bob@example.com"}), "OK"),
        step("ResendVerification", json!({"email": "nobody@example.com"}), "OK"),
        step("ResendVerification", json!({"email": "nowhere"}), "INVALID_FIELD"),
        step("RequestEmailChange", change("carla@example.com", PASSWORD), "OK").by("$carl"),
        step("RequestEmailChange", change("carla@example.com", wrong), "WRONG_EMAIL_OR_PASSWORD").by("$carl"),
        step("RequestEmailChange", change(EMAIL, PASSWORD), "EMAIL_ALREADY_REGISTERED").by("$carl"),
        step("RequestEmailChange", change("CARL@example.com", PASSWORD), "INVALID_FIELD").by("$carl"),
        step("RequestEmailChange", change("nowhere", PASSWORD), "INVALID_FIELD").by("$carl"),
        step("RequestEmailChange", json!({"new_email": "carla@example.com"}), "INVALID_FIELD").by("$carl"),
        step("RequestEmailChange", change("carla@example.com", PASSWORD), "MISSING_CREDENTIAL"),
        step("RequestEmailChange", change("carla@example.com", PASSWORD), "SESSION_REQUIRED")
            .header("x-api-key", "$rotated"),
        step("ConfirmEmailChange", token(), "EMAIL_ALREADY_REGISTERED").mailed("change_email", EMAIL),
        step("ConfirmEmailChange", json!({"token": "ot_"}), "ONE_TIME_TOKEN_INVALID"),
        step("ForgotPassword", json!({"email": "bob@example.com"}), "OK"),
        step("ForgotPassword", json!({"email": "nobody@example.com"}), "OK"),
        step("ForgotPassword", json!({}), "INVALID_FIELD"),
        step("ResetPassword", reset("staple the battery"), "ONE_TIME_TOKEN_INVALID"),
        step("ResetPassword", reset("password1"), "PASSWORD_TOO_COMMON").mailed("reset_password", CARL),
        step("ResetPassword", reset("short"), "INVALID_FIELD"),
        step("ResetPassword", reset("staple the battery"), "OK"),
        step("ResetPassword", reset("staple the battery"), "ONE_TIME_TOKEN_INVALID"),
        step("GetMe", json!({}), "CREDENTIAL_REVOKED").by("$carl"),
        step("Login", json!({"email": CARL, "password": "staple the battery"}), "OK")
            .keep("$carl", "/access_token"),
        step("ConfirmEmailChange", token(), "OK").mailed("change_email", "carla@example.com"),
        step("ListMyEvents", json!({}), "OK").by("$carl"),
        step("ListMyEvents", json!({}), "OK").by("$ann"),
        step("ListMyEvents", json!({"page_size": 2}), "OK").by("$ann").keep("$page", "/next_page_token"),
        step("ListMyEvents", json!({"page_size": 2, "page_token": "$page"}), "OK").by("$ann"),
        step("ListMyEvents", json!({"page_size": -2}), "INVALID_FIELD").by("$ann"),
        step("ListMyEvents", json!({"page_token": "%&="}), "INVALID_FIELD").by("$ann"),
        step("ListMyEvents", json!({}), "SESSION_REQUIRED").header("x-api-key", "$rotated"),
        step("ListMyEvents", json!({}), "MISSING_CREDENTIAL"),
    ]
}
