//! Values of fields: texts, numbers, times, spans and passwords that no one should send.

use countersign::api::pb;
use http::Method;
use prost::Message;
use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use super::Besieged;
use crate::{
    common::Kind,
    on_both,
    support::EMAIL,
    wire::{Answer, CANARY, DOORS, Door, GRPC_DOORS, frame, grpc_path, rpc, rpcs},
};

/// Whatever went wrong is in the contract, with the right code; never an internal error.
#[track_caller]
fn assert_in_contract(answer: &Answer, what: &str) {
    if let Err(failure) = &answer.result {
        answer.expect(&failure.reason, what);
    }
}

#[track_caller]
#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_spans_out_of_range_are_refused() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    let authorization = besieged.authorization();
    let headers = [("authorization", authorization.as_str())];
    for number in ["1e400", "99999999999999999999", "-1", "2147483648", "-2147483649", "0", "1.0000001"] {
        let body = format!("{{\"name\":\"k\",\"rate_limit\":{{\"requests\":{number},\"per\":\"1s\"}}}}");
        let answer = besieged.server.exchange(Door::Rest, Method::POST, "/api/v1/keys", &headers, body).await;
        answer.expect("INVALID_FIELD", number);
    }
    let times =
        [(i64::MAX, 0), (i64::MIN, 0), (-1, 0), (0, -1), (0, i32::MAX), (0, i32::MIN), (253_402_300_800, 0)];
    let spans = [(i64::MAX, i32::MAX), (i64::MIN, i32::MIN), (-1, 0), (0, -1), (86_401, 0), (0, 0), (1, -5)];
    let key = || pb::CreateKeyRequest { name: "k".to_owned(), ..Default::default() };
    let mut messages = Vec::new();
    for (seconds, nanos) in times {
        messages.push(pb::CreateKeyRequest { expire_time: Some(Timestamp { seconds, nanos }), ..key() });
    }
    for (seconds, nanos) in spans {
        let limit = pb::RateLimit { requests: 1, per: Some(Duration { seconds, nanos }) };
        messages.push(pb::CreateKeyRequest { rate_limit: Some(limit), ..key() });
    }
    for requests in [0, -1, i32::MIN, i32::MAX] {
        let per = Some(Duration { seconds: 1, nanos: 0 });
        messages.push(pb::CreateKeyRequest { rate_limit: Some(pb::RateLimit { requests, per }), ..key() });
    }
    for door in GRPC_DOORS {
        for message in &messages {
            let frames = frame(&message.encode_to_vec());
            let answer = besieged.server.frames(door, &grpc_path(&rpc("CreateKey")), &headers, frames).await;
            answer.expect("INVALID_FIELD", &format!("{door:?} {message:?}"));
        }
    }
    for query in [
        "page_size=x",
        "page_size=",
        "page_size=-1",
        "page_size=1&page_size=2",
        "page_size=9999999999",
        "page_size=1e99",
        "page_token=%FF",
        "page_token=%00",
        "page_token=x",
        "page_size[]=1",
        "%zz=1",
        "=",
        "=1",
        "%FF=1",
    ] {
        for list in [
            "/api/v1/keys",
            "/api/v1/users/me/sessions",
            "/api/v1/users/me/events",
            "/api/v1/admin/users",
            "/api/v1/admin/events",
        ] {
            let path = format!("{list}?{query}");
            let answer = besieged.server.exchange(Door::Rest, Method::GET, &path, &headers, "").await;
            answer.expect("INVALID_FIELD", &path);
        }
    }
    besieged.assert_well().await;
}

