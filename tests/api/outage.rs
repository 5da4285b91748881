//! While the storage is in trouble the service refuses, in bounded time and without internals, and when the trouble is
//! over it works again without a restart (S64).

use std::{net::SocketAddr, time::Duration};

use countersign::{api::pb, api::pb::CredentialStatus, types::Clock};
use diesel::sqlite::SqliteConnection;
use diesel_async::{AsyncConnection, SimpleAsyncConnection, sync_connection_wrapper::SyncConnectionWrapper};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::timeout,
};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::common::{Database, Kind};
use crate::support::{EMAIL, PASSWORD, Server, Setup, bearer, reason};

/// A request's limit is 10 s; this is for a busy machine.
const BOUND: Duration = Duration::from_secs(40);
/// How long the service may take to notice that the trouble began or is over.
const NOTICE: Duration = Duration::from_mins(1);

/// How the line between the service and PostgreSQL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Connections are closed, new ones at once.
    Cut,
    /// Connections are kept and made, but nothing passes until the line is open.
    Silent,
    /// As silent, but the connections of that time stay so for ever: as when the server froze and another took over.
    Dead,
}

/// A way to the cluster that can be disturbed.
struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, state) = watch::channel(Line::Open);
        let cluster = crate::common::cluster_url();
        let server = cluster.rsplit_once('/').unwrap().0.rsplit_once('@').unwrap().1.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server.clone(), state.clone()));
            }
        });
        Self { address, line }
    }

    fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// Lets the database be found behind the proxy.
    fn before(&self, mut database: Database) -> Database {
        let (server, name) = database.url.rsplit_once('/').unwrap();
        let (user, _) = server.rsplit_once('@').unwrap();
        database.url = format!("{user}@{}/{name}", self.address);
        database
    }
}

async fn connection(client: TcpStream, server: String, line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, line.clone()) => {}
        () = carry(from_server, to_client, line) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if !passes(&mut line).await {
            return;
        }
        tokio::select! {
            read = from.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { return };
                if !passes(&mut line).await || to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
            _ = line.changed() => {}
        }
    }
}

/// Waits until something may pass; `false` when the connection is to be closed.
async fn passes(line: &mut watch::Receiver<Line>) -> bool {
    match line.wait_for(|line| *line != Line::Silent).await.map(|line| *line) {
        Ok(Line::Dead) => std::future::pending().await,
        line => matches!(line, Ok(Line::Open)),
    }
}

async fn health(server: &Server) -> ServingStatus {
    let request = HealthCheckRequest { service: "countersign.v1.AuthService".to_owned() };
    let answer = HealthClient::new(server.channel()).check(request).await.unwrap().into_inner();
    answer.status()
}

