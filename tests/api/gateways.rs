//! The question of gateways, "may this request pass, and who sent it?": Envoy's `ext_authz`, and `GET /api/v1/auth/check` for
//! those that ask over HTTP. Real gateways are in `tests/clients/test_gateways.py`.

use std::collections::BTreeMap;

use bytes::Bytes;
use countersign::{
    api::pb::{
        self,
        envoy::{
            config::core::v3::{HeaderMap, HeaderValue, header_value_option::HeaderAppendAction},
            service::auth::v3::{
                AttributeContext, CheckRequest, DeniedHttpResponse, OkHttpResponse,
                attribute_context::{HttpRequest, Request as Asked},
                authorization_client::AuthorizationClient,
                check_response::HttpResponse,
            },
        },
    },
    domain::Administrator,
};
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tonic::Code;

use crate::{
    common::Kind,
    on_both,
    support::{Server, Setup, bearer},
};

const SCOPES: &str = "jobs:read jobs:write";

/// The five that an upstream believes.
const IDENTITY: [&str; 5] =
    ["x-auth-user-id", "x-auth-session-id", "x-auth-key-id", "x-auth-scopes", "x-auth-principal-type"];

async fn start(kind: Kind) -> Server {
    Setup::new(kind).await.set("ACCOUNTS__DEFAULT_SCOPES", "jobs:read,jobs:write").start().await
}

/// What a gateway is told, whichever way it asked.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// With these identity headers, and no others.
    Allowed(BTreeMap<String, String>),
    /// With this status, reason, and seconds to wait.
    Denied(u16, String, Option<u64>),
}

fn denied(status: u16, reason: &str) -> Verdict {
    Verdict::Denied(status, reason.to_owned(), None)
}

fn allowed(headers: &[(&str, &str)]) -> Verdict {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Verdict::Allowed(headers.iter().map(owned).collect())
}

/// The message that Envoy sends of a request with these headers, for a route with these context extensions.
fn question(headers: &[(&str, &str)], extensions: &[(&str, &str)]) -> CheckRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    ask_with(HttpRequest { headers: headers.collect(), header_map: None }, extensions)
}

fn ask_with(http: HttpRequest, extensions: &[(&str, &str)]) -> CheckRequest {
    let extensions = extensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let attributes = AttributeContext {
        request: Some(Asked { http: Some(http) }),
        context_extensions: extensions.collect(),
    };
    CheckRequest { attributes: Some(attributes) }
}

/// By gRPC, as Envoy does; on the way, what is promised of every answer is made sure of.
async fn by_envoy(server: &Server, question: CheckRequest) -> Verdict {
    let answer = AuthorizationClient::new(server.channel()).check(question).await.unwrap().into_inner();
    let code = Code::from(answer.status.unwrap().code);
    match answer.http_response.unwrap() {
        HttpResponse::OkResponse(OkHttpResponse { headers, headers_to_remove }) => {
            assert_eq!(code, Code::Ok);
            let mut told = BTreeMap::new();
            for option in headers {
                assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
                let header = option.header.unwrap();
                told.insert(header.key, header.value);
            }
            // S12: whatever the client sent, each of them is either replaced or removed.
            let mut all: Vec<_> = told.keys().chain(&headers_to_remove).map(String::as_str).collect();
            all.sort_unstable();
            let mut identity = IDENTITY;
            identity.sort_unstable();
            assert_eq!(all, identity);
            Verdict::Allowed(told)
        }
        HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body }) => {
            assert_ne!(code, Code::Ok);
            let mut response = Response::builder().status(u16::try_from(status.unwrap().code).unwrap());
            for option in headers {
                let header = option.header.unwrap();
                response = response.header(header.key, header.value);
            }
            refusal(&response.body(body.into()).unwrap())
        }
    }
}

/// By HTTP, as nginx, Traefik and Caddy do.
async fn by_http(server: &Server, headers: &[(&str, &str)], query: &str) -> Verdict {
    let response = check(server, Method::GET, headers, query).await;
    let head = check(server, Method::HEAD, headers, query).await;
    let verdict = verdict(&response);
    // A use that is counted is another question each time.
    if !matches!(verdict, Verdict::Allowed(_)) || head.status() == response.status() {
        assert_eq!(head.status(), response.status());
        assert_eq!(head.headers().get("x-auth-user-id"), response.headers().get("x-auth-user-id"));
        assert!(head.body().is_empty());
    }
    verdict
}

async fn check(server: &Server, method: Method, headers: &[(&str, &str)], query: &str) -> Response<Bytes> {
    let mut request =
        Request::builder().method(method).uri(server.url(&format!("/api/v1/auth/check{query}")));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.send(request.body(Bytes::new().into()).unwrap()).await
}

