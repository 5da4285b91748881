//! HTTP itself: paths, methods, headers, and requests that are none.

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;

use super::{Besieged, LOGIN, LOGIN_REST};
use crate::{
    common::Kind,
    wire::{CANARY, Door, assert_clean, percent},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_path_or_a_method_that_is_not_there_is_said_so() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    let authorization = besieged.authorization();
    let headers = [("authorization", authorization.as_str())];
    for path in [
        "/",
        "/api",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v1/keys/",
        "/api/v1//keys",
        "/API/v1/keys",
        "/api/v2/keys",
        "/api/v1/keys/%FF",
        "/api/v1/keys/%zz",
        "/api/v1/keys/%",
        "/api/v1/keys/%00",
        "/api/v1/keys/a%2Fb",
        "/api/v1/keys/..%2f..%2fetc",
        "/api/v1/keys/key_1/rotate/x",
        "/favicon.ico",
        "/countersign.v1.AuthService/",
        "/.env",
        "/%2e%2e/%2e%2e/etc/passwd",
        &format!("/{}", percent("é").repeat(1000)),
        &format!("/api/v1/keys/{}", "k".repeat(8000)),
    ] {
        let answer = besieged.server.exchange(Door::Rest, Method::GET, path, &headers, "").await;
        answer.expect("NOT_FOUND", &path[..path.len().min(60)]);
    }
    for (path, allowed) in [
        ("/api/v1/auth/login", "POST"),
        ("/api/v1/users/me", "GET,HEAD,PATCH"),
        ("/api/v1/keys", "GET,HEAD,POST"),
        ("/api/v1/keys/key_1", "GET,HEAD,PATCH,DELETE"),
        ("/api/v1/users/me/sessions/ses_1", "DELETE"),
        ("/openapi.json", "GET,HEAD"),
        ("/.well-known/jwks.json", "GET,HEAD"),
        (LOGIN, "POST"),
    ] {
        let verbs = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"];
        for verb in verbs.into_iter().filter(|verb| !allowed.split(',').any(|other| other == *verb)) {
            let method: Method = verb.parse().unwrap();
            let answer = besieged.raw_answer(&method, path).await;
            assert!(answer.starts_with("HTTP/1.1 405"), "{verb} {path}: {answer}");
            let allow = answer
                .lines()
                .find_map(|line| line.strip_prefix("allow: "))
                .unwrap_or_else(|| panic!("{verb} {path}: no Allow: {answer}"));
            let mut allow: Vec<_> = allow.split(',').map(str::trim).collect();
            let mut expected: Vec<_> = allowed.split(',').collect();
            allow.sort_unstable();
            expected.sort_unstable();
            assert_eq!(allow, expected, "{verb} {path}");
            assert!(verb == "HEAD" || answer.contains("METHOD_NOT_ALLOWED"), "{verb} {path}: {answer}");
        }
    }
    besieged.assert_well().await;
}

impl Besieged {
    /// A request without a body, and the whole answer as text.
    async fn raw_answer(&self, method: &Method, path: &str) -> String {
        self.raw(format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
    }

    /// Sends any bytes and reads until the server closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.server.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end, too.
        let _ = socket.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_clean(&answer);
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_answered_like_a_get_without_its_body() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    for (path, status) in [("/openapi.json", "200"), ("/api/v1/users/me", "401"), ("/nothing", "404")] {
        let answer = besieged.raw_answer(&Method::HEAD, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{path}: {answer}");
    }
    let answer = besieged.raw_answer(&Method::OPTIONS, LOGIN_REST).await;
    assert!(!answer.contains("access-control"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_http_is_refused_in_few_words() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    let post = |headers: &str| format!("POST {LOGIN_REST} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n");
    let json = "content-type: application/json\r\n";
    let long = format!("GET /openapi.json HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(17 * 1024));
    let many = format!("GET /openapi.json HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(2000));
    for (what, bytes, statuses) in [
        ("nonsense", "nonsense\r\n\r\n".to_owned(), &["400"][..]),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n".to_owned(), &["400"]),
        ("17 KiB of headers", long, &["431"]),
        ("2000 headers", many, &["431"]),
        ("a length that is no number", post(&format!("{json}content-length: x")), &["400"]),
        ("a negative length", post(&format!("{json}content-length: -1")), &["400"]),
        ("two lengths", post(&format!("{json}content-length: 1\r\ncontent-length: 2")), &["400"]),
        (
            "a chunk of no size",
            format!("{}zz\r\n\r\n", post(&format!("{json}transfer-encoding: chunked"))),
            &["400"],
        ),
        ("an unknown transfer encoding", post(&format!("{json}transfer-encoding: gzip")), &["400"]),
        ("a NUL in a header", post("x-a: \0"), &["400"]),
        ("another version", "GET / HTTP/3.0\r\n\r\n".to_owned(), &["400"]),
    ] {
        let answer = besieged.raw(bytes.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{what}: {answer:?}");
    }
    for door in [Door::Grpc, Door::Rest] {
        let long = "x".repeat(17 * 1024);
        let answer = besieged.server.exchange(door, Method::POST, LOGIN, &[("x-long", &long)], "").await;
        assert_eq!(answer.http, 431, "{door:?}");
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_does_nothing() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    let body = json!({"email": "late@example.com", "password": CANARY}).to_string();
    let head = format!(
        "POST /api/v1/auth/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len() + 1
    );
    for _ in 0..20 {
        let mut socket = TcpStream::connect(besieged.server.address).await.unwrap();
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        drop(socket);
    }
    let refused = besieged.server.login("late@example.com", CANARY).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    besieged.assert_well().await;
}