async fn wait_for_health(server: &Server, expected: ServingStatus) {
    let turned = timeout(NOTICE, async {
        while health(server).await != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    turned.await.unwrap_or_else(|_| panic!("health does not turn {expected:?}"));
}

/// Expects a refusal that says that the storage is away, or took too long, and nothing else.
#[track_caller]
fn expect_closed<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>) {
    let status = answer.expect_err(what);
    let known = matches!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "STORAGE_UNAVAILABLE") | (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    assert!(known, "{what}: {status:?}");
    expect_no_internals(what, status.message());
}

/// S64
#[track_caller]
fn expect_no_internals(what: &str, text: &str) {
    let text = text.to_lowercase();
    for internal in
        ["postgres", "sql", "diesel", "bb8", "pool", "127.0.0.1", "localhost", "tcp", "locked", "src/"]
    {
        assert!(!text.contains(internal), "{what}: {text}");
    }
}

/// What was made while all was well.
struct Known {
    access_token: String,
    refresh_token: String,
    key: String,
}

impl Known {
    async fn make(server: &Server) -> Self {
        let tokens = server.register().await;
        let key = server.create_key(&tokens.access_token, &[]).await.secret;
        let known = Self { access_token: tokens.access_token, refresh_token: tokens.refresh_token, key };
        known.expect_good(server).await;
        known
    }

    async fn expect_good(&self, server: &Server) {
        for credential in [&self.access_token, &self.key] {
            assert_eq!(server.validate(credential).await.status(), CredentialStatus::Valid);
        }
        server.login(EMAIL, PASSWORD).await.unwrap();
        server.auth().get_me(bearer(&self.access_token, pb::GetMeRequest {})).await.unwrap();
    }

    /// Waits until all is well again.
    async fn wait_for_good(&self, server: &Server) {
        let healed = timeout(NOTICE, async {
            while server.login(EMAIL, PASSWORD).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        healed.await.expect("it heals");
        self.expect_good(server).await;
    }
}

fn question(credential: &str) -> pb::ValidateCredentialRequest {
    pb::ValidateCredentialRequest { credential: credential.to_owned(), required_scopes: Vec::new() }
}

/// Asks all at once, and expects each to be refused in bounded time.
async fn expect_all_closed(server: &Server, known: &Known) {
    let (mut token, mut key, mut me, mut keys) = (server.auth(), server.auth(), server.auth(), server.keys());
    let make = pb::CreateKeyRequest { name: "another".to_owned(), ..Default::default() };
    let all = async {
        tokio::join!(
            token.validate_credential(question(&known.access_token)),
            key.validate_credential(question(&known.key)),
            me.get_me(bearer(&known.access_token, pb::GetMeRequest {})),
            keys.create_key(bearer(&known.access_token, make)),
            server.login(EMAIL, PASSWORD),
            server.login("nobody@example.com", PASSWORD),
            server.refresh(&known.refresh_token),
        )
    };
    let answers = timeout(BOUND, all).await.expect("answers in bounded time");
    expect_closed("an access token", answers.0);
    expect_closed("a key", answers.1);
    expect_closed("GetMe", answers.2);
    expect_closed("CreateKey", answers.3);
    expect_closed("Login", answers.4);
    expect_closed("Login of nobody", answers.5);
    expect_closed("Refresh", answers.6);
}

/// Expects that of a batch what needs no database is answered.
async fn expect_batch_answers_what_it_can(server: &Server, known: &Known) {
    let credentials = [known.access_token.as_str(), "", "garbage", "csk_garbage", &known.key];
    let request =
        pb::BatchValidateCredentialsRequest { requests: credentials.into_iter().map(question).collect() };
    let mut auth = server.auth();
    let answer =
        timeout(BOUND, auth.batch_validate_credentials(request)).await.expect("an answer in bounded time");
    let statuses: Vec<_> =
        answer.unwrap().into_inner().responses.iter().map(pb::ValidateCredentialResponse::status).collect();
    let (unknown, invalid) = (CredentialStatus::Unspecified, CredentialStatus::Invalid);
    assert_eq!(statuses, [unknown, invalid, invalid, invalid, unknown]);
}

/// Expects that REST says the same, and that what needs no database is answered.
async fn expect_rest_says_so(server: &Server, known: &Known) {
    let bearer = format!("Bearer {}", known.access_token);
    let path = "/api/v1/users/me";
    let headers = [("authorization", bearer.as_str())];
    let answer = timeout(BOUND, server.rest(http::Method::GET, path, &headers, None));
    let (status, problem) = answer.await.expect("an answer in bounded time");
    let reason = problem["reason"].as_str().unwrap_or_default().to_owned();
    let known = [(503, "STORAGE_UNAVAILABLE"), (504, "DEADLINE_EXCEEDED")];
    assert!(known.contains(&(status.as_u16(), &reason)), "{status} {problem}");
    expect_no_internals("REST", &problem.to_string());

    let keys = server.auth().list_verification_keys(pb::ListVerificationKeysRequest {}).await.unwrap();
    assert_eq!(keys.into_inner().keys.len(), 1);
    let malformed = server.validate("garbage").await;
    assert_eq!(malformed.status(), CredentialStatus::Invalid);
}

/// Nor does a scrape wait for the database.
async fn expect_the_operator_is_told(server: &Server) {
    let (status, reasons) = server.told("/readyz").await;
    let reason = "the database has been away for longer than validation.max_staleness\n";
    assert_eq!((status.as_u16(), reasons.as_str()), (503, reason));
    assert_eq!(server.told("/livez").await.0, 200);
    let (status, page) = timeout(BOUND, server.told("/metrics")).await.expect("a page in bounded time");
    assert!(status == 200 && page.contains("\ncountersign_ready 0\n"), "{page}");
    assert!(!page.contains("countersign_mails_waiting"), "{page}");
}

/// The line is disturbed in this way for a while.
async fn outage(line: Line) {
    let proxy = Proxy::start().await;
    let database = proxy.before(Database::create(Kind::Postgres).await);
    // By the machine's clock, so that the database is asked for the time.
    let setup = Setup::on(database, Clock::System).set("VALIDATION__MAX_STALENESS", "1s");
    let server = setup.start().await;
    let known = Known::make(&server).await;
    wait_for_health(&server, ServingStatus::Serving).await;

    proxy.set(line);
    wait_for_health(&server, ServingStatus::NotServing).await;
    expect_all_closed(&server, &known).await;
    expect_batch_answers_what_it_can(&server, &known).await;
    expect_rest_says_so(&server, &known).await;
    expect_the_operator_is_told(&server).await;
    // More than there are connections.
    let crowd: Vec<_> = (0..60)
        .map(|_| {
            let (mut auth, request) = (server.auth(), question(&known.access_token));
            tokio::spawn(async move { auth.validate_credential(request).await })
        })
        .collect();
    for each in crowd {
        let answer = timeout(BOUND, each).await.expect("an answer in bounded time");
        expect_closed("one of many", answer.unwrap());
    }

    proxy.set(Line::Open);
    wait_for_health(&server, ServingStatus::Serving).await;
    known.wait_for_good(&server).await;
    // Nor was the refresh that was refused half done.
    server.refresh(&known.refresh_token).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_cut_off_closes_the_service_and_it_heals() {
    outage(Line::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_closes_the_service_and_it_heals() {
    outage(Line::Silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_dead_for_good_are_given_up() {
    outage(Line::Dead).await;
}

/// The line is disturbed in this way, for less than `validation.max_staleness`.
async fn short_outage(line: Line) {
    let proxy = Proxy::start().await;
    let database = proxy.before(Database::create(Kind::Postgres).await);
    let server = Setup::on(database, Clock::System).start().await;
    let known = Known::make(&server).await;
    let access_token = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
    let ended = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
    server.logout(&ended).await.unwrap();
    let cold = server.create_key(&known.access_token, &[]).await.secret;
    wait_for_health(&server, ServingStatus::Serving).await;

    proxy.set(line);
    // From the first moment on, and long after; a token that was never seen, too.
    for _ in 0..50 {
        for credential in [&known.access_token, &known.key, &access_token] {
            let answer = server.validate(credential).await;
            assert_eq!(answer.status(), CredentialStatus::Valid);
        }
        assert_eq!(server.status_of(&ended).await, CredentialStatus::Revoked);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was not asked for before is not known.
    let mut auth = server.auth();
    expect_closed("a cold key", auth.validate_credential(question(&cold)).await);
    assert_eq!(health(&server).await, ServingStatus::Serving);
    let answer = server.validate(&known.access_token).await;
    let until = answer.cacheable_until_time.unwrap();
    assert!(until.seconds <= Clock::System.now().seconds(), "no answer may be kept: {until:?}");

    proxy.set(Line::Open);
    known.wait_for_good(&server).await;
    // The feed's reader may see that the database is back a moment later than who signs in.
    let answered = timeout(NOTICE, async {
        while server.auth().validate_credential(question(&cold)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    answered.await.expect("cold keys are answered again");
    assert_eq!(server.status_of(&cold).await, CredentialStatus::Valid);
    assert_eq!(server.status_of(&ended).await, CredentialStatus::Revoked);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_is_bridged_from_memory() {
    // S34
    short_outage(Line::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_hang_is_bridged_from_memory() {
    // S34
    short_outage(Line::Silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_is_noticed_while_nobody_calls() {
    let proxy = Proxy::start().await;
    let database = proxy.before(Database::create(Kind::Postgres).await);
    let setup = Setup::on(database, Clock::System).set("VALIDATION__MAX_STALENESS", "1s");
    let server = setup.start().await;
    wait_for_health(&server, ServingStatus::Serving).await;
    proxy.set(Line::Silent);
    wait_for_health(&server, ServingStatus::NotServing).await;
    proxy.set(Line::Open);
    wait_for_health(&server, ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_is_healed_at_once() {
    let proxy = Proxy::start().await;
    let database = proxy.before(Database::create(Kind::Postgres).await);
    let server = Setup::on(database, Clock::System).start().await;
    let known = Known::make(&server).await;
    for _ in 0..5 {
        proxy.set(Line::Cut);
        tokio::time::sleep(Duration::from_millis(20)).await;
        proxy.set(Line::Open);
        known.wait_for_good(&server).await;
    }
}

async fn sqlite(path: &str) -> SyncConnectionWrapper<SqliteConnection> {
    SyncConnectionWrapper::establish(path).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_another_writes_to_refuses_writes_and_heals() {
    let server = Setup::new(Kind::Sqlite).await.system_clock().start().await;
    let known = Known::make(&server).await;
    let path = server.database.url.strip_prefix("sqlite://").unwrap();
    let mut other = sqlite(path).await;
    other.batch_execute("BEGIN EXCLUSIVE").await.unwrap();

    let make = pb::CreateKeyRequest { name: "another".to_owned(), ..Default::default() };
    let (login, refresh, mut keys) =
        (server.login(EMAIL, PASSWORD), server.refresh(&known.refresh_token), server.keys());
    let writes = async { tokio::join!(login, refresh, keys.create_key(bearer(&known.access_token, make))) };
    let (login, refresh, key) = timeout(BOUND, writes).await.expect("answers in bounded time");
    expect_closed("Login", login);
    expect_closed("Refresh", refresh);
    expect_closed("CreateKey", key);
    // Reading goes on.
    for credential in [&known.access_token, &known.key] {
        assert_eq!(server.validate(credential).await.status(), CredentialStatus::Valid);
    }

    other.batch_execute("ROLLBACK").await.unwrap();
    known.wait_for_good(&server).await;
    server.refresh(&known.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_is_no_database_any_more_closes_the_service() {
    let setup = Setup::new(Kind::Sqlite).await.system_clock().set("VALIDATION__MAX_STALENESS", "1s");
    let server = setup.start().await;
    let known = Known::make(&server).await;
    let path = server.database.url.strip_prefix("sqlite://").unwrap();
    sqlite(path).await.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    let length = std::fs::read(path).unwrap().len();
    std::fs::write(path, vec![b'x'; length]).unwrap();
    wait_for_health(&server, ServingStatus::NotServing).await;
    let answer = server.auth().validate_credential(question(&known.access_token)).await;
    let status = answer.expect_err("no answer");
    assert!(["STORAGE_UNAVAILABLE", "INTERNAL"].contains(&reason(&status).as_str()), "{status:?}");
    expect_no_internals("a broken file", status.message());
}