fn verdict(response: &Response<Bytes>) -> Verdict {
    if response.status() != StatusCode::NO_CONTENT {
        return refusal(response);
    }
    let value = |name: &str| {
        // All are there, so that a gateway that copies what is there replaces what the client sent.
        let values: Vec<_> = response.headers().get_all(name).iter().collect();
        let [value] = values[..] else { panic!("{name}: {response:?}") };
        (name.to_owned(), value.to_str().unwrap().to_owned())
    };
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.body().is_empty());
    Verdict::Allowed(IDENTITY.into_iter().map(value).filter(|(_, value)| !value.is_empty()).collect())
}

fn refusal(response: &Response<Bytes>) -> Verdict {
    let (status, headers) = (response.status().as_u16(), response.headers());
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers.contains_key("www-authenticate"), status == 401);
    assert!(IDENTITY.iter().all(|name| !headers.contains_key(*name)));
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    assert_eq!(body["status"], status, "{response:?}");
    let retry_after = headers.get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    Verdict::Denied(status, body["reason"].as_str().unwrap().to_owned(), retry_after)
}

/// Both ways, which must agree.
async fn ask(server: &Server, headers: &[(&str, &str)], scopes: &str) -> Verdict {
    // A route that requires none says nothing of them.
    let given = usize::from(!scopes.is_empty());
    let by_envoy = by_envoy(server, question(headers, &[("scopes", scopes)][..given])).await;
    let query =
        if scopes.is_empty() { String::new() } else { format!("?scope={}", scopes.replace(' ', "+")) };
    let by_http = by_http(server, headers, &query).await;
    assert_eq!(by_envoy, by_http);
    by_http
}

on_both! {
async fn whoever_holds_a_valid_credential_passes_and_the_upstream_learns_who(kind: Kind) {
    let server = start(kind).await;
    let token = server.register().await;
    let user = &token.user.as_ref().unwrap().id;
    let session = server.validate(&token.access_token).await.principal.unwrap().session_id;
    let by_token = allowed(&[
        ("x-auth-user-id", user),
        ("x-auth-session-id", &session),
        ("x-auth-scopes", SCOPES),
        ("x-auth-principal-type", "user"),
    ]);
    let bearer_token = format!("Bearer {}", token.access_token);
    for scopes in ["", "jobs:read", "jobs:write jobs:read"] {
        assert_eq!(ask(&server, &[("authorization", &bearer_token)], scopes).await, by_token);
    }

    let key = server.create_key(&token.access_token, &["jobs:read"]).await;
    let by_key = allowed(&[
        ("x-auth-user-id", user),
        ("x-auth-key-id", &key.key.unwrap().id),
        ("x-auth-scopes", "jobs:read"),
        ("x-auth-principal-type", "api_key"),
    ]);
    let bearer_key = format!("bearer {}", key.secret);
    for header in [("x-api-key", key.secret.as_str()), ("authorization", &bearer_key)] {
        assert_eq!(ask(&server, &[header], "jobs:read").await, by_key);
    }

    // No scopes are no header: an empty one is dropped by some and kept by others.
    let bare = server.create_key(&token.access_token, &[]).await;
    let Verdict::Allowed(told) = ask(&server, &[("x-api-key", &bare.secret)], "").await else { panic!() };
    assert!(!told.contains_key("x-auth-scopes"));
}
}

on_both! {
async fn whoever_does_not_is_told_why(kind: Kind) {
    let server = start(kind).await;
    let token = server.register().await.access_token;
    let bearer_token = format!("Bearer {token}");
    assert_eq!(ask(&server, &[], "").await, denied(401, "MISSING_CREDENTIAL"));
    for header in [
        ("authorization", "Bearer nonsense"),
        ("authorization", "Basic dTpw"),
        ("x-api-key", "ak_nonsense"),
        ("x-api-key", token.as_str()),
    ] {
        assert_eq!(ask(&server, &[header], "").await, denied(401, "INVALID_CREDENTIAL"), "{header:?}");
    }
    let key = server.create_key(&token, &["jobs:read"]).await;
    let key_header = [("x-api-key", key.secret.as_str())];
    let both = [key_header[0], ("authorization", &bearer_token)];
    assert_eq!(ask(&server, &both, "").await, denied(400, "INVALID_FIELD"));
    assert_eq!(ask(&server, &key_header, SCOPES).await, denied(403, "INSUFFICIENT_SCOPE"));

    server.revoke_key(&token, &key.key.unwrap().id).await.unwrap();
    assert_eq!(ask(&server, &key_header, "").await, denied(401, "CREDENTIAL_REVOKED"));
    let other = server.login(crate::support::EMAIL, crate::support::PASSWORD).await.unwrap().access_token;
    server.logout(&token).await.unwrap();
    let header = [("authorization", bearer_token.as_str())];
    assert_eq!(ask(&server, &header, "").await, denied(401, "CREDENTIAL_REVOKED"));
    let operator = server.replica().domain().await;
    operator.disable_user(server.get_me(&other).await.unwrap().id.parse().unwrap(), &Administrator::operator()).await.unwrap();
    server.wait_for_status(&other, pb::CredentialStatus::Disabled).await;
    let other = format!("Bearer {other}");
    assert_eq!(ask(&server, &[("authorization", &other)], "").await, denied(403, "ACCOUNT_DISABLED"));
    server.advance(900);
    assert_eq!(ask(&server, &[("authorization", &other)], "").await, denied(401, "CREDENTIAL_EXPIRED"));
}
}

