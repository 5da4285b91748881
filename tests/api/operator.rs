//! What the operator's tools are told: `/metrics`, `/livez` and `/readyz`, at `server.metrics_listen`. Prometheus's own check of
//! the page is in `tests/clients/test_operator.py`; `/readyz` without a database in `outage`.
#![expect(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    reason = "counts, which these numbers hold exactly"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use countersign::api::pb::{
    self,
    envoy::service::auth::v3::{CheckRequest, authorization_client::AuthorizationClient},
};
use http::Method;
use serde_json::json;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup},
    wire::{DOORS, Door},
};

/// The samples of a page, by name and labels as they are written.
async fn samples(server: &Server) -> BTreeMap<String, f64> {
    let (status, page) = server.told("/metrics").await;
    assert_eq!(status, 200);
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}

/// What has grown from one page to the next of this metric, by labels.
fn grown(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, name: &str) -> Vec<(String, f64)> {
    let of_metric = after.iter().filter(|(sample, _)| sample.split('{').next() == Some(name));
    let grown = of_metric.map(|(sample, value)| {
        let labels = sample.strip_prefix(name).unwrap().to_owned();
        (labels, value - before.get(sample).copied().unwrap_or_default())
    });
    grown.filter(|(_, by)| *by > 0.0).collect()
}

fn requests(rpc: &str, code: &str, by: f64) -> (String, f64) {
    (format!("{{rpc=\"{rpc}\",code=\"{code}\"}}"), by)
}

on_both! {
    async fn a_call_is_counted_once_whichever_door_it_comes_through(database: Kind) {
        let server = Server::start(database).await;
        server.register().await;
        for door in DOORS {
            let before = samples(&server).await;
            let wrong = json!({"email": EMAIL, "password": "not the password"});
            server.call(door, "Login", &[], &wrong).await.expect("WRONG_EMAIL_OR_PASSWORD", "login");
            server.call(door, "ValidateCredential", &[], &json!({"credential": "x"})).await.result.unwrap();
            server.call(door, "GetMe", &[], &json!({})).await.expect("MISSING_CREDENTIAL", "who");
            server.call(door, "Register", &[], &json!({"email": "x"})).await.expect("INVALID_FIELD", "register");
            let after = samples(&server).await;
            assert_eq!(
                grown(&before, &after, "countersign_requests_total"),
                [
                    requests("AuthService/GetMe", "UNAUTHENTICATED", 1.0),
                    requests("AuthService/Login", "UNAUTHENTICATED", 1.0),
                    requests("AuthService/Register", "INVALID_ARGUMENT", 1.0),
                    requests("AuthService/ValidateCredential", "OK", 1.0),
                ],
                "{door:?}"
            );
            let durations = grown(&before, &after, "countersign_request_duration_seconds_count");
            assert_eq!(durations.len(), 4, "{door:?}: {durations:?}");
            assert_eq!(
                grown(&before, &after, "countersign_verdicts_total"),
                [("{status=\"INVALID\"}".to_owned(), 1.0)]
            );
            let hashed = grown(&before, &after, "countersign_password_hash_duration_seconds_count");
            assert_eq!(hashed, [(String::new(), 1.0)]);
        }
    }
}

