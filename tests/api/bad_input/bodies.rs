//! Bodies of the REST door: what is no JSON object, and fields that are unknown, repeated or of another type.

use http::Method;
use prost_reflect::{FieldDescriptor, Kind as FieldKind, MethodDescriptor};
use serde_json::{Value, json};

use super::{Besieged, LOGIN_REST, assert_field};
use crate::{
    common::Kind,
    wire::{Door, binding, rpcs},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_object_is_an_invalid_field() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    let lists = "[".repeat(60_000);
    let objects = "{\"email\":".repeat(7_000);
    let closed = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let nested = format!("{{\"email\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let bodies: [&[u8]; 27] = [
        b"{",
        b"}",
        b"[]",
        b"[{}]",
        b"null",
        b"true",
        b"7",
        b"\"a\"",
        b"{}{}",
        b"{} x",
        b"{},",
        b"{'email':'a'}",
        b"{email:1}",
        b"{\"email\":\"a\",}",
        b"{\"email\":\"a\" \"b\"}",
        b"// {}\n{}",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"{\"email\":\"\xff\"}",
        b"{\"email\":\"\xed\xa0\x80\"}",
        b"{\"email\":\"\\ud800\"}",
        b"{\"email\":\"\\udc00\\ud800\"}",
        b"{\"email\":\"a\0\"}",
        b"{\"email\":NaN}",
        lists.as_bytes(),
        objects.as_bytes(),
        closed.as_bytes(),
    ];
    for body in
        bodies.into_iter().chain([nested.as_bytes(), b" ", b"\0", b"{\"email\":01}", b"{\"email\":\"\\x\"}"])
    {
        let answer = besieged.server.exchange(Door::Rest, Method::POST, LOGIN_REST, &[], body.to_vec()).await;
        answer.expect("INVALID_FIELD", &String::from_utf8_lossy(&body[..body.len().min(40)]));
        assert!(answer.failure().detail.len() < 300);
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_unknown_repeated_or_of_another_type_is_named() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    for rpc in rpcs() {
        let (verb, path) = binding(&rpc);
        let path =
            path.replace("{key_id}", "key_1").replace("{session_id}", "ses_1").replace("{user_id}", "usr_1");
        let ask = |query: &str, body: String| {
            let (server, verb, path) = (&besieged.server, verb.clone(), format!("{path}{query}"));
            async move { server.exchange(Door::Rest, verb, &path, &[], body).await }
        };
        let what = rpc.name();
        if verb != Method::POST && verb != Method::PATCH {
            assert_field(&ask("", "{\"no_such\":1}".into()).await, "no_such", what);
            assert_field(&ask("?no_such=1", String::new()).await, "no_such", what);
            assert_field(&ask("?update_mask=name", String::new()).await, "update_mask", what);
            continue;
        }
        assert_field(&ask("", "{\"no_such\":{\"a\":[1]}}".into()).await, "no_such", what);
        assert_field(&ask("", "{\"update_mask\":\"name\"}".into()).await, "update_mask", what);
        assert_field(&ask("", "{\"a\\u0000b\":1}".into()).await, "a\0b", what);
        assert_field(&ask("?no_such=1", "{}".into()).await, "no_such", what);
        let input = rpc.input();
        let fields = input.fields().filter(|field| field.name() != "update_mask");
        for field in fields.filter(|field| !path_has(&rpc, field)) {
            let name = field.name();
            assert_field(&ask(&format!("?{name}=x"), "{}".into()).await, name, what);
            assert_field(&ask("", format!("{{\"{name}\":null,\"{name}\":null}}")).await, name, what);
            // Null is proto3 JSON's word for absent.
            let (null, absent) =
                (ask("", json!({ name: null }).to_string()).await, ask("", "{}".into()).await);
            assert_eq!(null.result, absent.result, "{what}: {name}");
            for wrong in wrong_values(&field) {
                let body = json!({ name: wrong }).to_string();
                let answer = ask("", body.clone()).await;
                answer.expect("INVALID_FIELD", &format!("{what}: {body}"));
                let named = &answer.failure().violations[0].0;
                assert!(named.starts_with(name), "{what}: {body}: {named}");
            }
        }
    }
    besieged.assert_well().await;
}

fn path_has(rpc: &MethodDescriptor, field: &FieldDescriptor) -> bool {
    binding(rpc).1.contains(&format!("{{{}}}", field.name()))
}

/// Values that a field cannot take.
fn wrong_values(field: &FieldDescriptor) -> Vec<Value> {
    let mut wrong = match field.kind() {
        _ if field.is_list() => {
            return vec![json!(1), json!("a"), json!({}), json!(true), json!([[]]), json!([null])];
        }
        FieldKind::String => vec![json!(1), json!(1.5), json!(true)],
        FieldKind::Bool => vec![json!(1), json!("yes"), json!("true")],
        FieldKind::Int32 => vec![json!(1.5), json!("x"), json!(1e40), json!(2_147_483_648_i64), json!(true)],
        FieldKind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => {
                vec![
                    json!("tomorrow"),
                    json!(1_800_000_000),
                    json!("2027-13-01T00:00:00Z"),
                    json!({"seconds": 1}),
                ]
            }
            "google.protobuf.Duration" => vec![json!(5), json!("5 minutes"), json!("9e9s"), json!("1e400s")],
            _ => vec![json!(1), json!("a"), json!(true)],
        },
        other => panic!("say what is wrong for {other:?}"),
    };
    if !matches!(field.kind(), FieldKind::Message(_)) {
        wrong.push(json!({}));
    }
    wrong.push(json!([]));
    wrong.push(json!([1, 2]));
    wrong
}
