use axum::{
    body::Bytes,
    http::{StatusCode, Version},
    routing::{get, post},
};
use hyper::body::Frame;
use tower::ServiceExt;

use super::*;

const GRPC: &str = "/countersign.v1.AuthService/Login";
const REST: &str = "/api/v1/auth/login";
const ORIGIN: &str = "https://app.example.com";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Handlers that tell how many bytes they were given.
fn app() -> Router {
    let count = || post(async |body: Bytes| body.len().to_string());
    let app = Router::new()
        .route(GRPC, count())
        .route(REST, count().get(async || "got").delete(async || "deleted"))
        .route("/openapi.json", get(async || "{}"))
        .route("/api/panic", get(async || -> String { panic!("oh") }))
        .route("/api/never", get(std::future::pending::<String>))
        .route("/a.B/Panic", post(async || -> String { panic!("oh") }))
        .route("/a.B/Never", post(std::future::pending::<String>));
    guard(app, &[ORIGIN.to_owned()], &Limits::default(), Metrics::of_no_rpc())
}

fn ask(method: &str, path: &str, headers: Headers<'_>, body: impl Into<Body>) -> Request {
    let mut request = Request::builder().method(method).uri(path).version(Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

async fn send(request: Request) -> Response {
    app().oneshot(request).await.unwrap()
}

async fn reason(response: Response) -> String {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()["reason"].as_str().unwrap().to_owned()
}

fn grpc_reason(response: &Response) -> Reason {
    assert_eq!(response.status(), StatusCode::OK);
    Problem::from_status(&Status::from_header_map(response.headers()).unwrap()).reason
}

/// A body of so many KiB whose length is not told in advance.
struct Unsized(usize);

impl HttpBody for Unsized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1024])))))
    }
}

