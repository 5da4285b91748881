//! The program itself: what it prints, how it exits, what it leaves on the disk, and how it starts and stops.
//!
//! It is long for being one list of what the command line promises; the means to run the program come first.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
#[expect(dead_code, reason = "other test binaries use the rest")]
mod authority;
#[expect(dead_code, reason = "other test binaries use the rest")]
mod common;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/postgres.rs"]
mod postgres;
#[path = "cli/tls.rs"]
mod tls;
#[path = "cli/trace.rs"]
mod trace;
#[path = "cli/user.rs"]
mod user;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::Database;

/// How long anything may take. Nothing depends on it but that a hang is a failure.
const LONG: Duration = Duration::from_mins(1);
const EMAIL: &str = "user@example.com";
const PASSWORD: &str = "correct horse battery";
const REGISTER: &str = "/api/v1/auth/register";
const LOGIN: &str = "/api/v1/auth/login";
/// 32 bytes that are not random.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A working directory, with what is set in the environment of each command that runs there.
struct Place {
    directory: TempDir,
    env: Vec<(&'static str, String)>,
}

impl Place {
    fn empty() -> Self {
        let env = vec![
            ("COUNTERSIGN_SERVER__LISTEN", "127.0.0.1:0".to_owned()),
            ("COUNTERSIGN_SERVER__METRICS_LISTEN", "off".to_owned()),
        ];
        Self { directory: tempfile::tempdir().unwrap(), env }
    }

    /// Anywhere, with this database.
    fn on(database: &Database) -> Self {
        Self::empty()
            .set("COUNTERSIGN_DATABASE__URL", &database.url)
            .set("COUNTERSIGN_SECRETS__MASTER_KEY", MASTER_KEY)
    }

    fn set(self, name: &'static str, value: impl Into<String>) -> Self {
        let mut place = self.unset(name);
        place.env.push((name, value.into()));
        place
    }

    fn unset(mut self, name: &'static str) -> Self {
        self.env.retain(|(other, _)| *other != name);
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(arguments).current_dir(self.directory.path()).env_clear().envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // A command that does not read it may have ended before.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let (ended, outcome) = channel();
        let id = child.id();
        thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
        let output = outcome.recv_timeout(LONG).unwrap_or_else(|_| {
            signal(id, Signal::KILL);
            panic!("countersign {arguments:?} does not end")
        });
        Ran::new(&output)
    }

