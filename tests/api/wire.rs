//! The doors byte by byte, where `support` speaks through finished clients: frames, the two forms of gRPC-web, and REST
//! as the annotations of the protos have it. Whatever a door answers is read into one [`Answer`], and the texts of every
//! failure are searched for internals on the way (S64).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use countersign::api::pb;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::Server;

/// A password that no answer may repeat.
pub const CANARY: &str = "canary-7f3a-password";

/// What no text may tell of (S64).
const INTERNALS: [&str; 15] = [
    "src/", ".rs", "panicked", "diesel", "postgres", "sqlite", "prost", "tonic", "hyper", "serde", "unwrap",
    "axum", "argon2", "base64", CANARY,
];

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// gRPC over HTTP/2 without TLS.
    Grpc,
    /// gRPC-web, binary, over HTTP/1.1.
    Web,
    /// gRPC-web in base64, over HTTP/1.1.
    WebText,
    /// JSON over HTTP/1.1.
    Rest,
}

pub const DOORS: [Door; 4] = [Door::Grpc, Door::Web, Door::WebText, Door::Rest];
pub const GRPC_DOORS: [Door; 3] = [Door::Grpc, Door::Web, Door::WebText];

impl Door {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text",
            Self::Rest => "application/json",
        }
    }

    /// Frames as this door carries them.
    pub fn wrap(self, frames: Vec<u8>) -> Vec<u8> {
        if self == Self::WebText { STANDARD.encode(frames).into_bytes() } else { frames }
    }
}

/// A length-prefixed message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

/// An answer, whichever door it came through.
#[derive(Debug)]
pub struct Answer {
    pub http: StatusCode,
    pub headers: HeaderMap,
    /// The message as JSON, or what went wrong. REST's answer without a body is `Null`.
    pub result: Result<Value, Failure>,
}

/// What went wrong, in terms that all doors share.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Only over gRPC; over REST see [`Answer::http`].
    pub code: Option<Code>,
    pub reason: String,
    pub detail: String,
    pub violations: Vec<(String, String)>,
    pub retry_after: Option<Duration>,
}

impl Answer {
    #[track_caller]
    pub fn failure(&self) -> &Failure {
        self.result.as_ref().expect_err("a failure")
    }

    /// Expects a failure with this reason, and the code or status that the contract gives it.
    #[track_caller]
    pub fn expect(&self, reason: &str, what: &str) {
        let failure = self.result.as_ref().err().unwrap_or_else(|| panic!("{what}: no failure, {self:?}"));
        assert_eq!(failure.reason, reason, "{what}: {self:?}");
        let (code, status) = contract(reason);
        if let Some(actual) = failure.code {
            assert_eq!((actual, self.http), (code, StatusCode::OK), "{what}: {self:?}");
            return;
        }
        assert_eq!(self.http.as_u16(), status, "{what}: {self:?}");
        let challenge = self.headers.get("www-authenticate").map(|value| value.to_str().unwrap());
        assert_eq!(challenge.is_some_and(|challenge| challenge.starts_with("Bearer")), status == 401);
        assert_eq!(self.headers.contains_key("retry-after"), failure.retry_after.is_some(), "{self:?}");
    }
}

/// The contract's table of reasons.
pub fn contract(reason: &str) -> (Code, u16) {
    match reason {
        "MISSING_CREDENTIAL"
        | "INVALID_CREDENTIAL"
        | "CREDENTIAL_EXPIRED"
        | "CREDENTIAL_REVOKED"
        | "WRONG_EMAIL_OR_PASSWORD"
        | "REFRESH_TOKEN_INVALID"
        | "REFRESH_TOKEN_REUSED" => (Code::Unauthenticated, 401),
        "INSUFFICIENT_SCOPE"
        | "ACCOUNT_DISABLED"
        | "EMAIL_NOT_VERIFIED"
        | "SESSION_REQUIRED"
        | "REGISTRATION_CLOSED" => (Code::PermissionDenied, 403),
        "EMAIL_ALREADY_REGISTERED" | "IDENTITY_ALREADY_LINKED" => (Code::AlreadyExists, 409),
        "LAST_WAY_IN" => (Code::FailedPrecondition, 409),
        "INVALID_FIELD"
        | "ONE_TIME_TOKEN_INVALID"
        | "PASSWORD_TOO_COMMON"
        | "OAUTH_CODE_REFUSED"
        | "OAUTH_STATE_INVALID"
        | "UNKNOWN_PROVIDER"
        | "REDIRECT_URI_NOT_ALLOWED" => (Code::InvalidArgument, 400),
        "PROVIDER_UNAVAILABLE" => (Code::Unavailable, 503),
        "NOT_FOUND" => (Code::NotFound, 404),
        "METHOD_NOT_ALLOWED" => (Code::InvalidArgument, 405),
        "UNSUPPORTED_MEDIA_TYPE" => (Code::InvalidArgument, 415),
        "TOO_LARGE" => (Code::ResourceExhausted, 413),
        "TOO_MANY_ATTEMPTS" | "LIMIT_REACHED" => (Code::ResourceExhausted, 429),
        "DEADLINE_EXCEEDED" => (Code::DeadlineExceeded, 504),
        other => panic!("{other} is no reason that this service has now"),
    }
}

