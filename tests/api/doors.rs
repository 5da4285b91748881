//! What the doors have beside the RPCs: health, reflection, CORS, headers, content types, and the limits from outside.

use countersign::api::pb;
use http::{HeaderMap, Method};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    common::Kind,
    support::{EMAIL, PASSWORD, Server, Setup, expect_status},
    wire::{Answer, DOORS, Door, GRPC_DOORS, frame},
};

const LOGIN: &str = "/countersign.v1.AuthService/Login";
const LOGIN_REST: &str = "/api/v1/auth/login";
const ORIGIN: &str = "https://app.example.com";

fn sign_in() -> Value {
    json!({"email": EMAIL, "password": PASSWORD})
}

fn cors(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_of_the_whole_and_of_each_service() {
    let server = Server::start(Kind::Sqlite).await;
    let mut health = HealthClient::new(server.channel());
    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "countersign.v1.AuthService", "countersign.v1.KeyService"] {
        // It is ready once the database was asked, and known by name even before.
        loop {
            let answer = health.check(check(service)).await;
            match answer.unwrap_or_else(|status| panic!("{service:?}: {status}")).into_inner().status() {
                ServingStatus::NotServing => tokio::task::yield_now().await,
                status => break assert_eq!(status, ServingStatus::Serving, "{service:?}"),
            }
        }
    }
    assert_eq!(health.check(check("no.such.Service")).await.unwrap_err().code(), Code::NotFound);
    // A name is short (S60).
    let long = health.check(check(&"x".repeat(2000))).await;
    expect_status(long, Code::ResourceExhausted, "TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_health_hears_of_the_end() {
    // The watch does not hold the exit up: the test would run into its own end.
    let server = Setup::new(Kind::Sqlite).await.set("SERVER__DRAIN_TIMEOUT", "1h").start().await;
    let mut watches = Vec::new();
    for service in ["", "countersign.v1.AuthService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watch = HealthClient::new(server.channel()).watch(request).await.unwrap().into_inner();
        while watch.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
        watches.push(watch);
    }
    let stopped = tokio::spawn(server.stop());
    for mut watch in watches {
        // Without a `server.drain_delay` the end may overtake the news.
        let end = loop {
            match watch.message().await {
                Ok(message) => assert_eq!(message.unwrap().status(), ServingStatus::NotServing),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), Code::Unavailable);
    }
    stopped.await.unwrap();
}

/// The same test of both versions of reflection, whose messages differ in nothing but their package.
macro_rules! reflection {
    ($name:ident, $version:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };

            async fn ask(server: &Server, ask: MessageRequest) -> Result<MessageResponse, tonic::Status> {
                let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
                let stream = futures_util::stream::iter([request]);
                let mut client = ServerReflectionClient::new(server.channel());
                let mut answers = client.server_reflection_info(stream).await?.into_inner();
                Ok(answers.message().await?.unwrap().message_response.unwrap())
            }

            let server = Server::start(Kind::Sqlite).await;
            let listed = match ask(&server, MessageRequest::ListServices(String::new())).await.unwrap() {
                MessageResponse::ListServicesResponse(list) => list.service,
                other => panic!("{other:?}"),
            };
            let names: Vec<_> = listed.into_iter().map(|service| service.name).collect();
            for service in
                ["countersign.v1.AuthService", "countersign.v1.KeyService", "grpc.health.v1.Health"]
            {
                assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
                let symbol = MessageRequest::FileContainingSymbol(service.to_owned());
                let MessageResponse::FileDescriptorResponse(files) = ask(&server, symbol).await.unwrap()
                else {
                    panic!("no file for {service}")
                };
                let files = files
                    .file_descriptor_proto
                    .iter()
                    .map(|file| prost_types::FileDescriptorProto::decode(file.as_slice()).unwrap());
                let (package, short) = service.rsplit_once('.').unwrap();
                let holds = |file: prost_types::FileDescriptorProto| {
                    file.package() == package && file.service.iter().any(|service| service.name() == short)
                };
                assert!(files.into_iter().any(holds), "{service}");
            }
            let symbol = MessageRequest::FileContainingSymbol("no.Such".to_owned());
            assert!(ask(&server, symbol).await.is_err_and(|status| status.code() == Code::NotFound));

            let silent = Setup::new(Kind::Sqlite).await.set("SERVER__REFLECTION", "false").start().await;
            let refused = ask(&silent, MessageRequest::ListServices(String::new())).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented);
        }
    };
}