    /// Starts the service.
    fn start(&self) -> Service {
        let mut child = self.command(&["serve"]).spawn().unwrap();
        let (said, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
        Service { child, lines, address: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// Starts the service and waits until it listens.
    fn serve(&self) -> Service {
        let mut service = self.start();
        let line = service.line_with("listening on ");
        let address = line.rsplit_once("listening on ").unwrap().1;
        let end =
            address.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(address.len());
        service.address = address[..end].parse().unwrap();
        service
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Expects this code and one line of complaint, which holds these words. Log lines come before it.
    #[track_caller]
    fn expect_complaint(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let complaints: Vec<_> = self.stderr.lines().filter(|line| !line.starts_with('{')).collect();
        assert_eq!(complaints.len(), 1, "{self:?}");
        for word in words {
            assert!(complaints[0].contains(word), "{word:?} is not in {:?}", complaints[0]);
        }
    }
}

/// A running service. It is killed when the test is over.
struct Service {
    child: Child,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
}

impl Service {
    /// Reads the log up to a line with this text.
    fn line_with(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(LONG) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(cause) => panic!("{text:?} was not said ({cause}), but {seen:#?}"),
            }
        }
    }

    fn terminate(&self) {
        signal(self.child.id(), Signal::TERM);
    }

    /// Waits for the end and tells the exit code. The log ends with the process.
    fn code(&mut self) -> Option<i32> {
        while self.lines.recv_timeout(LONG).is_ok() {}
        self.child.wait().unwrap().code()
    }

    fn stop(mut self) {
        self.terminate();
        assert_eq!(self.code(), Some(0));
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_with(path, body, "")
    }

    /// With further headers, a line each.
    fn post_with(&self, path: &str, body: &Value, headers: &str) -> (u16, Value) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        let body = body.to_string();
        let head = head(path, body.len(), &format!("connection: close\r\n{headers}"));
        socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
        answer(socket)
    }

    /// A registration whose body the server waits for.
    fn begin(&self) -> (TcpStream, String) {
        let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.write_all(head(REGISTER, body.len(), "expect: 100-continue\r\n").as_bytes()).unwrap();
        let mut go_on = [0; 25];
        socket.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        (socket, body)
    }
}

fn head(path: &str, length: usize, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n"
    )
}

/// The status and the body, once the server has closed.
fn answer(mut socket: TcpStream) -> (u16, Value) {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer but {text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn account() -> Value {
    json!({"email": EMAIL, "password": PASSWORD})
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn help_and_version_are_printed_and_an_unknown_flag_is_refused() {
    let place = Place::empty();
    for command in
        [&["--help"][..], &["serve", "--help"], &["user", "create", "--help"], &["help", "migrate"]]
    {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command:?}");
        assert!(ran.stdout.contains("Usage: countersign"), "{ran:?}");
    }
    assert!(place.run(&["--help"]).stdout.contains("Exit codes"));
    let version = place.run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout.trim(), format!("countersign {}", env!("CARGO_PKG_VERSION")));
    for command in [&["--no-such"][..], &["serve", "--no-such"], &["no-such"], &["user", "create"], &[]] {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(64), ""), "{command:?}");
        assert!(!ran.stderr.is_empty());
    }
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn all_faults_of_a_configuration_are_listed_a_line_each() {
    let file = "
        server.reflection = 'perhaps'
        server.drain_timeout = 'soon'
        server.tls.client_ca = 'ca.pem'
        tokens.rotate_every = '1h'
        tokens.acess_ttl = '15m'
        accounts.default_scopes = ['read', 'countersign:admin']
        ";
    let in_file = [
        "server.reflection",
        "server.drain_timeout",
        "tokens.rotate_every",
        "tokens.acess_ttl",
        "accounts.default_scopes",
    ];
    // Missing, so set nowhere.
    let missing = ["server.tls.cert", "server.tls.key"];
    let in_environment = [
        ("COUNTERSIGN_SERVER__LISTEN", "nowhere", "server.listen"),
        ("COUNTERSIGN_SERVER__PUBLIC_URL", "auth.example.com", "server.public_url"),
        ("COUNTERSIGN_SERVER__CORS_ORIGINS", "*", "server.cors_origins"),
        ("COUNTERSIGN_SERVER__TRUSTED_PROXIES", "10.0.0.0/99", "server.trusted_proxies"),
        ("COUNTERSIGN_DATABASE__URL", "mysql://host/db", "database.url"),
        ("COUNTERSIGN_SECRETS__MASTER_KEY", "c2hvcnQ-secret-canary", "secrets.master_key"),
        ("COUNTERSIGN_PASSWORDS__MIN_LENGTH", "-1", "passwords.min_length"),
    ];
    let place = in_environment.iter().fold(Place::empty(), |place, (name, value, _)| place.set(name, *value));
    fs::write(place.path("countersign.toml"), file).unwrap();
    let faults: Vec<_> = in_environment
        .map(|(name, _, key)| (key, name))
        .into_iter()
        .chain(in_file.map(|key| (key, "countersign.toml")))
        .chain(missing.map(|key| (key, "required with server.tls.client_ca")))
        .collect();
    assert!(faults.len() >= 10);
    for command in ["serve", "config", "migrate", "healthcheck"] {
        let ran = place.run(&[command]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(64), faults.len()), "{command}: {ran:?}");
        assert_eq!(ran.stdout, "");
        for (key, origin) in &faults {
            let line = ran.stderr.lines().find(|line| line.starts_with(&format!("{key}: ")));
            let line = line.unwrap_or_else(|| panic!("nothing of {key}: {ran:?}"));
            assert!(line.contains(origin), "{line} does not say {origin}");
        }
        assert!(!ran.stderr.contains("canary"), "{ran:?}");
    }
}

