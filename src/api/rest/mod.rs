//! REST: one route for each `google.api.http` annotation of the protos, answered by calling the gRPC router in process, so
//! that a new RPC needs no code here and every caller passes the same layers and handlers. Limits, content types and
//! credentials belong to the layers around it.

mod binding;
mod dynamic;
mod json;
mod query;

use std::{
    error::Error,
    future::{Ready, ready},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, header, request::Parts, uri::PathAndQuery},
    response::{IntoResponse, Response},
    routing::{MethodFilter, get, on},
};
use http_body_util::LengthLimitError;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, SerializeOptions, Value,
};
use tonic::{client::Grpc, metadata::MetadataMap};

use self::{dynamic::Dynamic, json::Object};
use super::{
    openapi,
    pb::ErrorReason,
    status::{Problem, Violation},
};

pub(super) use self::binding::{Binding, bindings};

/// Bytes of a body that are read (S60).
const BODY_LIMIT: usize = 64 * 1024;

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// Headers that speak of the connection or of the body, and so say nothing of the call within.
const NOT_METADATA: [header::HeaderName; 15] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The REST door to `grpc`, and `/openapi.json`. Every unary RPC of `pool` that has an annotation has a route.
pub fn routes(pool: &DescriptorPool, grpc: &Router) -> Router {
    let mut router = Router::new().route("/openapi.json", get(async || (JSON, openapi::DOCUMENT)));
    for binding in bindings(pool) {
        let Ok(filter) = MethodFilter::try_from(binding.verb.clone()) else { continue };
        let path = binding.path.clone();
        let Some(route) = Route::new(binding, grpc.clone()).map(Arc::new) else { continue };
        router = router.route(&path, on(filter, async move |request: Request| route.answer(request).await));
    }
    router.method_not_allowed_fallback(async || Problem::from(ErrorReason::MethodNotAllowed))
}

/// Answers at paths where there is nothing, in the caller's own protocol.
pub fn not_found(mut headers: HeaderMap) -> Ready<Response> {
    let content_type = headers.remove(header::CONTENT_TYPE);
    ready(match content_type.filter(|value| value.as_bytes().starts_with(b"application/grpc")) {
        Some(content_type) => {
            ([(header::CONTENT_TYPE, content_type)], Problem::unknown_rpc()).into_response()
        }
        None => Problem::new(ErrorReason::NotFound, "there is nothing at this path").into_response(),
    })
}

/// What can be known of a route before a request comes.
struct Route {
    grpc: Router,
    rpc: PathAndQuery,
    binding: Binding,
    input: MessageDescriptor,
    output: MessageDescriptor,
    path_fields: Vec<FieldDescriptor>,
    mask: Option<FieldDescriptor>,
}

impl Route {
    fn new(binding: Binding, grpc: Router) -> Option<Self> {
        let (method, input) = (&binding.method, binding.method.input());
        let rpc = format!("/{}/{}", method.parent_service().full_name(), method.name());
        Some(Self {
            grpc,
            rpc: rpc.parse().ok()?,
            path_fields: binding.path_fields().map(|n| input.get_field_by_name(n)).collect::<Option<_>>()?,
            mask: binding.mask(),
            output: method.output(),
            input,
            binding,
        })
    }

    async fn answer(&self, request: Request) -> Response {
        match self.call(request).await {
            Ok(json) => (JSON, json).into_response(),
            Err(problem) => problem.into_response(),
        }
    }

    async fn call(&self, request: Request) -> Result<Vec<u8>, Problem> {
        let (mut parts, body) = request.into_parts();
        let message = self.read(&mut parts, body).await?;
        let metadata = MetadataMap::from_headers(metadata(parts.headers));
        let request = tonic::Request::from_parts(metadata, parts.extensions, message);
        let mut client = Grpc::new(self.grpc.clone());
        let Ok(()) = client.ready().await;
        let answer = client
            .unary(request, self.rpc.clone(), Dynamic(self.output.clone()))
            .await
            .map_err(|status| Problem::from_status(&status))?;
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        let mut json = Vec::new();
        answer
            .into_inner()
            .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
            .map_err(|_| Problem::from(ErrorReason::Internal))?;
        Ok(json)
    }

