//! TLS, as the command line has to do with it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::json;

use super::{EMAIL, LONG, PASSWORD, Place, REGISTER, Service, authority::Authority, head};

/// Where a service has a certificate by this authority.
fn place(authority: &Authority) -> Place {
    authority.issue_for_service("service");
    Place::empty()
        .set("COUNTERSIGN_SERVER__PUBLIC_URL", "https://auth.example.com")
        .set("COUNTERSIGN_SERVER__TLS__CERT", authority.path("service.pem").display().to_string())
        .set("COUNTERSIGN_SERVER__TLS__KEY", authority.path("service.key").display().to_string())
}

fn is_found_ready(place: &Place, service: &Service) {
    let address = service.address.to_string();
    let healthcheck = || place.run(&["healthcheck", "--listen", &address]);
    // It says so once it is, or just before.
    let ran = (0..100).map(|_| healthcheck()).find(|ran| ran.code == Some(0));
    assert_eq!(ran.map(|ran| ran.stdout), Some("ready\n".to_owned()), "{:?}", healthcheck());
}

#[test]
fn healthcheck_asks_over_tls() {
    let authority = Authority::new("Authority");
    let place = place(&authority);
    let mut service = place.serve();
    service.line_with("ready");
    is_found_ready(&place, &service);
    let address = service.address.to_string();
    service.stop();
    place.run(&["healthcheck", "--listen", &address]).expect_complaint(1, &[&address]);
}

#[test]
fn where_clients_have_certificates_healthcheck_asks_the_operators_listener() {
    let authority = Authority::new("Authority");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let place = place(&authority)
        .set("COUNTERSIGN_SERVER__TLS__CLIENT_CA", authority.certificate().display().to_string())
        .set("COUNTERSIGN_SERVER__METRICS_LISTEN", &free);
    let mut service = place.serve();
    service.line_with("ready");
    is_found_ready(&place, &service);
    service.stop();
    place.run(&["healthcheck"]).expect_complaint(1, &[&free]);
    let off = place.set("COUNTERSIGN_SERVER__METRICS_LISTEN", "off");
    off.run(&["healthcheck"]).expect_complaint(1, &["server.metrics_listen", "server.tls.client_ca"]);
}

#[test]
fn a_person_is_told_of_https() {
    let authority = Authority::new("Authority");
    let place = place(&authority).set("COUNTERSIGN_TELEMETRY__LOG_FORMAT", "text");
    let mut service = place.serve();
    let stdout = BufReader::new(service.child.stdout.take().unwrap());
    let mut lines = stdout.lines().map(Result::unwrap);
    let expected = format!("https://{}", service.address);
    for word in ["listening", "openapi", "curl "] {
        let line = lines.find(|line| line.contains(word)).unwrap();
        assert!(line.contains(&expected), "{line}");
    }
}

#[test]
fn half_of_a_configuration_is_named() {
    let (cert, key, client_ca) = (
        "COUNTERSIGN_SERVER__TLS__CERT",
        "COUNTERSIGN_SERVER__TLS__KEY",
        "COUNTERSIGN_SERVER__TLS__CLIENT_CA",
    );
    for (set, complaints) in [
        (cert, "server.tls.key: required with server.tls.cert\n"),
        (key, "server.tls.cert: required with server.tls.key\n"),
        (
            client_ca,
            "server.tls.cert: required with server.tls.client_ca\nserver.tls.key: required with server.tls.client_ca\n",
        ),
    ] {
        let ran = Place::empty().set(set, "file.pem").run(&["config"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(64), complaints));
    }
}

#[test]
fn a_key_that_does_not_match_is_named_at_start() {
    let authority = Authority::new("Authority");
    authority.issue_for_service("other");
    let other = authority.path("other.key").display().to_string();
    let ran = place(&authority).set("COUNTERSIGN_SERVER__TLS__KEY", other).run(&["serve"]);
    ran.expect_complaint(64, &["server.tls.key: ", "server.tls.cert"]);
    let ran = place(&authority).set("COUNTERSIGN_SERVER__TLS__CERT", "nowhere.pem").run(&["serve"]);
    ran.expect_complaint(64, &["server.tls.cert: cannot read nowhere.pem"]);
}

#[test]
fn a_call_that_is_under_way_over_tls_is_answered_before_the_end() {
    let authority = Authority::new("Authority");
    let mut service = place(&authority).serve();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(service.address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let mut stream = StreamOwned::new(client, socket);

    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    stream.write_all(head(REGISTER, body.len(), "expect: 100-continue\r\n").as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    service.terminate();
    service.line_with("draining");
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert_eq!(service.code(), Some(0));
}
