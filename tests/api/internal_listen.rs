//! `server.internal_listen`: what services and gateways ask is served there, and nowhere else; and nothing else is served there.

use countersign::api::pb::envoy::service::auth::v3::{
    CheckRequest, authorization_client::AuthorizationClient,
};
use http::Method;
use serde_json::json;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    common::Kind,
    on_both,
    support::{Server, Setup},
    wire::{Answer, DOORS, Door, GRPC_DOORS, frame, rpcs},
};

/// What moves.
const INTERNAL: [&str; 2] = ["ValidateCredential", "BatchValidateCredentials"];
const INTERNAL_SERVICE: &str = "AdminService";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const WATCH: &str = "/countersign.v1.AuthService/WatchRevocations";
const FORWARD: &str = "/api/v1/auth/check";

async fn start(kind: Kind) -> Server {
    Setup::new(kind).await.set("SERVER__INTERNAL_LISTEN", "127.0.0.1:0").start().await
}

/// The same service at its other address.
fn at_internal(server: &mut Server) {
    server.address = server.internal_address.unwrap();
}

/// Whether the answer says that there is no such RPC, or nothing at this path.
fn is_nothing(answer: &Answer) -> bool {
    let Err(failure) = &answer.result else { return false };
    failure.reason == "NOT_FOUND"
        && failure.code.map_or(answer.http == 404, |code| code == Code::Unimplemented)
}

/// The names of the RPCs that there are not, door by door.
async fn missing(server: &Server, door: Door) -> Vec<String> {
    let mut missing = Vec::new();
    for rpc in rpcs() {
        // Whatever stands in the path.
        let fields = ["user_id", "key_id", "session_id", "identity_id", "provider"];
        let given = fields.into_iter().filter(|field| rpc.input().get_field_by_name(field).is_some());
        let message = given.map(|field| (field.to_owned(), json!("x"))).collect();
        let answer = server.call(door, rpc.name(), &[], &serde_json::Value::Object(message)).await;
        if is_nothing(&answer) {
            missing.push(rpc.name().to_owned());
        }
    }
    missing
}

on_both! {
async fn each_listener_serves_its_own_through_every_door(kind: Kind) {
    let mut server = start(kind).await;
    let (internal, public): (Vec<_>, Vec<_>) = rpcs().into_iter().partition(|rpc| {
        INTERNAL.contains(&rpc.name()) || rpc.parent_service().name() == INTERNAL_SERVICE
    });
    let [internal, public] =
        [internal, public].map(|rpcs| rpcs.iter().map(|rpc| rpc.name().to_owned()).collect::<Vec<_>>());
    assert_eq!(internal.len(), INTERNAL.len() + 14);
    for door in DOORS {
        assert_eq!(missing(&server, door).await, internal, "{door:?}, at the public port");
    }
    for door in GRPC_DOORS {
        for path in [CHECK, WATCH] {
            assert!(is_nothing(&server.frames(door, path, &[], frame(b"")).await), "{door:?}: {path}");
        }
    }
    for method in [Method::GET, Method::POST] {
        assert!(is_nothing(&server.exchange(Door::Rest, method, FORWARD, &[], "").await));
    }

    at_internal(&mut server);
    for door in DOORS {
        assert_eq!(missing(&server, door).await, public, "{door:?}, at the internal port");
    }
    for path in ["/openapi.json", "/verify-email", "/reset-password"] {
        assert!(is_nothing(&server.exchange(Door::Rest, Method::GET, path, &[], "").await), "{path}");
    }
    for door in GRPC_DOORS {
        assert!(server.frames(door, CHECK, &[], frame(b"")).await.result.is_ok(), "{door:?}");
        let watch = server.frames(door, WATCH, &[], frame(b"")).await;
        watch.expect("MISSING_CREDENTIAL", &format!("{door:?}"));
    }
    server.exchange(Door::Rest, Method::GET, FORWARD, &[], "").await.expect("MISSING_CREDENTIAL", "forward-auth");
}
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_one_port_serves_everything() {
    let server = Server::start(Kind::Sqlite).await;
    assert_eq!(server.internal_address, None);
    for door in DOORS {
        assert_eq!(missing(&server, door).await, [""; 0], "{door:?}");
    }
    AuthorizationClient::new(server.channel()).check(CheckRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_the_public_port_is_judged_at_the_internal_one() {
    let mut server = start(Kind::Sqlite).await;
    let token = server.register().await.access_token;
    at_internal(&mut server);
    assert_eq!(server.validate(&token).await.principal.unwrap().user_id.len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_tell_health_and_what_they_serve() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let mut server = start(Kind::Sqlite).await;
    let mut seen = Vec::new();
    for internal in [false, true] {
        if internal {
            at_internal(&mut server);
        }
        let whole = HealthCheckRequest::default();
        while HealthClient::new(server.channel()).check(whole.clone()).await.unwrap().into_inner().status()
            != ServingStatus::Serving
        {
            tokio::task::yield_now().await;
        }
        let ask = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        let stream = futures_util::stream::iter([request]);
        let mut client = ServerReflectionClient::new(server.channel());
        let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
        let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
        names.sort_unstable();
        seen.push(names);
    }
    assert_eq!(
        seen,
        [
            &["countersign.v1.AuthService", "countersign.v1.KeyService", "grpc.health.v1.Health"][..],
            &[
                "countersign.v1.AdminService",
                "countersign.v1.AuthService",
                "envoy.service.auth.v3.Authorization",
                "grpc.health.v1.Health",
            ],
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_drain() {
    let server = start(Kind::Sqlite).await;
    let (public, internal) = (server.address, server.internal_address.unwrap());
    // An idle connection to each, which is closed when it goes away, not cut.
    let mut idle = Vec::new();
    for address in [public, internal] {
        idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    server.stop().await;
    for mut stream in idle {
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
    for address in [public, internal] {
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "{address}");
    }
}
