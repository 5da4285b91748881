//! The door against a gRPC side that remembers what it was asked.

use std::sync::Mutex;

use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use tonic::Status;
use tower::ServiceExt;

use super::*;
use crate::api::{door, pb};

/// What reached the gRPC side.
#[derive(Debug, Default)]
struct Seen {
    rpc: String,
    headers: HeaderMap,
    peer: Option<Peer>,
    message: Json,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Peer(u8);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Json,
}

/// A gRPC side that remembers what it was asked, and answers with an empty message; or, where an `authorization` is
/// presented, with an error.
fn door() -> (Router, Arc<Mutex<Seen>>) {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let grpc = {
        let (pool, seen) = (pool.clone(), Arc::clone(&seen));
        Router::new().fallback(async move |request: Request| {
            let (parts, body) = request.into_parts();
            let rpc = parts.uri.path().to_owned();
            let frame = body.collect().await.unwrap().to_bytes();
            let mut methods = bindings(&pool).unwrap().into_iter().map(|binding| binding.method);
            let method = methods.find(|method| rpc.ends_with(method.name())).unwrap();
            let message = DynamicMessage::decode(method.input(), &frame[5..]).unwrap();
            let message = serde_json::to_value(&message).unwrap();
            let peer = parts.extensions.get().copied();
            let refused = parts.headers.contains_key("authorization");
            *seen.lock().unwrap() = Seen { rpc, headers: parts.headers, peer, message };
            if refused {
                return Problem::from(ErrorReason::CredentialExpired).into_grpc_response();
            }
            let mut answer = Status::ok("").into_http::<Body>();
            *answer.body_mut() = Body::from(&b"\0\0\0\0\0"[..]);
            answer
        })
    };
    (routes(&pool, &grpc, Side::Both, Metrics::start(&pool)).unwrap().fallback(door::not_found), seen)
}

async fn ask(door: &Router, verb: &str, uri: &str, body: impl Into<Body>) -> Answer {
    let request = Request::builder().method(verb).uri(uri).extension(Peer(7));
    send(door, request.body(body.into()).unwrap()).await
}

async fn send(door: &Router, request: Request) -> Answer {
    let (parts, body) = door.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status: parts.status, headers: parts.headers, body }
}

fn field(answer: &Answer) -> &str {
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(answer.body["reason"], "INVALID_FIELD");
    answer.body["field_violations"][0]["field"].as_str().unwrap()
}

#[test]
fn every_rpc_has_a_route() {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let ours = pool.services().filter(|service| service.package_name() == "countersign.v1");
    // HTTP with JSON has no streams.
    let unary = |service: prost_reflect::ServiceDescriptor| {
        service.methods().filter(|method| !method.is_server_streaming()).count()
    };
    let methods = ours.map(unary).sum::<usize>();
    assert_eq!((bindings(&pool).unwrap().len(), methods), (47, 47));
}