#[test]
fn config_shows_where_values_were_set_and_no_secrets() {
    let place = Place::empty()
        .set("COUNTERSIGN_SECRETS__MASTER_KEY", MASTER_KEY)
        .set("COUNTERSIGN_DATABASE__URL", "postgres://user:canary-word@127.0.0.1:1/auth")
        .set("COUNTERSIGN_MAIL__SMTP_URL", "smtp://user:canary-stamp@mail.example.com");
    fs::write(place.path("countersign.toml"), "[tokens]\naudience = \"my-api\"\n").unwrap();
    let ran = place.run(&["config", "--listen", "127.0.0.1:7777"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for secret in [MASTER_KEY, "canary-word", "canary-stamp"] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{ran:?}");
    }
    for (value, origin) in [
        ("127.0.0.1:7777", "--listen"),
        ("my-api", "countersign.toml"),
        ("127.0.0.1:1/auth", "COUNTERSIGN_DATABASE__URL"),
    ] {
        let line = ran.stdout.lines().find(|line| line.contains(value));
        assert!(line.is_some_and(|line| line.contains(origin)), "{value} from {origin}: {}", ran.stdout);
    }
}

#[test]
fn serve_works_in_an_empty_directory_and_keeps_what_it_makes_to_its_owner() {
    let place = Place::empty();
    let service = place.serve();
    let (status, tokens) = service.post(REGISTER, &account());
    assert_eq!(status, 200, "{tokens}");
    for name in ["countersign.key", "countersign.db", "countersign.db-wal", "countersign.db-shm"] {
        assert_eq!(mode(&place.path(name)), 0o600, "{name}");
    }
    service.stop();
    // All of it is there after a restart.
    let service = place.serve();
    assert_eq!(service.post(LOGIN, &account()).0, 200);
    assert_eq!(
        service.post("/api/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).0,
        200
    );
}

#[test]
fn a_person_is_told_where_it_listens_and_what_to_try() {
    let place = Place::empty().set("COUNTERSIGN_TELEMETRY__LOG_FORMAT", "text");
    let mut service = place.serve();
    let stdout = BufReader::new(service.child.stdout.take().unwrap());
    let mut lines = stdout.lines().map(Result::unwrap);
    let listening = lines.find(|line| line.contains("listening")).unwrap();
    assert!(listening.contains(&format!("http://{}", service.address)), "{listening}");
    assert!(lines.any(|line| line.contains("curl ")));
}

#[test]
fn where_it_listens_for_services_is_told_with_the_rest() {
    let place = Place::empty()
        .set("COUNTERSIGN_TELEMETRY__LOG_FORMAT", "text")
        .set("COUNTERSIGN_SERVER__INTERNAL_LISTEN", "127.0.0.1:0");
    let mut service = place.start();
    let logged = service.line_with("listening on 127.0.0.1:");
    let (_, internal) = logged.split_once(", and for services on ").unwrap();
    let internal = internal.split(' ').next().unwrap();
    let stdout = BufReader::new(service.child.stdout.take().unwrap());
    let told = stdout.lines().map(Result::unwrap).find(|line| line.contains("internal")).unwrap();
    assert!(told.contains(&format!("http://{internal} ")), "{told}, {internal}");
}

#[test]
fn a_port_in_use_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = Place::empty().run(&["serve", "--listen", &address]);
    ran.expect_complaint(69, &["server.listen", &address]);
    let place = Place::empty().set("COUNTERSIGN_SERVER__INTERNAL_LISTEN", &address);
    place.run(&["serve"]).expect_complaint(69, &["server.internal_listen", &address]);
}

#[test]
fn a_database_that_does_not_answer_is_one_line() {
    // One that refuses, one that takes the connection and says nothing, and one that does not exist.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    for url in [
        "postgres://user:canary-word@127.0.0.1:1/auth".to_owned(),
        format!("postgres://user:canary-word@{silent}/auth"),
        "postgres://user:canary-word@no-such-host.invalid/auth".to_owned(),
    ] {
        let place = Place::empty()
            .set("COUNTERSIGN_DATABASE__URL", &url)
            .set("COUNTERSIGN_SECRETS__MASTER_KEY", MASTER_KEY);
        for command in [&["serve"][..], &["migrate"], &["migrate", "--check"]] {
            let ran = place.run(command);
            ran.expect_complaint(69, &["database.url"]);
            assert!(!ran.stderr.contains("canary-word"), "{ran:?}");
        }
    }
}

#[test]
fn a_database_url_that_cannot_be_read_is_named() {
    let (good, bad) = ("postgres://user@127.0.0.1:1/auth", "postgres://user:canary-word@127.0.0.1:port/auth");
    for (url, direct_url, key) in [(bad, good, "database.url: "), (good, bad, "database.direct_url: ")] {
        let place = Place::empty()
            .set("COUNTERSIGN_DATABASE__URL", url)
            .set("COUNTERSIGN_DATABASE__DIRECT_URL", direct_url)
            .set("COUNTERSIGN_SECRETS__MASTER_KEY", MASTER_KEY);
        for command in [&["serve"][..], &["migrate"]] {
            let ran = place.run(command);
            ran.expect_complaint(64, &[key]);
            assert!(ran.stderr.starts_with(key) && !ran.stderr.contains("canary-word"), "{ran:?}");
        }
    }
}

#[test]
fn another_master_key_or_a_lost_one_is_a_fault_of_the_configuration() {
    // S58
    let place = Place::empty();
    place.serve().stop();
    let key = fs::read_to_string(place.path("countersign.key")).unwrap();
    let other = place.set("COUNTERSIGN_SECRETS__MASTER_KEY", MASTER_KEY);
    let ran = other.run(&["serve"]);
    ran.expect_complaint(64, &["secrets.master_key", "another master key"]);
    assert_eq!(ran.stderr.matches("secrets.master_key").count(), 1, "{ran:?}");
    let place = Place { env: Place::empty().env, ..other };
    fs::remove_file(place.path("countersign.key")).unwrap();
    place.run(&["serve"]).expect_complaint(64, &["secrets.master_key", "countersign.key"]);
    assert!(!place.path("countersign.key").exists(), "a new one would hide the loss");
    fs::write(place.path("countersign.key"), "nonsense").unwrap();
    place.run(&["serve"]).expect_complaint(64, &["secrets.master_key"]);
    fs::write(place.path("countersign.key"), key).unwrap();
    place.serve().stop();
}