on_both! {
    async fn no_text_in_any_field_does_harm(database: Kind) {
        let besieged = Besieged::start(database).await;
        let authorization = besieged.authorization();
        let long = "x".repeat(60_000);
        let texts = ["\0", "a@b.example\0", "'; DROP TABLE users; --\r\nx-injected: 1 \u{202e}%00😀", &long];
        let mut people = 0;
        for rpc in rpcs() {
            for path in string_fields(&rpc.input(), "") {
                for (door, text) in DOORS.iter().flat_map(|door| texts.iter().map(move |text| (*door, *text))) {
                    if door == Door::Rest && path.starts_with("/update_mask") {
                        continue;
                    }
                    people += 1;
                    let message = with_text(rpc.name(), people, &path, text);
                    // Logging out would succeed, by the access token.
                    let presented = if rpc.name() == "Logout" { "" } else { authorization.as_str() };
                    let headers = [("authorization", presented)];
                    let headers = if presented.is_empty() { &[][..] } else { &headers };
                    let answer = besieged.server.call(door, rpc.name(), headers, &message).await;
                    let what = format!("{door:?} {} {path} {:?}", rpc.name(), &text[..text.len().min(30)]);
                    assert_in_contract(&answer, &what);
                    // A password may hold anything; of what is no credential, or no account, it is an answer to say so.
                    let free = path.ends_with("password") || path.starts_with("/users/0/") || path.ends_with("credential") || path.ends_with("refresh_token");
                    assert!(!text.contains('\0') || answer.result.is_err() || free, "{what}: {answer:?}");
                }
            }
        }
        let odd = "nul \0 in a password";
        let message = json!({"email": "nul@example.com", "password": odd});
        for (door, rpc) in [(Door::Rest, "Register"), (Door::Grpc, "Login"), (Door::Rest, "Login")] {
            assert!(besieged.server.call(door, rpc, &[], &message).await.result.is_ok(), "{door:?} {rpc}");
        }
        besieged.assert_well().await;
    }
}

/// JSON pointers to the strings of a message, in lists the first.
pub(super) fn string_fields(message: &MessageDescriptor, under: &str) -> Vec<String> {
    let field_paths = |field: FieldDescriptor| {
        let path = format!("{under}/{}{}", field.name(), if field.is_list() { "/0" } else { "" });
        match field.kind() {
            FieldKind::String => vec![path],
            FieldKind::Message(inner) if inner.full_name() == "google.protobuf.FieldMask" => vec![path],
            FieldKind::Message(inner) if inner.package_name() != "google.protobuf" => {
                string_fields(&inner, &path)
            }
            _ => vec![],
        }
    };
    message.fields().flat_map(field_paths).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_a_mebibyte_is_too_large_and_a_long_one_is_named() {
    // S2
    let besieged = Besieged::start(Kind::Sqlite).await;
    let authorization = besieged.authorization();
    let headers = [("authorization", authorization.as_str())];
    for door in DOORS {
        for (rpc, field) in [
            ("Login", "password"),
            ("Register", "password"),
            ("DeleteMe", "password"),
            ("ChangePassword", "current_password"),
            ("ChangePassword", "new_password"),
            ("ResetPassword", "new_password"),
            ("RequestEmailChange", "password"),
        ] {
            for (length, reason) in
                [(1024 * 1024, "TOO_LARGE"), (1025, "INVALID_FIELD"), (129, "INVALID_FIELD")]
            {
                let message = with_text(rpc, 0, &format!("/{field}"), &"x".repeat(length));
                let answer = besieged.server.call(door, rpc, &headers, &message).await;
                let what = format!("{door:?} {rpc} {field} of {length}");
                answer.expect(reason, &what);
                assert!(
                    reason == "TOO_LARGE" || answer.failure().violations[0].0 == field,
                    "{what}: {answer:?}"
                );
            }
        }
    }
    besieged.assert_well().await;
}

/// A message that is good but for this text.
pub(super) fn with_text(rpc: &str, number: usize, path: &str, text: &str) -> Value {
    let mut message = match rpc {
        "Register" => json!({"email": format!("p{number}@example.com"), "password": CANARY, "name": ""}),
        "Login" => json!({"email": EMAIL, "password": CANARY}),
        "CreateKey" => json!({"name": "k", "scopes": []}),
        "UpdateKey" => json!({"key_id": "key_1"}),
        "ChangePassword" => json!({"current_password": "", "new_password": "fresh and long enough"}),
        "ResetPassword" => json!({"token": "", "new_password": "fresh and long enough"}),
        "CreateServiceAccount" => json!({"name": "robot"}),
        "ImportUsers" => json!({"users": [{"email": format!("i{number}@example.com")}]}),
        "RequestEmailChange" => json!({"new_email": format!("n{number}@example.com"), "password": ""}),
        _ => json!({}),
    };
    let mut place = &mut message;
    for segment in path.split('/').skip(1) {
        if segment == "0" {
            if place.get(0).is_none() {
                *place = json!([null]);
            }
            place = &mut place[0];
        } else {
            if place.is_null() {
                *place = json!({});
            }
            place = &mut place[segment];
        }
    }
    *place = text.into();
    message
}