on_both! {
async fn a_key_that_is_used_too_often_is_told_when_to_come_again(kind: Kind) {
    let server = start(kind).await;
    let token = server.register().await.access_token;
    let request = pb::CreateKeyRequest {
        name: "limited".to_owned(),
        rate_limit: Some(pb::RateLimit {
            requests: 1,
            per: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        }),
        ..Default::default()
    };
    let key = server.keys().create_key(bearer(&token, request)).await.unwrap().into_inner().secret;
    let headers = [("x-api-key", key.as_str())];
    assert!(matches!(by_envoy(&server, question(&headers, &[])).await, Verdict::Allowed(_)));
    let limited = |verdict, status| {
        let Verdict::Denied(actual, reason, Some(seconds)) = verdict else { panic!("{verdict:?}") };
        assert_eq!((actual, reason.as_str()), (status, "TOO_MANY_ATTEMPTS"));
        assert!((1..=3600).contains(&seconds));
    };
    limited(by_envoy(&server, question(&headers, &[])).await, 429);
    limited(by_http(&server, &headers, "").await, 429);
    // nginx makes 500 of 429.
    limited(by_http(&server, &headers, "?limited=403").await, 403);
}
}

on_both! {
async fn while_the_storage_is_away_nobody_passes(kind: Kind) {
    let server = start(kind).await;
    let token = server.register().await.access_token;
    // One that was never seen, so that only the storage knows it.
    let key = server.create_key(&token, &[]).await.secret;
    server.database.execute("DROP TABLE api_key_secrets").await;
    let headers = [("x-api-key", key.as_str())];
    assert_eq!(ask(&server, &headers, "").await, denied(503, "STORAGE_UNAVAILABLE"));
    // What takes no storage to see is told all the same.
    assert_eq!(ask(&server, &[("x-api-key", "ak_1")], "").await, denied(401, "INVALID_CREDENTIAL"));
}
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_may_send_headers_in_any_of_its_forms() {
    let server = start(Kind::Sqlite).await;
    let key = server.create_key(&server.register().await.access_token, &[]).await.secret;
    let raw = |key: &str, value: &str, raw_value: &[u8]| HeaderValue {
        key: key.to_owned(),
        value: value.to_owned(),
        raw_value: raw_value.to_vec(),
    };
    let one_by_one = |headers| HttpRequest { headers: [].into(), header_map: Some(HeaderMap { headers }) };
    let verdict = async |http| by_envoy(&server, ask_with(http, &[])).await;
    for header in [raw("x-api-key", "", key.as_bytes()), raw("X-API-Key", &key, b"")] {
        // What is not text is no reason to refuse what is beside it.
        let cookie = raw("cookie", "", b"\xff\xfe");
        assert!(matches!(verdict(one_by_one(vec![cookie, header])).await, Verdict::Allowed(_)));
    }
    let headers = [("x-api-key".to_owned(), key.clone().into_bytes()), ("cookie".to_owned(), vec![0xff])];
    let merged = HttpRequest { headers: headers.into(), header_map: None };
    assert!(matches!(verdict(merged).await, Verdict::Allowed(_)));

    let not_text = one_by_one(vec![raw("authorization", "", b"Bearer \xff")]);
    assert_eq!(verdict(not_text).await, denied(401, "INVALID_CREDENTIAL"));
    let twice = vec![raw("x-api-key", "", key.as_bytes()), raw("x-api-key", "", key.as_bytes())];
    assert_eq!(verdict(one_by_one(twice)).await, denied(400, "INVALID_FIELD"));
    // Envoy joins them where it sends no `header_map`.
    let joined = format!("{key},{key}");
    assert_eq!(
        by_envoy(&server, question(&[("x-api-key", &joined)], &[])).await,
        denied(401, "INVALID_CREDENTIAL")
    );
    // As its filter for connections asks.
    assert_eq!(by_envoy(&server, CheckRequest::default()).await, denied(401, "MISSING_CREDENTIAL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_of_the_operator_opens_nothing() {
    let server = start(Kind::Sqlite).await;
    let token = format!("Bearer {}", server.register().await.access_token);
    let headers = [("authorization", token.as_str())];
    let passes = async |extensions| by_envoy(&server, question(&headers, extensions)).await;
    for extensions in [
        &[("scopes", "jobs:read \"quoted\"")][..],
        &[("scope", "jobs:read")],
        &[("Scopes", "jobs:read")],
        &[("scopes", "")],
        &[("scopes", " ")],
    ] {
        assert_eq!(passes(extensions).await, denied(400, "INVALID_FIELD"), "{extensions:?}");
    }
    let others = [("scopes", "jobs:read"), ("virtual_host", "upstream")];
    assert!(matches!(passes(&others).await, Verdict::Allowed(_)));

    for query in ["?scopes=jobs:read", "?scope=%22", "?scope=", "?limited=429", "?scope=jobs:read&token=x"] {
        assert_eq!(by_http(&server, &headers, query).await, denied(400, "INVALID_FIELD"), "{query}");
    }
    for query in ["?scope=jobs:read&scope=jobs:write", "?scope=jobs:read%20jobs:write", "?"] {
        assert!(matches!(by_http(&server, &headers, query).await, Verdict::Allowed(_)), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_as_envoy_with_slips_cannot_fill_the_log() {
    // S57
    let server = Server::start(Kind::Sqlite).await;
    let log = crate::log::Log::start();
    let padded = format!("c4n4ry{}", "x".repeat(500_000));
    for extensions in
        [[("scope", "c4n4ry")], [("scopes", "\"c4n4ry\"")], [("scopes", &padded)], [("scopes", "")]]
    {
        assert_eq!(by_envoy(&server, question(&[], &extensions)).await, denied(400, "INVALID_FIELD"));
    }
    let text = log.text();
    let lines: Vec<_> =
        text.lines().filter(|line| !line.contains("DEBUG") && !line.contains("TRACE")).collect();
    let told: Vec<_> = lines.iter().filter(|line| line.contains("\"scope\" is to be \"scopes\"")).collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("c4n4ry") || line.contains("scopes names no scope")));
    // It is nobody's fault here, which would be an alert.
    assert!(!lines.iter().any(|line| line.contains("answered")), "{lines:?}");
    let (_, page) = server.told("/metrics").await;
    assert!(page.contains("{rpc=\"ext_authz/Check\",code=\"INVALID_ARGUMENT\"} 4"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_like_identity_to_an_upstream_is_removed_and_many_headers_are_read() {
    // S12
    let server = start(Kind::Sqlite).await;
    let key = server.create_key(&server.register().await.access_token, &[]).await.secret;
    // As many headers as Envoy takes by default.
    let cookie = "c".repeat(60 * 1024);
    let headers = [
        ("x-api-key", key.as_str()),
        ("x_auth_user_id", "spoofed"),
        ("x-auth_key-id", "spoofed"),
        ("x_other", "kept"),
        ("cookie", &cookie),
    ];
    let header = |key: &str| HeaderValue {
        key: key.to_owned(),
        value: "spoofed".to_owned(),
        raw_value: cookie.clone().into_bytes(),
    };
    let mut question = question(&headers, &[]);
    let http = question.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.header_map = Some(HeaderMap { headers: vec![header("X_Auth_Scopes"), header("x_auth_user_id")] });
    let answer = AuthorizationClient::new(server.channel()).check(question).await.unwrap().into_inner();
    let HttpResponse::OkResponse(ok) = answer.http_response.unwrap() else { panic!("refused") };
    let removed = ["x-auth-session-id", "x-auth-key-id", "x-auth-scopes"];
    let mut removed: Vec<_> = removed
        .into_iter()
        .filter(|name| !ok.headers.iter().any(|option| option.header.as_ref().unwrap().key == *name))
        .collect();
    removed.extend(["x-auth_key-id", "x_auth_scopes", "x_auth_user_id"]);
    removed.sort_unstable();
    let mut told = ok.headers_to_remove;
    told.sort_unstable();
    assert_eq!(told, removed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_a_request_whose_body_the_gateway_keeps_do_no_harm() {
    let server = start(Kind::Sqlite).await;
    let token = format!("Bearer {}", server.register().await.access_token);
    let kept = [
        ("authorization", token.as_str()),
        ("content-type", "multipart/form-data"),
        ("content-encoding", "gzip"),
        ("cookie", "a=b"),
        ("x-auth-user-id", "spoofed"),
        ("x-forwarded-method", "POST"),
    ];
    let Verdict::Allowed(told) = by_http(&server, &kept, "").await else { panic!("refused") };
    assert!(told["x-auth-user-id"].starts_with("usr_"));
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = check(&server, method.clone(), &kept[..1], "").await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
}
