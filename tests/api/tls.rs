//! `server.tls.*`: every door over TLS, clients that have to show a certificate, and certificates that are replaced while the
//! service runs.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign::{
    api::pb::{self, auth_service_client::AuthServiceClient},
    app::App,
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    authority::{Authority, replace},
    common::Kind,
    log::Log,
    support::{Server, Setup},
};

type Grpc = AuthServiceClient<Client<HttpsConnector<HttpConnector>, tonic::body::Body>>;

const GET: &str = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n";
/// Within this a connection is cut that is to be, and long before it has reached its age.
const LONG: Duration = Duration::from_mins(2);
/// The place of `name` and the file that belongs there.
const SERVED: &str = "served";

/// An authority with a certificate for the service, `SERVED`.
fn authority() -> Authority {
    let authority = Authority::new("Test authority");
    authority.issue_for_service(SERVED);
    authority
}

async fn setup(authority: &Authority) -> Setup {
    let path = |name: &str| authority.path(name).display().to_string();
    let setup = Setup::new(Kind::Sqlite).await;
    setup.set("SERVER__TLS__CERT", &path("served.pem")).set("SERVER__TLS__KEY", &path("served.key"))
}

/// With clients that this authority has signed.
async fn mutual(authority: &Authority, clients: &Authority) -> Setup {
    let path = clients.certificate().display().to_string();
    setup(authority).await.set("SERVER__TLS__CLIENT_CA", &path)
}

/// A client that trusts this authority, and has that one's certificate `client` if it is given.
fn client(trusted: &Authority, own: Option<&Authority>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(trusted.certificate())).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(own.path("client.key")).unwrap();
            builder.with_client_auth_cert(vec![certificate(own.path("client.pem"))], key).unwrap()
        }
    }
}

fn certificate(path: PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

async fn connect(address: SocketAddr, config: &ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config.clone())).connect(name, socket).await
}