reflection!(reflection_v1_lists_the_services_and_their_files_unless_it_is_off, v1);
reflection!(reflection_v1alpha_lists_the_services_and_their_files_unless_it_is_off, v1alpha);

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_may_call_and_read_errors() {
    // S53
    let server = Setup::new(Kind::Sqlite).await.set("SERVER__CORS_ORIGINS", ORIGIN).start().await;
    for path in [LOGIN, LOGIN_REST] {
        let asked = |origin| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type,x-grpc-web,authorization"),
            ];
            let server = &server;
            async move { server.exchange(Door::Rest, Method::OPTIONS, path, &headers, "").await }
        };
        let listed = asked(ORIGIN).await;
        assert_eq!(
            (listed.http.as_u16(), &listed.headers["access-control-allow-origin"]),
            (200, &ORIGIN.parse().unwrap())
        );
        for origin in
            ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
        {
            assert!(!asked(origin).await.headers.contains_key("access-control-allow-origin"), "{origin}");
        }
    }
    for door in [Door::Web, Door::WebText] {
        // An error of a handler, and one of a layer before it.
        for headers in [vec![("origin", ORIGIN)], vec![("origin", ORIGIN), ("grpc-timeout", "soon")]] {
            let answer = server.call(door, "Login", &headers, &sign_in()).await;
            assert!(answer.result.is_err());
            assert_eq!(answer.headers["access-control-allow-origin"], ORIGIN);
            let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
            for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
                assert!(
                    exposed.split(',').any(|exposed| exposed.trim() == name),
                    "{name} is not in {exposed}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configuration_no_page_may_call() {
    // S53
    let server = Server::start(Kind::Sqlite).await;
    let headers = [("origin", ORIGIN), ("access-control-request-method", "POST")];
    for path in [LOGIN, LOGIN_REST] {
        let preflight = server.exchange(Door::Rest, Method::OPTIONS, path, &headers, "").await;
        assert_eq!((preflight.http.as_u16(), cors(&preflight.headers)), (405, vec![]));
    }
    for door in DOORS {
        let answer = server.call(door, "Login", &headers[..1], &sign_in()).await;
        assert_eq!(cors(&answer.headers), Vec::<&str>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_neither_sniffed_nor_stored() {
    // S55
    let server = Server::start(Kind::Sqlite).await;
    server.register().await;
    let assert_private = |answer: &Answer, what: &str| {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{what}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
    };
    for door in DOORS {
        let answer = server.call(door, "Login", &[], &sign_in()).await;
        assert!(answer.result.is_ok());
        assert_private(&answer, "tokens");
        assert_private(&server.call(door, "Login", &[], &json!({})).await, "an error");
        assert_private(&server.call(door, "GetMe", &[], &json!({})).await, "no credential");
    }
    for (method, path) in [(Method::GET, "/nothing"), (Method::PUT, LOGIN_REST), (Method::GET, LOGIN)] {
        let answer = server.exchange(Door::Rest, method, path, &[], "").await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_served_and_may_be_kept() {
    let server = Server::start(Kind::Sqlite).await;
    let answer = server.exchange(Door::Rest, Method::GET, "/openapi.json", &[], "").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_ne!(answer.headers.get("cache-control").map(http::HeaderValue::as_bytes), Some(&b"no-store"[..]));
    let checked_in: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    assert_eq!(answer.result.unwrap(), checked_in);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_type_is_read_in_any_case_and_with_parameters() {
    // S52
    let server = Server::start(Kind::Sqlite).await;
    server.register().await;
    let message = pb::LoginRequest { email: EMAIL.to_owned(), password: PASSWORD.to_owned() }.encode_to_vec();
    for content_type in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "APPLICATION/JSON ; x=y",
    ] {
        let body = sign_in().to_string();
        let headers = [("content-type", content_type)];
        let answer = server.exchange(Door::Rest, Method::POST, LOGIN_REST, &headers, body).await;
        assert!(answer.result.is_ok(), "{content_type}: {answer:?}");
    }
    for (door, content_type) in [
        (Door::Grpc, "application/grpc"),
        (Door::Grpc, "application/grpc+proto"),
        (Door::Grpc, "Application/GRPC; x=y"),
        (Door::Web, "application/grpc-web"),
        (Door::Web, "application/grpc-web+proto"),
        (Door::Web, "APPLICATION/grpc-Web+Proto;charset=utf-8"),
        (Door::WebText, "application/grpc-web-text"),
        (Door::WebText, "application/grpc-web-text+proto"),
        (Door::WebText, "Application/Grpc-Web-Text; charset=utf-8"),
    ] {
        let headers = [("content-type", content_type)];
        let answer = server.frames(door, LOGIN, &headers, frame(&message)).await;
        assert!(answer.result.is_ok(), "{content_type}: {answer:?}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/grpc"));
    }
    // gRPC-web and REST go over HTTP/2 as well.
    let headers = [("content-type", "application/json")];
    let body = sign_in().to_string();
    let answer = server.exchange(Door::Grpc, Method::POST, LOGIN_REST, &headers, body).await;
    assert!(answer.result.is_ok(), "{answer:?}");
    let headers = [("content-type", "application/grpc-web+proto")];
    assert!(server.frames(Door::Grpc, LOGIN, &headers, frame(&message)).await.result.is_ok());
    // Some clients name a type with every GET.
    let headers = [("content-type", "text/html")];
    let answer =
        server.exchange(Door::Rest, Method::GET, "/api/v1/auth/verification-keys", &headers, "").await;
    assert!(answer.result.is_ok(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_needs_no_body_and_no_content_type() {
    let server = Server::start(Kind::Sqlite).await;
    server.register().await;
    for length in ["", "content-length: 0\r\n"] {
        let token = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        let request = format!(
            "POST /api/v1/auth/logout HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{length}connection: close\r\n\r\n"
        );
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n{}"), "{answer}");
        assert_eq!(server.validate(&token).await.status().as_str_name(), "CREDENTIAL_STATUS_REVOKED");
    }
}

/// The newest session, as its user sees it, after a sign-in with these headers.
async fn session_after(server: &Server, door: Door, headers: &[(&str, &str)]) -> Value {
    // The newest comes first; within a millisecond chance decides.
    server.advance(1);
    let tokens = server.call(door, "Login", headers, &sign_in()).await.result.unwrap();
    let authorization = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let answer = server.call(door, "ListSessions", &[("authorization", &authorization)], &json!({})).await;
    let session = answer.result.unwrap()["sessions"][0].clone();
    assert_eq!(session["current"], true);
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
    // S12
    let trusting = Setup::new(Kind::Sqlite).await.set("SERVER__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8");
    let wary = Setup::new(Kind::Sqlite).await.set("SERVER__TRUSTED_PROXIES", "10.0.0.0/8");
    let (trusting, wary) = (trusting.start().await, wary.start().await);
    trusting.register().await;
    wary.register().await;
    for door in DOORS {
        for (forwarded, seen) in [
            ("203.0.113.7", "203.0.113.7"),
            ("6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("not an address", "127.0.0.1"),
        ] {
            let headers = [("x-forwarded-for", forwarded)];
            assert_eq!(
                session_after(&trusting, door, &headers).await["ip_address"],
                seen,
                "{door:?} {forwarded}"
            );
            assert_eq!(session_after(&wary, door, &headers).await["ip_address"], "127.0.0.1", "{door:?}");
        }
        let other = [("forwarded", "for=203.0.113.7"), ("x-real-ip", "203.0.113.7")];
        assert_eq!(session_after(&trusting, door, &other).await["ip_address"], "127.0.0.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_remembers_the_user_agent() {
    let server = Server::start(Kind::Sqlite).await;
    server.register().await;
    let long = "é".repeat(600);
    for door in DOORS {
        for (headers, seen) in [
            (vec![("user-agent", "Browser/1")], "Browser/1"),
            // A browser's gRPC-web client cannot set the other.
            (vec![("user-agent", "Browser/1"), ("x-user-agent", "connect-es/2")], "connect-es/2"),
            (vec![], ""),
        ] {
            assert_eq!(
                session_after(&server, door, &headers).await["user_agent"],
                seen,
                "{door:?} {headers:?}"
            );
        }
        let ascii = "a".repeat(600);
        let session = session_after(&server, door, &[("user-agent", &ascii)]).await;
        assert_eq!(session["user_agent"].as_str().unwrap(), &ascii[..512]);
        // Not ASCII: whatever is kept, the sign-in holds.
        session_after(&server, door, &[("user-agent", &long)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_have_64_kib_and_not_a_byte_more() {
    // S60
    const MOST: usize = 64 * 1024;
    let server = Server::start(Kind::Sqlite).await;
    let path = "/countersign.v1.AuthService/Refresh";
    for (excess, reason) in [(0, "REFRESH_TOKEN_INVALID"), (1, "TOO_LARGE")] {
        for door in GRPC_DOORS {
            // The tag takes one byte and the length three.
            let message = pb::RefreshRequest { refresh_token: "x".repeat(MOST - 4 + excess) }.encode_to_vec();
            assert_eq!(message.len(), MOST + excess);
            server.frames(door, path, &[], frame(&message)).await.expect(reason, &format!("{door:?}"));
        }
        let around = r#"{"refresh_token":""}"#.len();
        let body = json!({"refresh_token": "x".repeat(MOST - around + excess)}).to_string();
        let answer = server.exchange(Door::Rest, Method::POST, "/api/v1/auth/refresh", &[], body).await;
        answer.expect(reason, "REST");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_128_streams_and_refuses_the_next() {
    // S60
    let server = Server::start(Kind::Sqlite).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(b"\0\0\0\x04\0\0\0\0\0");
    // POST http://x/…/Login, of HPACK's static table and literals. The body never comes.
    let mut block = b"\x83\x86\x01\x01x\x04\x22".to_vec();
    block.extend(LOGIN.as_bytes());
    block.extend(b"\x0f\x10\x10application/grpc");
    block[6] = u8::try_from(LOGIN.len()).unwrap();
    for number in 0..129_u32 {
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 4]);
        bytes.extend((2 * number + 1).to_be_bytes());
        bytes.extend(&block);
    }
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(&bytes).await.unwrap();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        socket.read_exact(&mut payload).await.unwrap();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match head[3] {
            4 if head[4] == 0 => {
                let most_streams = [0, 3, 0, 0, 0, 128];
                assert!(payload.chunks(6).any(|setting| setting == most_streams), "{payload:?}");
            }
            // REFUSED_STREAM for the 129th.
            3 => break assert_eq!((stream, payload.as_slice()), (257, &[0, 0, 0, 7][..])),
            7 => panic!("GOAWAY {payload:?}"),
            _ => {}
        }
    }
}