    /// Makes the RPC's request of the path, and of the query (GET) or the body.
    async fn read(&self, parts: &mut Parts, body: Body) -> Result<DynamicMessage, Problem> {
        let body = json::object(&to_bytes(body, BODY_LIMIT).await.map_err(|error| unread(&error))?)?;
        let mut object = query::object(&self.binding, parts.uri.query().unwrap_or_default())?;
        if self.binding.has_body {
            object = body;
        } else if !body.is_empty() {
            return Err(refuse(body.keys(), "there is no body in this call"));
        }

        let taken = |name: &&String| {
            let given = json::field(&self.input, name);
            self.path_fields.iter().chain(&self.mask).any(|field| Some(field) == given.as_ref())
        };
        if object.keys().any(|name| taken(&name)) {
            return Err(refuse(object.keys().filter(taken), "follows from the path or the body"));
        }
        let mask = self.mask.as_ref().map(|mask| (mask, mask_of(mask, &self.input, &object)));
        self.read_path(parts, &mut object).await?;
        let mut message = json::message(&self.input, object)?;
        if let Some((field, mask)) = mask {
            message.set_field(field, mask);
        }
        Ok(message)
    }

    /// Binds the path's parameters. One that is not UTF-8 names nothing.
    async fn read_path(&self, parts: &mut Parts, object: &mut Object) -> Result<(), Problem> {
        if self.path_fields.is_empty() {
            return Ok(());
        }
        let params = RawPathParams::from_request_parts(parts, &())
            .await
            .map_err(|_| Problem::from(ErrorReason::NotFound))?;
        object.extend(params.iter().map(|(name, value)| (name.to_owned(), value.into())));
        Ok(())
    }
}

/// The mask of a PATCH is the set of its body's keys. It is present even when it is empty: then nothing changes, while
/// an absent mask would stand for the fields that are set.
fn mask_of(field: &FieldDescriptor, input: &MessageDescriptor, body: &Object) -> Value {
    let names = body.keys().filter_map(|name| json::field(input, name));
    let paths = names.map(|field| Value::String(field.name().to_owned())).collect();
    let mut mask = Value::default_value_for_field(field);
    if let Some(mask) = mask.as_message_mut() {
        mask.set_field_by_name("paths", Value::List(paths));
    }
    mask
}

fn refuse(names: impl IntoIterator<Item = impl Into<String>>, why: &str) -> Problem {
    let violation = |name: _| Violation { field: Into::into(name), description: why.to_owned() };
    Problem::invalid(names.into_iter().take(json::MAX_FAULTS).map(violation).collect())
}

/// Why a body could not be read: it is too large, or its sender broke off.
fn unread(error: &axum::Error) -> Problem {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return ErrorReason::TooLarge.into();
        }
        source = error.source();
    }
    Problem::new(ErrorReason::InvalidField, "the body could not be read")
}

fn metadata(mut headers: HeaderMap) -> HeaderMap {
    for name in NOT_METADATA {
        headers.remove(name);
    }
    let of_grpc = headers.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned();
    for name in of_grpc.collect::<Vec<_>>() {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::http::{HeaderValue, StatusCode};
    use http_body_util::BodyExt;
    use serde_json::{Value as Json, json};
    use tonic::Status;
    use tower::ServiceExt;

    use super::*;
    use crate::api::pb;

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
                let method = bindings(&pool).map(|b| b.method).find(|m| rpc.ends_with(m.name())).unwrap();
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
        (routes(&pool, &grpc).fallback(not_found), seen)
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
        let methods = pool.services().map(|service| service.methods().count()).sum::<usize>();
        let routes = bindings(&pool).filter_map(|binding| Route::new(binding, Router::new())).count();
        assert_eq!((routes, methods), (20, 20));
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
    async fn other_paths_methods_and_sizes_are_refused() {
        let (door, _) = door();
        let answer = ask(&door, "PUT", "/api/v1/users/me", "").await;
        assert_eq!((answer.status.as_u16(), &answer.body["reason"]), (405, &json!("METHOD_NOT_ALLOWED")));
        let mut allowed: Vec<_> = answer.headers["allow"].to_str().unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD", "PATCH"]);
        assert_eq!(ask(&door, "GET", "/nope", "").await.body["reason"], "NOT_FOUND");
        let large = format!(r#"{{"email": "{}"}}"#, "a".repeat(BODY_LIMIT));
        let answer = ask(&door, "POST", "/api/v1/auth/login", large).await;
        assert_eq!((answer.status.as_u16(), &answer.body["reason"]), (413, &json!("TOO_LARGE")));
        let request = Request::post("/nope").header("content-type", "application/grpc-web+proto");
        let answer = send(&door, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], HeaderValue::from_static("application/grpc-web+proto"));
        let status = Status::from_header_map(&answer.headers).unwrap();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
        assert_eq!(Problem::from_status(&status).reason, ErrorReason::NotFound);
    }
}
