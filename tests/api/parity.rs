//! Every RPC gives the same answer and the same error through gRPC, gRPC-web and REST.
//!
//! One story is told through each door to a server of its own, with a clock that moves by a second a step, and what came
//! back is compared. An RPC of the protos without a case of success and one of failure fails the test, so that a new one
//! cannot be forgotten.

mod admin;
mod identities;
mod mails;

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    common::Kind,
    support::{EMAIL, PASSWORD, Server, Setup},
    wire::{DOORS, Door, Failure, rpcs},
};

/// A call and what is expected of it.
struct Step {
    rpc: &'static str,
    /// `$name` stands for what an earlier step kept.
    headers: Vec<(&'static str, &'static str)>,
    message: Value,
    /// `OK`, or the failure's reason.
    expected: &'static str,
    /// Values of the answer that later steps use: name and JSON pointer.
    keep: Vec<(&'static str, &'static str)>,
    /// How long it is since the step before.
    after: Duration,
    /// SQL to run first.
    sql: String,
}

fn step(rpc: &'static str, message: Value, expected: &'static str) -> Step {
    let after = Duration::from_secs(1);
    Step { rpc, headers: vec![], message, expected, keep: vec![], after, sql: String::new() }
}

impl Step {
    /// With the access token of this name.
    fn by(mut self, token: &'static str) -> Self {
        self.headers.push(("authorization", token));
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn keep(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.keep.push((name, pointer));
        self
    }

    fn after(mut self, seconds: u64) -> Self {
        self.after = Duration::from_secs(seconds);
        self
    }

    fn sql(mut self, sql: impl Into<String>) -> Self {
        self.sql = sql.into();
        self
    }
}

/// Who the story is about, and signs in how.
fn people() -> Vec<Step> {
    let register = |email: &str, password: &str| json!({"email": email, "password": password, "name": "Ann"});
    let login = |email: &str, password: &str| json!({"email": email, "password": password});
    vec![
        step("Register", register(EMAIL, PASSWORD), "OK")
            .keep("$ann", "/access_token")
            .keep("$ann_refresh", "/refresh_token"),
        step("Register", register(" User@Example.COM ", PASSWORD), "EMAIL_ALREADY_REGISTERED"),
        step("Register", register("other@example.com", "password1"), "PASSWORD_TOO_COMMON"),
        step("Register", register("other@example.com", "short"), "INVALID_FIELD"),
        step("Register", register("nowhere", PASSWORD), "INVALID_FIELD"),
        step("Register", register("bob@example.com", PASSWORD), "OK").keep("$bob", "/access_token"),
        step("Login", login(EMAIL, PASSWORD), "OK").keep("$second", "/access_token"),
        step("Login", login(EMAIL, "wrong horse battery"), "WRONG_EMAIL_OR_PASSWORD"),
        step("Login", login("nobody@example.com", PASSWORD), "WRONG_EMAIL_OR_PASSWORD"),
        step("Login", login(EMAIL, PASSWORD), "DEADLINE_EXCEEDED").header("grpc-timeout", "1n"),
        step("Login", login(EMAIL, &"x".repeat(70_000)), "TOO_LARGE"),
        step("Refresh", json!({"refresh_token": "$ann_refresh"}), "OK").keep("$ann_next", "/refresh_token"),
        step("Refresh", json!({"refresh_token": "$ann_refresh"}), "OK"),
        step("Refresh", json!({"refresh_token": "nonsense"}), "REFRESH_TOKEN_INVALID"),
        step("Refresh", json!({}), "REFRESH_TOKEN_INVALID"),
        step("GetMe", json!({}), "OK").by("$ann").keep("$ann_id", "/id"),
        step("GetMe", json!({}), "MISSING_CREDENTIAL"),
        step("GetMe", json!({}), "INVALID_CREDENTIAL").header("authorization", "Bearer v4.public.AAAA"),
        step("GetMe", json!({}), "INVALID_CREDENTIAL").header("x-api-key", "v4.public.AAAA"),
        step("GetMe", json!({}), "INVALID_FIELD").by("$ann").header("x-api-key", "ak_1"),
        step("UpdateMe", json!({"name": "Ann Ä"}), "OK").by("$ann"),
        step("UpdateMe", json!({"update_mask": "name"}), "OK").by("$ann"),
        step("UpdateMe", json!({"update_mask": ""}), "OK").by("$ann"),
        step("UpdateMe", json!({"name": "a\u{7}"}), "INVALID_FIELD").by("$ann"),
        step("UpdateMe", json!({"name": "Ann"}), "MISSING_CREDENTIAL"),
    ]
}

fn keys() -> Vec<Step> {
    let (soon, past) = ("2027-02-01T00:00:00.5Z", "2020-01-01T00:00:00Z");
    let limited = json!({"requests": 2, "per": "60s"});
    vec![
        step("CreateKey", json!({"name": "all", "scopes": ["a:read"]}), "OK")
            .by("$ann")
            .keep("$key", "/secret")
            .keep("$key_id", "/key/id"),
        step("CreateKey", json!({"name": "few", "expire_time": soon, "rate_limit": limited}), "OK")
            .by("$ann")
            .keep("$limited", "/secret")
            .keep("$limited_id", "/key/id"),
        step("CreateKey", json!({"name": ""}), "INVALID_FIELD").by("$ann"),
        step("CreateKey", json!({"name": "k", "scopes": ["a b"]}), "INVALID_FIELD").by("$ann"),
        step("CreateKey", json!({"name": "k", "scopes": ["b:write"]}), "INSUFFICIENT_SCOPE").by("$ann"),
        step("CreateKey", json!({"name": "k", "expire_time": past}), "INVALID_FIELD").by("$ann"),
        step("CreateKey", json!({"name": "k", "rate_limit": {"requests": 5}}), "INVALID_FIELD").by("$ann"),
        step("CreateKey", json!({"name": "k"}), "SESSION_REQUIRED").header("x-api-key", "$key"),
        step("CreateKey", json!({"name": "k"}), "MISSING_CREDENTIAL"),
        step("ListKeys", json!({}), "OK").by("$ann"),
        step("ListKeys", json!({"page_size": 1}), "OK").by("$ann").keep("$page", "/next_page_token"),
        step("ListKeys", json!({"page_size": 1, "page_token": "$page"}), "OK").by("$ann"),
        step("ListKeys", json!({}), "OK").by("$bob"),
        step("ListKeys", json!({"page_size": -1}), "INVALID_FIELD").by("$ann"),
        step("ListKeys", json!({"page_token": "%&="}), "INVALID_FIELD").by("$ann"),
        step("GetKey", json!({"key_id": "$key_id"}), "OK").by("$ann"),
        step("GetKey", json!({"key_id": "$key_id"}), "NOT_FOUND").by("$bob"),
        step("GetKey", json!({"key_id": "a/b c"}), "NOT_FOUND").by("$ann"),
        step("UpdateKey", json!({"key_id": "$key_id", "name": "new"}), "OK").by("$ann"),
        step("UpdateKey", json!({"key_id": "$limited_id", "update_mask": "expire_time,scopes"}), "OK")
            .by("$ann"),
        step("UpdateKey", json!({"key_id": "$key_id", "update_mask": "name"}), "INVALID_FIELD").by("$ann"),
        step("UpdateKey", json!({"key_id": "$key_id", "scopes": ["c"]}), "INSUFFICIENT_SCOPE").by("$ann"),
        step("UpdateKey", json!({"key_id": "key_1", "name": "new"}), "NOT_FOUND").by("$ann"),
        step("GetMe", json!({}), "OK").header("x-api-key", "$limited"),
        step("GetMe", json!({}), "OK").header("authorization", "Bearer $limited"),
        step("GetMe", json!({}), "TOO_MANY_ATTEMPTS").header("x-api-key", "$limited"),
        step("RotateKey", json!({"key_id": "$key_id", "grace_period": "60s"}), "OK")
            .by("$ann")
            .keep("$rotated", "/secret"),
        step("RotateKey", json!({"key_id": "$key_id", "grace_period": "604801s"}), "INVALID_FIELD")
            .by("$ann"),
        step("RotateKey", json!({"key_id": "$key_id", "grace_period": "-1s"}), "INVALID_FIELD").by("$ann"),
        step("RotateKey", json!({"key_id": "$key_id"}), "NOT_FOUND").by("$bob"),
    ]
}

fn questions() -> Vec<Step> {
    let asked =
        |credential: &str, scopes: Value| json!({"credential": credential, "required_scopes": scopes});
    let too_many = vec![json!({}); 101];
    vec![
        step("ValidateCredential", asked("$ann", json!(["a:read"])), "OK"),
        step("ValidateCredential", asked("$key", json!([])), "OK"),
        step("ValidateCredential", asked("$rotated", json!(["a:read", "b"])), "OK"),
        step("ValidateCredential", asked("$limited", json!([])), "OK"),
        step("ValidateCredential", asked("ak_nonsense", json!([])), "OK"),
        step("ValidateCredential", json!({}), "OK"),
        step("ValidateCredential", asked("$ann", json!([""])), "INVALID_FIELD"),
        step(
            "BatchValidateCredentials",
            json!({"requests": [asked("$bob", json!([])), asked("$key", json!(["z"])), {}]}),
            "OK",
        ),
        step("BatchValidateCredentials", json!({}), "OK"),
        step("BatchValidateCredentials", json!({"requests": too_many}), "INVALID_FIELD"),
        step(
            "BatchValidateCredentials",
            json!({"requests": [{}, asked("", json!(["\\"]))]}),
            "INVALID_FIELD",
        ),
        step("ListVerificationKeys", json!({}), "OK"),
        step("ListVerificationKeys", json!({}), "INVALID_FIELD").header("grpc-timeout", "soon"),
    ]
}

/// How everything ends.
fn ends() -> Vec<Step> {
    let change = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let login = |password: &str| json!({"email": EMAIL, "password": password});
    let new = "battery staple horse";
    vec![
        step("RevokeKey", json!({"key_id": "$key_id"}), "OK").by("$ann"),
        step("RevokeKey", json!({"key_id": "$key_id"}), "OK").by("$ann"),
        step("RevokeKey", json!({"key_id": "$limited_id"}), "NOT_FOUND").by("$bob"),
        step("UpdateKey", json!({"key_id": "$key_id", "name": "late"}), "INVALID_FIELD").by("$ann"),
        step("GetMe", json!({}), "CREDENTIAL_REVOKED").header("x-api-key", "$rotated"),
        step("ListSessions", json!({}), "OK").by("$ann").keep("$second_id", "/sessions/0/id"),
        step("ListSessions", json!({"page_size": 1}), "OK").by("$ann").keep("$page", "/next_page_token"),
        step("ListSessions", json!({"page_size": 1, "page_token": "$page"}), "OK").by("$ann"),
        step("ListSessions", json!({"page_size": -7}), "INVALID_FIELD").by("$ann"),
        step("ListSessions", json!({}), "SESSION_REQUIRED").header("x-api-key", "$limited").after(120),
        step("RevokeSession", json!({"session_id": "$second_id"}), "NOT_FOUND").by("$bob"),
        step("RevokeSession", json!({"session_id": "$second_id"}), "OK").by("$ann"),
        step("RevokeSession", json!({"session_id": "$second_id"}), "NOT_FOUND").by("$ann"),
        step("GetMe", json!({}), "CREDENTIAL_REVOKED").by("$second"),
        step("ChangePassword", change(PASSWORD, new), "OK").by("$ann"),
        step("ChangePassword", change(PASSWORD, "another one entirely"), "WRONG_EMAIL_OR_PASSWORD")
            .by("$ann"),
        step("ChangePassword", change(new, "example12"), "PASSWORD_TOO_COMMON").by("$ann"),
        step("Login", login(new), "OK").keep("$third_refresh", "/refresh_token"),
        step("Login", login(new), "OK").keep("$fourth", "/access_token"),
        step("Logout", json!({"refresh_token": "$third_refresh"}), "OK"),
        step("Logout", json!({"refresh_token": "$third_refresh"}), "OK"),
        step("Logout", json!({}), "OK").by("$fourth"),
        step("Logout", json!({}), "CREDENTIAL_REVOKED").by("$fourth"),
        step("Logout", json!({}), "MISSING_CREDENTIAL"),
        step("Refresh", json!({"refresh_token": "$ann_refresh"}), "REFRESH_TOKEN_REUSED"),
        step("Login", login(new), "OK").keep("$ann", "/access_token"),
        step("RevokeAllSessions", json!({"keep_current": true}), "OK").by("$ann"),
        step("RevokeAllSessions", json!({}), "OK").by("$ann"),
        step("RevokeAllSessions", json!({}), "CREDENTIAL_REVOKED").by("$ann"),
        step("Login", login(new), "OK").keep("$ann", "/access_token"),
        step("DeleteMe", json!({}), "INVALID_FIELD").by("$ann"),
        step("DeleteMe", json!({"password": "wrong horse battery"}), "WRONG_EMAIL_OR_PASSWORD").by("$ann"),
        step("GetMe", json!({}), "CREDENTIAL_EXPIRED").by("$ann").after(16 * 60),
        step("Login", login(new), "OK").keep("$ann", "/access_token"),
        step("DeleteMe", json!({"password": new}), "OK").by("$ann"),
        step("GetMe", json!({}), "CREDENTIAL_REVOKED").by("$ann"),
        step("Register", json!({"email": EMAIL, "password": PASSWORD}), "OK").keep("$ann", "/access_token"),
        step("GetMe", json!({}), "ACCOUNT_DISABLED")
            .by("$ann")
            .sql("UPDATE users SET disabled_time = create_time"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_answers_and_fails_alike_through_every_door() {
    let story: Vec<Step> =
        [people(), keys(), questions(), admin::story(), mails::story(), identities::story(), ends()]
            .into_iter()
            .flatten()
            .collect();
    for rpc in rpcs() {
        let cases = || story.iter().filter(|step| step.rpc == rpc.name());
        let elsewhere = identities::TAKE_A_PROVIDER.contains(&rpc.name());
        assert!(elsewhere || cases().any(|step| step.expected == "OK"), "no case for RPC {}", rpc.name());
        assert!(cases().any(|step| step.expected != "OK"), "no case of a failure for RPC {}", rpc.name());
    }
    assert_alike(&story, &[("ACCOUNTS__DEFAULT_SCOPES", "a:read")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_registration_and_a_full_set_of_keys_look_alike_through_every_door() {
    let register = || json!({"email": EMAIL, "password": PASSWORD});
    assert_alike(
        &[step("Register", register(), "REGISTRATION_CLOSED")],
        &[("ACCOUNTS__REGISTRATION", "closed")],
    )
    .await;
    let mut story = vec![step("Register", register(), "OK").keep("$ann", "/access_token")];
    story.extend((0..100).map(|_| step("CreateKey", json!({"name": "one of many"}), "OK").by("$ann")));
    story.push(step("CreateKey", json!({"name": "one too many"}), "LIMIT_REACHED").by("$ann"));
    assert_alike(&story, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unproven_address_and_too_many_failures_look_alike_through_every_door() {
    let account = || json!({"email": EMAIL, "password": PASSWORD});
    let wrong = || json!({"email": EMAIL, "password": "wrong horse battery"});
    let mut story = vec![step("Register", account(), "OK"), step("Login", account(), "EMAIL_NOT_VERIFIED")];
    story.extend((0..5).map(|_| step("Login", wrong(), "WRONG_EMAIL_OR_PASSWORD")));
    // S8
    story.push(step("Login", wrong(), "TOO_MANY_ATTEMPTS").after(0));
    story.push(step("Login", account(), "TOO_MANY_ATTEMPTS").after(0));
    story.push(step("Login", account(), "EMAIL_NOT_VERIFIED"));
    assert_alike(&story, &[("ACCOUNTS__REQUIRE_VERIFIED_EMAIL", "true")]).await;
}

/// Tells the story through each door, to servers that are set up alike.
async fn assert_alike(story: &[Step], settings: &[(&str, &str)]) {
    let mut told = Vec::new();
    for door in DOORS {
        let setup = Setup::new(Kind::Sqlite).await;
        let server = settings.iter().fold(setup, |setup, (key, value)| setup.set(key, value)).start().await;
        told.push(tell(&server, door, story).await);
    }
    for (door, other) in DOORS.iter().zip(&told).skip(1) {
        for ((first, other), step) in told[0].iter().zip(other).zip(story) {
            assert_eq!(first, other, "{:?} and {door:?}: {} {}", DOORS[0], step.rpc, step.message);
        }
    }
}

/// What came back at each step, without what is new each time and without the code, which is checked on the way.
async fn tell(server: &Server, door: Door, story: &[Step]) -> Vec<Result<Value, Failure>> {
    let mut kept = HashMap::new();
    let mut fresh = Vec::new();
    let mut told = Vec::new();
    for step in story {
        server.clock.advance(step.after);
        if !step.sql.is_empty() {
            server.change_beside(&step.sql).await;
        }
        let headers: Vec<_> =
            step.headers.iter().map(|(name, value)| (*name, header(value, &kept))).collect();
        let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("user-agent", "parity"));
        let message = fill(&step.message, &kept);
        let answer = server.call(door, step.rpc, &headers, &message).await;
        let what = format!("{door:?}: {} {message}", step.rpc);
        if step.expected == "OK" {
            assert!(answer.result.is_ok(), "{what}: {answer:?}");
        } else {
            answer.expect(step.expected, &what);
        }
        if let Ok(body) = &answer.result {
            for (name, pointer) in &step.keep {
                let value = body.pointer(pointer).and_then(Value::as_str);
                kept.insert(*name, value.unwrap_or_else(|| panic!("{what}: no {pointer}")).to_owned());
            }
        }
        told.push(match answer.result {
            Ok(body) => Ok(without_fresh(without_age(body), &mut fresh)),
            Err(failure) => Err(Failure { code: None, ..failure }),
        });
    }
    told
}

/// Without the moment at which the change feed was last looked at, which is nobody's to choose.
fn without_age(mut body: Value) -> Value {
    match &mut body {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_age(item.take())),
        Value::Object(fields) => {
            for (name, value) in fields {
                *value = match name.as_str() {
                    "cacheable_until_time" if value.is_string() => "soon".into(),
                    _ => without_age(value.take()),
                };
            }
        }
        _ => {}
    }
    body
}

type Kept = HashMap<&'static str, String>;

/// `$name` is an access token in `authorization`, and itself anywhere else.
fn header(value: &str, kept: &Kept) -> String {
    match value.rsplit_once('$') {
        Some((before, name)) => {
            let value = &kept[format!("${name}").as_str()];
            let is_token = before.is_empty() && value.starts_with("v4.");
            format!("{}{value}", if is_token { "Bearer " } else { before })
        }
        None => value.to_owned(),
    }
}

fn fill(message: &Value, kept: &Kept) -> Value {
    match message {
        Value::String(text) => kept.get(text.as_str()).unwrap_or(text).clone().into(),
        Value::Array(items) => items.iter().map(|item| fill(item, kept)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), fill(value, kept))).collect()
        }
        other => other.clone(),
    }
}

/// Replaces ids, tokens and keys by their number in the order of appearance, so that what is equal stays equal.
fn without_fresh(mut body: Value, fresh: &mut Vec<String>) -> Value {
    const FRESH: [&str; 13] = [
        "access_token",
        "refresh_token",
        "secret",
        "hint",
        "id",
        "user_id",
        "actor_user_id",
        "actor_key_id",
        "session_id",
        "key_id",
        "kid",
        "public_key",
        "next_page_token",
    ];
    match &mut body {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if !text.is_empty() && FRESH.contains(&name.as_str()) => {
                        let number = fresh.iter().position(|known| known == text).unwrap_or_else(|| {
                            fresh.push(text.clone());
                            fresh.len() - 1
                        });
                        *text = format!("fresh {number}");
                    }
                    value => *value = without_fresh(value.take(), fresh),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_fresh(item.take(), fresh)),
        _ => {}
    }
    body
}