/// A whole answer over HTTP/1.1, on a connection of its own. Whoever is refused may learn it only now.
async fn get(address: SocketAddr, config: &ClientConfig) -> io::Result<String> {
    let mut stream = connect(address, config).await?;
    stream.write_all(format!("{GET}connection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The certificate that a new connection gets.
async fn served(address: SocketAddr, config: &ClientConfig) -> CertificateDer<'static> {
    let stream = connect(address, config).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn wait_until_served(address: SocketAddr, config: &ClientConfig, expected: &CertificateDer<'static>) {
    while served(address, config).await != *expected {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn grpc(address: SocketAddr, config: &ClientConfig) -> Grpc {
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config.clone()).https_only().enable_http2().build();
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    AuthServiceClient::with_origin(http, format!("https://localhost:{}", address.port()).parse().unwrap())
}

async fn asks(grpc: &mut Grpc, id: &str) -> Result<pb::CredentialStatus, tonic::Status> {
    let mut request = tonic::Request::new(pb::ValidateCredentialRequest {
        credential: "nonsense".to_owned(),
        required_scopes: Vec::new(),
    });
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    grpc.validate_credential(request).await.map(|answer| answer.into_inner().status())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_speak_tls_and_the_operators_does_not() {
    // S55
    let authority = authority();
    let server = setup(&authority).await.set("SERVER__INTERNAL_LISTEN", "127.0.0.1:0").start().await;
    let config = client(&authority, None);
    let internal = server.internal_address.unwrap();
    let answer = get(server.address, &config).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\r\nstrict-transport-security: max-age=31536000\r\n"), "{answer}");
    // There is no such path, which is an answer.
    assert!(get(internal, &config).await.unwrap().starts_with("HTTP/1.1 404"));
    let status = asks(&mut grpc(internal, &config), "tls-internal").await;
    assert_eq!(status.unwrap(), pb::CredentialStatus::Invalid);

    for address in [server.address, internal] {
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(format!("{GET}\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // An end or a reset, perhaps after an alert.
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert!(server.told("/livez").await.1 == "live\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_says_which_http_is_spoken() {
    let authority = authority();
    let server = setup(&authority).await.start().await;
    for (offered, expected) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut config = client(&authority, None);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = connect(server.address, &config).await.unwrap();
        let chosen = stream.get_ref().1.alpn_protocol();
        assert_eq!(chosen, expected.map(str::as_bytes), "{offered:?}");
    }
    let mut config = client(&authority, None);
    config.alpn_protocols = vec![b"spdy/1".to_vec()];
    connect(server.address, &config).await.expect_err("nothing in common");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_tls_are_spoken() {
    let authority = authority();
    let server = setup(&authority).await.start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority.certificate())).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        assert!(get(server.address, &config).await.unwrap().starts_with("HTTP/1.1 200"), "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_no_browser_is_told_to_come_with_it() {
    // S55
    let server = Server::start(Kind::Sqlite).await;
    let request = http::Request::get(server.url("/openapi.json")).body(http_body_util::Full::default());
    let answer = server.send(request.unwrap()).await;
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("strict-transport-security"), "{:?}", answer.headers());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_authority_for_clients_none_comes_in_without_its_certificate() {
    let (authority, clients, strangers) =
        (authority(), Authority::new("Clients"), Authority::new("Strangers"));
    let spiffe = Some("DNS:jobs.example.com,URI:spiffe://example.com/jobs");
    for signer in [&clients, &strangers] {
        signer.issue("client", "/CN=jobs", spiffe);
    }
    let log = Log::start();
    let server = mutual(&authority, &clients).await.start().await;
    for refused in [client(&authority, None), client(&authority, Some(&strangers))] {
        get(server.address, &refused).await.expect_err("it has no certificate of theirs");
    }
    let config = client(&authority, Some(&clients));
    assert!(get(server.address, &config).await.unwrap().starts_with("HTTP/1.1 200"));
    let mut grpc = grpc(server.address, &config);
    let status = asks(&mut grpc, "tls-named").await.unwrap();
    assert_eq!(status, pb::CredentialStatus::Invalid);
    // Who brings no id is named in the log all the same.
    let unnamed = pb::ValidateCredentialRequest { credential: "x".to_owned(), required_scopes: Vec::new() };
    grpc.validate_credential(unnamed).await.unwrap();
    // Its name lets it do nothing.
    let alone = grpc.get_me(pb::GetMeRequest {}).await.expect_err("no credential");
    assert_eq!(alone.code(), tonic::Code::Unauthenticated);
    drop(server);
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("answered")).collect();
    let fast = lines.iter().find(|line| line.contains("tls-named")).expect("the call's line");
    assert!(fast.contains("client=\"spiffe://example.com/jobs\""), "{fast}");
    let validated = lines.iter().filter(|line| line.contains("AuthService/ValidateCredential"));
    assert_eq!(validated.filter(|line| line.contains("client=\"spiffe://example.com/jobs\"")).count(), 2);
    let usual = lines.iter().any(|line| line.contains("AuthService/GetMe") && line.contains("spiffe://"));
    assert!(usual, "the router's calls name it, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_called_by_its_dns_name_or_else_its_common_name() {
    let (authority, clients) = (authority(), Authority::new("Clients"));
    let log = Log::start();
    let server = mutual(&authority, &clients).await.start().await;
    for (id, names, expected) in [
        ("tls-dns", Some("DNS:jobs.example.com"), "jobs.example.com"),
        ("tls-common", None, "The jobs"),
        ("tls-other", Some("email:jobs@example.com"), "The jobs"),
    ] {
        clients.issue("client", "/O=Example/CN=The jobs", names);
        asks(&mut grpc(server.address, &client(&authority, Some(&clients))), id).await.unwrap();
        let text = log.text();
        let line = text.lines().find(|line| line.contains("answered") && line.contains(id)).unwrap();
        assert!(line.contains(&format!("client=\"{expected}\"")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_removed_lets_nobody_in() {
    let (authority, before, after) = (authority(), Authority::new("Before"), Authority::new("After"));
    before.issue("client", "/CN=before", None);
    after.issue("client", "/CN=after", None);
    let (in_use, kept) = (before.path("in-use.pem"), before.certificate());
    replace(&kept, &in_use);
    let setup = setup(&authority).await.set("SERVER__TLS__CLIENT_CA", in_use.to_str().unwrap());
    let server = setup.start().await;
    // The same client all the time: it would go on with a session if it had been given one.
    let (old, new) = (client(&authority, Some(&before)), client(&authority, Some(&after)));
    for _ in 0..3 {
        get(server.address, &old).await.unwrap();
        get(server.address, &new).await.expect_err("not yet");
    }
    replace(&after.certificate(), &in_use);
    while get(server.address, &new).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    get(server.address, &old).await.expect_err("no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_load_without_a_call_lost() {
    let authority = authority();
    let server = setup(&authority).await.start().await;
    let config = client(&authority, None);
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // One client keeps its connection, one makes a new one each time.
    let load: Vec<_> = [true, false]
        .map(|keeps| {
            let (over, calls, config, address) =
                (over.clone(), calls.clone(), config.clone(), server.address);
            tokio::spawn(async move {
                let mut kept = grpc(address, &config);
                while !over.load(Ordering::SeqCst) {
                    if keeps {
                        assert_eq!(asks(&mut kept, "tls-load").await.unwrap(), pb::CredentialStatus::Invalid);
                    } else {
                        assert!(get(address, &config).await.unwrap().starts_with("HTTP/1.1 200"));
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .into();
    for name in ["second", "third"] {
        let before = calls.load(Ordering::SeqCst);
        authority.issue_for_service(name);
        // As a volume without an exchange at once: for a while they do not fit.
        replace(&authority.path(&format!("{name}.pem")), &authority.path("served.pem"));
        replace(&authority.path(&format!("{name}.key")), &authority.path("served.key"));
        wait_until_served(server.address, &config, &certificate(authority.path(&format!("{name}.pem"))))
            .await;
        while calls.load(Ordering::SeqCst) < before + 10 {
            tokio::task::yield_now().await;
        }
    }
    over.store(true, Ordering::SeqCst);
    for one in load {
        one.await.expect("no call is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_when_its_certificate_is_replaced() {
    let authority = authority();
    let server = setup(&authority).await.start().await;
    let config = client(&authority, None);
    let mut stream = connect(server.address, &config).await.unwrap();
    let mut ask = async || {
        stream.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"}") {
            head.push(stream.read_u8().await.expect("the connection is open"));
        }
    };
    ask().await;
    let expiry = async || {
        let page = server.told("/metrics").await.1;
        let name = "countersign_tls_certificate_expiry_timestamp_seconds ";
        page.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned)).expect("the metric")
    };
    assert!(expiry().await.parse::<f64>().unwrap() > 1_700_000_000.0);
    let first = expiry().await;
    // Of another second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    authority.issue_for_service(SERVED);
    wait_until_served(server.address, &config, &certificate(authority.path("served.pem"))).await;
    assert_ne!(expiry().await, first);
    ask().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_pair_changes_nothing_and_is_warned_of_once() {
    let authority = authority();
    let log = Log::start();
    let server = setup(&authority).await.start().await;
    let config = client(&authority, None);
    let old = certificate(authority.path("served.pem"));
    authority.issue_for_service("next");
    let warning = "server.tls.key: is not the key of the certificate in server.tls.cert";
    let warnings = || log.text().matches(warning).count();
    assert_eq!(warnings(), 0);
    replace(&authority.path("next.pem"), &authority.path("served.pem"));
    while warnings() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(served(server.address, &config).await, old);
    // Another fault shows that it has looked again since.
    fs::remove_file(authority.path("served.key")).unwrap();
    while !log.text().contains("server.tls.key: cannot read") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(served(server.address, &config).await, old);
    replace(&authority.path("next.key"), &authority.path("served.key"));
    wait_until_served(server.address, &config, &certificate(authority.path("next.pem"))).await;
    assert!(get(server.address, &config).await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(warnings(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_shake_hands_holds_nobody_up_and_is_cut() {
    // S60
    let authority = authority();
    let server = setup(&authority).await.start().await;
    let config = client(&authority, None);
    let mut slow = Vec::new();
    for number in 0..30 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        // Nothing, or the beginning of a record of a handshake.
        socket.write_all(&[0x16, 3, 1, 2, 0, 1][..number % 7]).await.unwrap();
        slow.push(socket);
    }
    // Who shakes hands and then does not say which HTTP it speaks is no better, whatever was agreed upon.
    let mut silent = Vec::new();
    for (protocol, said) in
        [("", ""), ("", "P"), ("h2", "P"), ("h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), ("http/1.1", "PR")]
    {
        let mut config = config.clone();
        config.alpn_protocols.extend((!protocol.is_empty()).then(|| protocol.into()));
        let mut stream = connect(server.address, &config).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    assert!(get(server.address, &config).await.unwrap().starts_with("HTTP/1.1 200"));
    for mut socket in slow {
        // An end or a reset.
        let _ = socket.read_to_end(&mut Vec::new()).await;
    }
    for mut stream in silent {
        let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut Vec::new())).await;
        let _ = ended.expect("it is cut long before it is old");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_file_is_told_at_start() {
    let authority = authority();
    authority.issue_for_service("other");
    fs::write(authority.path("empty.pem"), "").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(authority.path("broken.pem"), broken).unwrap();
    let path = |name: &str| authority.path(name).display().to_string();
    for (key, file, expected) in [
        ("CERT", "none.pem", "server.tls.cert: cannot read "),
        ("KEY", "none.pem", "server.tls.key: cannot read "),
        ("CLIENT_CA", "none.pem", "server.tls.client_ca: cannot read "),
        ("CERT", "empty.pem", "server.tls.cert: holds no certificate"),
        ("CERT", "served.key", "server.tls.cert: holds no certificate"),
        ("CERT", "broken.pem", "server.tls.cert: holds a certificate that cannot be read"),
        ("KEY", "served.pem", "server.tls.key: holds no private key"),
        ("KEY", "other.key", "server.tls.key: is not the key of the certificate in server.tls.cert"),
        ("CLIENT_CA", "empty.pem", "server.tls.client_ca: holds no certificate"),
        ("CLIENT_CA", "broken.pem", "server.tls.client_ca: "),
    ] {
        let setup = setup(&authority).await.set(&format!("SERVER__TLS__{key}"), &path(file));
        let fault = App::build(&setup.config(), setup.clock()).await.err().expect("a fault").to_string();
        assert!(fault.starts_with(expected) && !fault.contains('\n'), "{key} {file}: {fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_doubtful_is_warned_of_at_start() {
    let authority = authority();
    let log = Log::start();
    let setup = setup(&authority).await.set("SERVER__PUBLIC_URL", "http://auth.example.com");
    let clock = setup.clock();
    // Certificates are made for two days, by the machine's clock; the test's is moved to after that.
    clock.advance(Duration::from_hours(24 * 365 * 100));
    let app = App::build(&setup.config(), clock).await.unwrap();
    drop(app);
    for warning in ["server.tls.cert: the certificate has expired", "server.public_url begins with http"] {
        assert!(log.text().contains(warning), "{warning}");
    }
}