/// The service's own RPCs.
/// Every RPC of ours that answers once.
pub fn rpcs() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    pool.services()
        .filter(|service| service.package_name() == "countersign.v1")
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        // What streams has no REST, and tests of its own.
        .filter(|rpc| !rpc.is_server_streaming())
        .collect()
}

pub fn rpc(name: &str) -> MethodDescriptor {
    rpcs().into_iter().find(|rpc| rpc.name() == name).unwrap_or_else(|| panic!("there is no RPC {name}"))
}

/// `/package.Service/Method`
pub fn grpc_path(rpc: &MethodDescriptor) -> String {
    format!("/{}/{}", rpc.parent_service().full_name(), rpc.name())
}

/// The verb and path of an RPC's `google.api.http` annotation.
pub fn binding(rpc: &MethodDescriptor) -> (Method, String) {
    let annotation = rpc.parent_pool().get_extension_by_name("google.api.http").unwrap();
    let options = rpc.options();
    let rule = options.get_extension(&annotation);
    let rule = rule.as_message().unwrap();
    [Method::GET, Method::POST, Method::PATCH, Method::DELETE]
        .into_iter()
        .find_map(|verb| {
            let path = rule.get_field_by_name(&verb.as_str().to_lowercase())?.as_str()?.to_owned();
            (!path.is_empty()).then_some((verb, path))
        })
        .unwrap_or_else(|| panic!("{} has no route", rpc.name()))
}

impl Server {
    /// Calls an RPC with a message that is written as JSON.
    pub async fn call(&self, door: Door, name: &str, headers: &[(&str, &str)], message: &Value) -> Answer {
        let rpc = rpc(name);
        if door == Door::Rest {
            let (verb, path, body) = rest_request(&rpc, message);
            return self.exchange(door, verb, &path, headers, body).await;
        }
        let message = message_of(&rpc, message);
        self.frames(door, &grpc_path(&rpc), headers, frame(&message.encode_to_vec())).await
    }

    /// Posts frames to a gRPC path.
    pub async fn frames(&self, door: Door, path: &str, headers: &[(&str, &str)], frames: Vec<u8>) -> Answer {
        self.exchange(door, Method::POST, path, headers, door.wrap(frames)).await
    }

    /// Sends any bytes. The door's content type is sent unless the headers name another (`""` sends none).
    pub async fn exchange(
        &self,
        door: Door,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body = body.into();
        let mut request = Request::builder().method(method).uri(self.url(path));
        let typed = headers.iter().any(|(name, _)| *name == "content-type");
        let untyped = door == Door::Rest && body.is_empty();
        if !(typed || untyped) {
            request = request.header("content-type", door.content_type());
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let client = Client::builder(TokioExecutor::new()).http2_only(door == Door::Grpc).build_http();
        let request = request.body(Full::new(body)).unwrap();
        let (parts, body) = client.request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer");
        let trailers = body.trailers().cloned();
        read(path, parts.status, parts.headers, trailers, &body.to_bytes())
    }
}

/// A request as a message. Its mask is written as in REST, which proto3 JSON would have in camel case.
fn message_of(rpc: &MethodDescriptor, json: &Value) -> DynamicMessage {
    let mut fields = json.as_object().unwrap().clone();
    let mask = fields.remove("update_mask");
    let mut message =
        DynamicMessage::deserialize(rpc.input(), Value::from(fields)).expect("a message of the RPC");
    if let Some(mask) = mask {
        let paths = mask_paths(&mask).map(|path| prost_reflect::Value::String(path.to_owned())).collect();
        let field = rpc.input().get_field_by_name("update_mask").unwrap();
        let mask = message.get_field_mut(&field).as_message_mut().unwrap();
        mask.set_field_by_name("paths", prost_reflect::Value::List(paths));
    }
    message
}

fn mask_paths(mask: &Value) -> impl Iterator<Item = &str> {
    mask.as_str().unwrap().split(',').filter(|path| !path.is_empty())
}

/// An RPC's request over REST: what the path does not hold is the query of a GET, else the body. A PATCH's mask is the
/// keys of its body.
fn rest_request(rpc: &MethodDescriptor, message: &Value) -> (Method, String, Bytes) {
    let (verb, mut path) = binding(rpc);
    let mut fields = message.as_object().unwrap().clone();
    fields.retain(|name, value| {
        let place = format!("{{{name}}}");
        let in_path = path.contains(&place);
        if in_path {
            path = path.replace(&place, &percent(value.as_str().unwrap()));
        }
        !in_path
    });
    if let Some(mask) = fields.remove("update_mask") {
        let paths = mask_paths(&mask);
        fields = paths.map(|path| (path.to_owned(), fields.get(path).cloned().unwrap_or_default())).collect();
    }
    if verb == Method::GET {
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        if !pairs.is_empty() {
            path = format!("{path}?{}", pairs.join("&"));
        }
    }
    let has_body = verb == Method::POST || verb == Method::PATCH;
    let body = if has_body { Value::from(fields).to_string().into() } else { Bytes::new() };
    (verb, path, body)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), percent)
}