on_both! {
    async fn a_gateways_question_is_counted_with_its_outcome(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let before = samples(&server).await;
        let bearer = format!("Bearer {token}");
        for headers in [&[("authorization", bearer.as_str())][..], &[]] {
            server.rest(Method::GET, "/api/v1/auth/check", headers, None).await;
        }
        AuthorizationClient::new(server.channel()).check(CheckRequest::default()).await.unwrap();
        assert_eq!(
            grown(&before, &samples(&server).await, "countersign_requests_total"),
            [
                requests("ext_authz/Check", "UNAUTHENTICATED", 1.0),
                requests("forward_auth", "OK", 1.0),
                requests("forward_auth", "UNAUTHENTICATED", 1.0),
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_counted_as_other_and_makes_no_label() {
    let server = Server::start(Kind::Sqlite).await;
    let before = samples(&server).await;
    for number in 0..20 {
        server.rest(Method::GET, &format!("/api/v1/nothing/{number}"), &[], None).await;
        let path = format!("/countersign.v1.AuthService/Nothing{number}");
        for door in [Door::Grpc, Door::Web] {
            server.frames(door, &path, &[], crate::wire::frame(&[])).await;
        }
    }
    let after = samples(&server).await;
    assert_eq!(
        grown(&before, &after, "countersign_requests_total"),
        [requests("other", "NOT_FOUND", 20.0), requests("other", "UNIMPLEMENTED", 40.0)]
    );
    let labels = |samples: &BTreeMap<String, f64>| {
        let rpc = |sample: &String| sample.split("rpc=\"").nth(1)?.split('"').next().map(str::to_owned);
        samples.keys().filter_map(rpc).collect::<BTreeSet<_>>()
    };
    assert_eq!(labels(&before), labels(&after));
    assert!(labels(&after).contains("KeyService/CreateKey") && labels(&after).contains("Health/Check"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_counted_as_that() {
    let server = Server::start(Kind::Sqlite).await;
    let before = samples(&server).await;
    let body = json!({"email": EMAIL, "password": PASSWORD});
    let headers = [("grpc-timeout", "1n")];
    let (status, _) = server.rest(Method::POST, "/api/v1/auth/login", &headers, Some(body)).await;
    assert_eq!(status, 504);
    let grown = grown(&before, &samples(&server).await, "countersign_requests_total");
    assert_eq!(grown, [requests("AuthService/Login", "DEADLINE_EXCEEDED", 1.0)]);
}

on_both! {
    async fn what_the_service_holds_is_told(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let ended = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        let key = server.create_key(&token, &[]).await.secret;
        server.logout(&ended).await.unwrap();
        for _ in 0..3 {
            server.validate(&key).await;
            server.validate(&token).await;
        }
        server.validate(&ended).await;
        let mails = server.new_mails().await.len();
        // It was counted before it went.
        server.wait_for_none("SELECT kind FROM mails").await;
        let mut client = server.auth();
        client.validate_credential(pb::ValidateCredentialRequest::default()).await.unwrap();
        let samples = samples(&server).await;
        drop(client);
        let told = |sample: &str| samples[sample];
        assert_eq!(told("countersign_verdicts_total{status=\"VALID\"}"), 6.0);
        assert_eq!(told("countersign_verdicts_total{status=\"REVOKED\"}"), 1.0);
        assert_eq!(told("countersign_cache_entries{cache=\"keys\"}"), 1.0);
        assert_eq!(told("countersign_cache_requests_total{cache=\"keys\",result=\"miss\"}"), 1.0);
        assert_eq!(told("countersign_cache_requests_total{cache=\"keys\",result=\"hit\"}"), 2.0);
        assert!(told("countersign_cache_requests_total{cache=\"tokens\",result=\"hit\"}") >= 2.0);
        assert_eq!(told("countersign_ended_sessions"), 1.0);
        assert_eq!(told("countersign_mails_total{kind=\"verify_email\",outcome=\"sent\"}"), mails as f64);
        assert_eq!(told("countersign_mails_waiting"), 0.0);
        assert_eq!(told("countersign_mail_oldest_age_seconds"), 0.0);
        assert_eq!(told("countersign_signing_keys{state=\"signing\"}"), 1.0);
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        let connections = if database == Kind::Sqlite { (cores + 2.0).min(16.0) } else { 16.0 };
        assert_eq!(told("countersign_database_connections_max"), connections);
        assert_eq!(told("countersign_ready"), 1.0);
        assert!(told("countersign_connections") >= 1.0 && told("countersign_knowledge_age_seconds") < 60.0);
        // By the clock of the test, which moves by hand.
        server.advance(90);
        let (_, page) = server.told("/metrics").await;
        assert!(page.contains("\ncountersign_signing_key_age_seconds 90\n"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let server = Server::start(Kind::Sqlite).await;
    let (_, page) = server.told("/metrics").await;
    let told: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let rows =
        text.lines().filter(|line| line.starts_with("| `countersign_") || line.starts_with("| `process_"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let mut cells = row.trim_start_matches("| ").split(" | ");
            let name = cells.next().unwrap().trim_matches('`').to_owned();
            (name, cells.next().unwrap().to_owned())
        })
        // Only with TLS.
        .filter(|(name, _)| name != "countersign_tls_certificate_expiry_timestamp_seconds")
        .collect();
    assert_eq!(told, documented);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_are_served_for_the_operator_alone() {
    let mut server =
        Setup::new(Kind::Sqlite).await.set("SERVER__INTERNAL_LISTEN", "127.0.0.1:0").start().await;
    let (public, internal) = (server.address, server.internal_address.unwrap());
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(server.told(path).await.0, 200, "{path}");
        for address in [public, internal] {
            server.address = address;
            assert_eq!(server.rest(Method::GET, path, &[], None).await.0, 404, "{path}");
        }
    }
    for path in ["/openapi.json", "/api/v1/users/me", "/"] {
        assert_eq!(server.told(path).await.0, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_going_away_is_live_but_not_ready() {
    let mut server = Setup::new(Kind::Sqlite).await.set("SERVER__DRAIN_DELAY", "1h").start().await;
    assert_eq!(server.told("/readyz").await, (http::StatusCode::OK, "ready\n".to_owned()));
    server.begin_to_stop();
    let mut ready = server.told("/readyz").await;
    while ready.0 == 200 {
        ready = server.told("/readyz").await;
    }
    assert_eq!(ready, (http::StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()));
    assert_eq!(server.told("/livez").await, (http::StatusCode::OK, "live\n".to_owned()));
    assert_eq!(samples(&server).await["countersign_ready"], 0.0);
    // It still answers calls.
    assert_eq!(server.status_of("x").await, pb::CredentialStatus::Invalid);
}