fn unsized_body(kib: usize) -> Body {
    Body::new(Unsized(kib))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_served_content_types_reach_a_handler() {
    // S52
    let cases: [(&str, &str, Headers<'_>, &str, u16); 18] = [
        ("POST", REST, &[("content-type", "application/json")], "{}", 200),
        ("POST", REST, &[("content-type", "Application/JSON; charset=utf-8")], "{}", 200),
        ("POST", REST, &[("content-type", "text/plain")], "{}", 415),
        ("POST", REST, &[("content-type", "text/plain")], "", 200),
        ("POST", REST, &[("content-type", "application/json-patch+json")], "{}", 415),
        ("POST", REST, &[("content-type", "application/json"), ("content-encoding", "gzip")], "{}", 415),
        ("POST", REST, &[("content-type", "application/grpc")], "{}", 415),
        ("POST", REST, &[], "{}", 415),
        ("POST", REST, &[], "", 200),
        ("DELETE", REST, &[], "", 200),
        ("GET", REST, &[("content-type", "application/x-www-form-urlencoded")], "", 200),
        ("GET", REST, &[("content-type", "text/plain")], "x", 415),
        ("POST", GRPC, &[("content-type", "application/grpc")], "12345", 200),
        ("POST", GRPC, &[("content-type", "application/grpc-web-text")], "12345", 200),
        ("POST", GRPC, &[("content-type", "text/plain")], "12345", 415),
        ("POST", GRPC, &[("content-type", "application/json")], "12345", 415),
        ("POST", GRPC, &[], "", 415),
        ("PUT", GRPC, &[("content-type", "text/plain")], "12345", 405),
    ];
    for (method, path, headers, body, status) in cases {
        let response = send(ask(method, path, headers, body.to_owned())).await;
        assert_eq!(response.status(), status, "{method} {path} {headers:?} {body}");
        match status {
            415 => assert_eq!(reason(response).await, "UNSUPPORTED_MEDIA_TYPE"),
            405 => assert_eq!(reason(response).await, "METHOD_NOT_ALLOWED"),
            _ => {}
        }
    }
    let unnamed = send(ask("POST", REST, &[], unsized_body(1))).await;
    assert_eq!(reason(unnamed).await, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(send(ask("POST", REST, &[], unsized_body(0))).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_a_longest_size() {
    // S60
    let json = [("content-type", "application/json")];
    assert_eq!(send(ask("POST", REST, &json, vec![b' '; 64 * 1024])).await.status(), 200);
    assert_eq!(send(ask("POST", REST, &json, unsized_body(64))).await.status(), 200);
    for body in [Body::from(vec![b' '; 64 * 1024 + 1]), unsized_body(65)] {
        let response = send(ask("POST", REST, &json, body)).await;
        assert_eq!(response.status(), 413);
        assert_eq!(reason(response).await, "TOO_LARGE");
    }
    for (kind, longest) in [("application/grpc-web+proto", 65541), ("application/grpc-web-text", 87388)] {
        let send = |bytes: usize| send(ask("POST", GRPC, &[("content-type", kind)], vec![0; bytes]));
        assert!(send(longest).await.headers().get("grpc-status").is_none());
        let refused = send(longest + 1).await;
        assert_eq!(grpc_reason(&refused), Reason::TooLarge);
        assert_eq!(refused.headers()["content-type"], kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_may_shorten_the_deadline() {
    // S60
    let response = send(ask("GET", "/api/never", &[("grpc-timeout", "1m")], "")).await;
    assert_eq!(response.status(), 504);
    assert_eq!(reason(response).await, "DEADLINE_EXCEEDED");
    let grpc = |timeout| {
        let headers = [("content-type", "application/grpc"), ("grpc-timeout", timeout)];
        send(ask("POST", "/a.B/Never", &headers, ""))
    };
    assert_eq!(grpc_reason(&grpc("1000u").await), Reason::DeadlineExceeded);
    for malformed in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789m", "1 S", "1é"] {
        assert_eq!(grpc_reason(&grpc(malformed).await), Reason::InvalidField, "{malformed:?}");
    }
    let limits = Limits { request_timeout: Duration::from_millis(1), ..Limits::default() };
    let app = guard(
        Router::new().route("/", get(std::future::pending::<String>)),
        &[],
        &limits,
        Metrics::of_no_rpc(),
    );
    let response = app.oneshot(ask("GET", "/", &[("grpc-timeout", "99999999H")], "")).await.unwrap();
    assert_eq!(response.status(), 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_internal_error_without_its_text() {
    // S64
    let rest = send(ask("GET", "/api/panic", &[], "")).await;
    assert_eq!(rest.status(), 500);
    assert_eq!(rest.headers()["cache-control"], "no-store");
    assert_eq!(reason(rest).await, "INTERNAL");
    let grpc = send(ask("POST", "/a.B/Panic", &[("content-type", "application/grpc-web")], "")).await;
    assert_eq!(grpc_reason(&grpc), Reason::Internal);
    assert!(!format!("{grpc:?}").contains("oh"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_neither_sniffed_nor_stored() {
    // S55
    for (path, status, stored) in
        [(REST, 200, false), ("/api/nothing", 404, false), ("/openapi.json", 200, true)]
    {
        let response = send(ask("GET", path, &[], "")).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers().get("cache-control").is_none(), stored, "{path}");
    }
    let grpc = send(ask("POST", GRPC, &[("content-type", "application/grpc")], "")).await;
    assert_eq!(grpc.headers()["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_origins_are_told_that_they_may() {
    // S53
    let preflight = |origin, path| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,x-grpc-web"),
        ];
        send(ask("OPTIONS", path, &headers, ""))
    };
    for path in [REST, GRPC] {
        let listed = preflight(ORIGIN, path).await;
        assert_eq!(listed.status(), 200);
        assert_eq!(listed.headers()["access-control-allow-origin"], ORIGIN);
        assert_eq!(listed.headers()["access-control-allow-methods"], "GET,POST,PATCH,DELETE");
        assert_eq!(listed.headers()["access-control-max-age"], "7200");
        assert_eq!(listed.headers()["x-content-type-options"], "nosniff");
        assert!(!listed.headers().contains_key("access-control-allow-credentials"));
        let body = listed.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty(), "a preflight reaches no handler");
    }
    for unlisted in ["https://app.example.com.evil.com", "http://app.example.com", "null", "*"] {
        let response = preflight(unlisted, REST).await;
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{unlisted}");
    }
    let refused = send(ask("POST", REST, &[("origin", ORIGIN), ("content-type", "text/plain")], "{}")).await;
    assert_eq!(refused.status(), 415);
    assert_eq!(refused.headers()["access-control-allow-origin"], ORIGIN, "a page may read a refusal");
    let closed =
        guard(Router::new().route("/", get(async || "")), &[], &Limits::default(), Metrics::of_no_rpc());
    let response = closed.oneshot(ask("GET", "/", &[("origin", ORIGIN)], "")).await.unwrap();
    let cors = |name: &&HeaderName| name.as_str().starts_with("access-control-");
    assert_eq!(response.headers().keys().find(cors), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn tonics_own_errors_are_put_in_our_words() {
    // S64
    let status = |status: Status| post(async move || status.into_http::<Body>());
    let ours = Status::from(Problem::new(Reason::NotFound, "no such key"));
    let grpc = Router::new()
        .route("/ours", status(ours))
        .route("/long", status(Status::out_of_range("found 70000 bytes, the limit is: 65536 bytes")))
        .route("/fine", status(Status::ok("")));
    let app = canonical_errors(grpc);
    let call = async |path| {
        let response = app.clone().oneshot(ask("POST", path, &[], "")).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    };
    assert_eq!(call("/ours").await.message(), "no such key");
    assert_eq!(call("/fine").await.code(), Code::Ok);
    let long = call("/long").await;
    assert_eq!(long.code(), Code::ResourceExhausted);
    assert_eq!(Problem::from_status(&long).reason, Reason::TooLarge);
    assert!(!long.message().contains("70000"));
}