#[tokio::test]
async fn a_call_reaches_the_handler_whole() {
    let (door, seen) = door();
    let request = Request::post("/api/v1/auth/login")
        .header("user-agent", "test")
        .header("x-api-key", "ak_1")
        .header("content-type", "application/json")
        .header("grpc-encoding", "gzip")
        .header("connection", "close")
        .extension(Peer(7))
        .body(Body::from(r#"{"email": "a", "password": "b"}"#));
    let answer = send(&door, request.unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(
        answer.body,
        json!({"access_token": "", "token_type": "", "expires_in": 0, "refresh_token": "", "scopes": []}),
    );
    let seen = seen.lock().unwrap();
    assert_eq!(seen.rpc, "/countersign.v1.AuthService/Login");
    assert_eq!(seen.message, json!({"email": "a", "password": "b"}));
    assert_eq!(seen.peer, Some(Peer(7)));
    assert_eq!(seen.headers["x-api-key"], "ak_1");
    assert_eq!(seen.headers["user-agent"], "test");
    assert_eq!(seen.headers["content-type"], "application/grpc");
    assert!(!seen.headers.contains_key("grpc-encoding") && !seen.headers.contains_key("connection"));
}

#[tokio::test]
async fn an_error_becomes_a_problem() {
    let (door, _) = door();
    let request = Request::get("/api/v1/users/me").header("authorization", "Bearer x");
    let answer = send(&door, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    assert_eq!(answer.body["reason"], "CREDENTIAL_EXPIRED");
}

#[tokio::test]
async fn the_path_is_part_of_the_message() {
    let (door, seen) = door();
    for (verb, uri) in [("GET", "/api/v1/keys/key_%C3%A4"), ("DELETE", "/api/v1/keys/key_%C3%A4")] {
        assert_eq!(ask(&door, verb, uri, "").await.status, 200);
        assert_eq!(seen.lock().unwrap().message, json!({"keyId": "key_ä"}));
    }
    assert_eq!(ask(&door, "DELETE", "/api/v1/keys/key_1", "{}").await.status, 200);
    assert_eq!(ask(&door, "GET", "/api/v1/keys/%ff", "").await.body["reason"], "NOT_FOUND");
    let uri = "/api/v1/keys/key_1";
    assert_eq!(
        field(&ask(&door, "POST", &format!("{uri}/rotate"), r#"{"key_id": "key_2"}"#).await),
        "key_id"
    );
    assert_eq!(field(&ask(&door, "PATCH", uri, r#"{"keyId": "key_2"}"#).await), "keyId");
    assert_eq!(field(&ask(&door, "GET", &format!("{uri}?key_id=key_2"), "").await), "key_id");
    assert_eq!(field(&ask(&door, "DELETE", uri, r#"{"x": 1}"#).await), "x");
    assert_eq!(ask(&door, "DELETE", uri, "[]").await.status, 400);
}

#[tokio::test]
async fn the_query_binds_on_get_only() {
    let (door, seen) = door();
    let answer = ask(&door, "GET", "/api/v1/keys?page_size=5&page_token=a%2Bb+c", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({"keys": [], "next_page_token": ""}));
    assert_eq!(seen.lock().unwrap().message, json!({"pageSize": 5, "pageToken": "a+b c"}));
    for (verb, query, name) in [
        ("GET", "page_size=x", "page_size"),
        ("GET", "page_size", "page_size"),
        ("GET", "page_size=1&page_size=2", "page_size"),
        ("GET", "page_size=1&pageSize=2", "pageSize"),
        ("GET", "page_size=99999999999", "page_size"),
        ("GET", "page_token=%ff", "page_token"),
        ("GET", "%ff=1", "%ff"),
        ("GET", "nope=1", "nope"),
        ("POST", "name=x", "name"),
        ("POST", "a&b", "a"),
    ] {
        assert_eq!(field(&ask(&door, verb, &format!("/api/v1/keys?{query}"), "").await), name, "{query}");
    }
    assert_eq!(ask(&door, "GET", "/api/v1/keys?", "").await.status, 200);
}

#[tokio::test]
async fn a_patch_masks_what_it_names() {
    let (door, seen) = door();
    let uri = "/api/v1/keys/key_1";
    for (body, message) in [
        ("{}", json!({"keyId": "key_1", "updateMask": ""})),
        ("", json!({"keyId": "key_1", "updateMask": ""})),
        (r#"{"name": "a"}"#, json!({"keyId": "key_1", "name": "a", "updateMask": "name"})),
        (
            r#"{"expireTime": null, "rate_limit": null}"#,
            json!({"keyId": "key_1", "updateMask": "expireTime,rateLimit"}),
        ),
        (r#"{"scopes": []}"#, json!({"keyId": "key_1", "updateMask": "scopes"})),
    ] {
        assert_eq!(ask(&door, "PATCH", uri, body).await.status, 200);
        assert_eq!(seen.lock().unwrap().message, message, "{body}");
    }
    let answer = ask(&door, "PATCH", uri, r#"{"update_mask": "name", "name": "a"}"#).await;
    assert_eq!(field(&answer), "update_mask");
    assert_eq!(field(&ask(&door, "PATCH", uri, r#"{"nope": null}"#).await), "nope");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let (door, _) = door();
    let answer = ask(&door, "PUT", "/api/v1/users/me", "").await;
    assert_eq!((answer.status.as_u16(), &answer.body["reason"]), (405, &json!("METHOD_NOT_ALLOWED")));
    let mut allowed: Vec<_> = answer.headers["allow"].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "PATCH"]);
    assert_eq!(ask(&door, "GET", "/nope", "").await.body["reason"], "NOT_FOUND");
}