/// Percent-encodes all but letters, digits and `-._~`.
pub fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Reads an answer by its content type.
fn read(
    path: &str,
    http: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    body: &[u8],
) -> Answer {
    let content_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    let result = match content_type {
        "application/grpc" | "application/grpc+proto" => {
            let end = trailers.unwrap_or_else(|| headers.clone());
            grpc_result(path, &end, body)
        }
        web if web.starts_with("application/grpc-web") => {
            let decoded = if web.contains("-text") { decode_text(body) } else { body.to_vec() };
            let (message, trailers) = split_web(&decoded);
            grpc_result(path, &trailers.unwrap_or_else(|| headers.clone()), message)
        }
        "application/problem+json" => Err(problem(body)),
        "application/json" => Ok(serde_json::from_slice(body).expect("JSON")),
        "" | "text/html" if body.is_empty() => Ok(Value::Null),
        other => panic!("{path}: {http} {other:?} {}", String::from_utf8_lossy(body)),
    };
    if result.is_err() || !http.is_success() {
        assert_clean(&String::from_utf8_lossy(body));
        for (name, value) in &headers {
            assert_clean(name.as_str());
            assert_clean(&String::from_utf8_lossy(value.as_bytes()));
        }
    }
    Answer { http, headers, result }
}

/// The body may be several pieces of base64, each with its own padding.
fn decode_text(body: &[u8]) -> Vec<u8> {
    let pieces = body.split_inclusive(|byte| *byte == b'=').filter(|piece| *piece != b"=");
    pieces
        .flat_map(|piece| {
            let piece = piece.strip_suffix(b"=").unwrap_or(piece);
            STANDARD_NO_PAD.decode(piece).expect("base64")
        })
        .collect()
}

/// The message frame's bytes, and the trailers of the trailer frame.
fn split_web(mut body: &[u8]) -> (&[u8], Option<HeaderMap>) {
    let (mut message, mut trailers) = (&[][..], None);
    while let [flag, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (content, after) = rest.split_at(length);
        if flag & 0x80 == 0 {
            message = &body[..5 + length];
        } else {
            let lines = std::str::from_utf8(content).unwrap().lines().filter_map(|line| line.split_once(':'));
            let header = |(name, value): (&str, &str)| {
                (name.trim().parse::<HeaderName>().unwrap(), value.trim().parse::<HeaderValue>().unwrap())
            };
            trailers = Some(lines.map(header).collect());
        }
        body = after;
    }
    (message, trailers)
}

fn grpc_result(path: &str, end: &HeaderMap, body: &[u8]) -> Result<Value, Failure> {
    let status = Status::from_header_map(end).unwrap_or_else(|| panic!("{path}: no status in {end:?}"));
    if status.code() == Code::Ok {
        let rpc = rpcs().into_iter().find(|rpc| grpc_path(rpc) == path);
        let Some(rpc) = rpc else { return Ok(Value::Null) };
        let message = DynamicMessage::decode(rpc.output(), &body[5..]).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        return Ok(message.serialize_with_options(serde_json::value::Serializer, &options).unwrap());
    }
    assert_clean(status.message());
    assert_clean(&String::from_utf8_lossy(status.details()));
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{path}: no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "countersign");
    let violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    Err(Failure {
        code: Some(status.code()),
        reason: info.reason.clone(),
        detail: status.message().to_owned(),
        violations: violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
    })
}

/// RFC 9457
fn problem(body: &[u8]) -> Failure {
    let body: Map<String, Value> = serde_json::from_slice(body).expect("a problem");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let violations = body.get("field_violations").and_then(Value::as_array).cloned().unwrap_or_default();
    assert_eq!(body["type"], json!(format!("urn:countersign:error:{}", text(&body["reason"]))));
    Failure {
        code: None,
        reason: text(&body["reason"]),
        detail: text(&body["detail"]),
        violations: violations.iter().map(|v| (text(&v["field"]), text(&v["description"]))).collect(),
        retry_after: body.get("retry_after").map(|s| Duration::from_secs_f64(s.as_f64().unwrap())),
    }
}

/// A text for a caller names no internals and repeats no password (S64).
#[track_caller]
pub fn assert_clean(text: &str) {
    for internal in INTERNALS {
        assert!(!text.to_lowercase().contains(internal), "{internal:?} in {text:?}");
    }
}