#[test]
fn a_second_process_does_not_serve_the_same_file() {
    let place = Place::empty();
    let first = place.serve();
    place.run(&["serve"]).expect_complaint(69, &["database.url", "countersign.db"]);
    assert_eq!(first.post(REGISTER, &account()).0, 200);
    first.stop();
    place.serve().stop();
}

#[test]
fn migrations_are_checked_and_applied() {
    let place = Place::empty().set("COUNTERSIGN_DATABASE__MIGRATE_ON_START", "false");
    let check = place.run(&["migrate", "--check"]);
    assert_eq!((check.code, check.stdout.is_empty()), (Some(1), false), "{check:?}");
    place.run(&["serve"]).expect_complaint(69, &["migrations are pending", "countersign migrate"]);
    for _ in 0..2 {
        assert_eq!(place.run(&["migrate"]).code, Some(0));
    }
    assert_eq!(place.run(&["migrate", "--check"]).code, Some(0));
    place.serve().stop();
}

#[test]
fn healthcheck_says_whether_the_service_is_ready() {
    let place = Place::empty();
    let mut service = place.serve();
    let address = service.address.to_string();
    service.line_with("ready");
    let healthcheck = || place.run(&["healthcheck", "--listen", &address]);
    // It says so once it is, or just before.
    let ran = (0..100).map(|_| healthcheck()).find(|ran| ran.code == Some(0));
    assert_eq!(ran.map(|ran| ran.stdout), Some("ready\n".to_owned()));
    service.stop();
    healthcheck().expect_complaint(1, &[&address]);
}

#[test]
fn a_user_is_made_beside_a_running_service_where_registration_is_closed() {
    let place = Place::empty().set("COUNTERSIGN_ACCOUNTS__REGISTRATION", "closed");
    let create = |email, password| {
        place.run_with(&["user", "create", "--email", email, "--name", "Ann"], &format!("{password}\n"))
    };
    let service = place.serve();
    assert_eq!(service.post(REGISTER, &account()).0, 403);
    let made = create(EMAIL, PASSWORD);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.starts_with("usr_") && made.stdout.lines().count() == 1, "{made:?}");
    let (status, tokens) = service.post(LOGIN, &account());
    assert_eq!((status, tokens["user"]["id"].as_str()), (200, Some(made.stdout.trim())));
    assert_eq!(tokens["user"]["name"], "Ann");

    create("User@Example.COM", PASSWORD).expect_complaint(1, &["exists"]);
    create("nowhere", PASSWORD).expect_complaint(64, &["--email"]);
    create("other@example.com", "short").expect_complaint(64, &["password"]);
    create("other@example.com", "password1").expect_complaint(64, &[]);
    create("other@example.com", "").expect_complaint(64, &["password"]);
    // Also before anything was ever served.
    let made = Place::empty().run_with(&["user", "create", "--email", EMAIL], PASSWORD);
    assert_eq!(made.code, Some(0), "{made:?}");
}

#[test]
fn none_of_several_first_starts_at_once_fails() {
    for round in 0..30 {
        let place = Place::empty();
        let create = |number: usize| {
            let email = format!("user{number}@example.com");
            let made = place.run_with(&["user", "create", "--email", &email], PASSWORD);
            assert_eq!(made.code, Some(0), "round {round}: {made:?}");
        };
        thread::scope(|scope| (0..3).for_each(|number| drop(scope.spawn(move || create(number)))));
        // The master key that is left opens what all of them sealed.
        create(3);
    }
}

#[test]
fn a_call_in_flight_is_finished_before_the_exit() {
    let place = Place::empty();
    for stop in [Signal::TERM, Signal::INT] {
        let mut service = place.serve();
        let (mut socket, body) = service.begin();
        signal(service.child.id(), stop);
        service.line_with("draining");
        socket.write_all(body.as_bytes()).unwrap();
        let (status, answer) = answer(socket);
        assert!(status == 200 || status == 409 && stop == Signal::INT, "{status} {answer}");
        assert_eq!(service.code(), Some(0));
    }
    // What was answered is kept.
    assert_eq!(place.serve().post(LOGIN, &account()).0, 200);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::empty().set("COUNTERSIGN_SERVER__DRAIN_TIMEOUT", "1h");
    let mut service = place.serve();
    let (mut socket, _) = service.begin();
    service.terminate();
    service.line_with("draining");
    service.terminate();
    assert_eq!(service.code(), Some(130));
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(rest.is_empty());
    // The lock went with the process.
    place.serve().stop();
}
