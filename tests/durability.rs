//! What was acknowledged survives `kill -9` in the middle of a write load, a full disk, and other programs that open the
//! database file (S19).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other test binaries use the rest")]
mod common;
#[path = "api/mailbox.rs"]
#[expect(dead_code, reason = "no mail is read here")]
mod mailbox;
#[path = "api/support.rs"]
#[expect(dead_code, reason = "the service runs as a program here")]
mod support;

use std::{
    fs::File,
    io::{BufRead, BufReader},
    mem,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use countersign::{
    api::pb::{
        self, CredentialStatus, auth_service_client::AuthServiceClient, key_service_client::KeyServiceClient,
    },
    types::random,
};
use futures_util::future::try_join_all;
use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
    process::{Pid, Resource, Rlimit, getrlimit, prlimit},
};
use tonic::{Status, transport::Channel};

use common::{Database, Kind};
use support::{PASSWORD, bearer, reason};

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
const KILLS: usize = 20;
const CLIENTS: usize = 8;
/// How long the service may take to start. It takes a fraction of it.
const START: Duration = Duration::from_secs(30);

/// The program, on a port of its own choice.
struct Service {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Service {
    fn start(database: &Database) -> Self {
        Self::run(Command::new(PROGRAM).arg("serve"), database)
    }

    /// Starts it so that it may be given limits: a write beyond them fails, as on a full disk, and ends nothing.
    fn start_limited(database: &Database) -> Self {
        Self::run(Command::new("sh").args(["-c", "trap '' XFSZ; exec \"$0\" serve", PROGRAM]), database)
    }

    fn run(command: &mut Command, database: &Database) -> Self {
        let mut child = command
            .current_dir(database.directory())
            .env_clear()
            .env("COUNTERSIGN_SERVER__LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN_SERVER__METRICS_LISTEN", "off")
            .env("COUNTERSIGN_DATABASE__URL", &database.url)
            .env("COUNTERSIGN_SECRETS__MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
            .env("COUNTERSIGN_TELEMETRY__LOG_FORMAT", "json")
            // Longer than a slow machine may need from a kill to the question.
            .env("COUNTERSIGN_TOKENS__REFRESH_REUSE_GRACE", "5m")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (listening, address) = mpsc::channel();
        let copy = log.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some((_, address)) =
                    entry["message"].as_str().and_then(|m| m.split_once("listening on "))
                {
                    let _ = listening.send(address.parse().unwrap());
                }
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let address = address.recv_timeout(START).unwrap_or_else(|_| panic!("{}", log.lock().unwrap()));
        Self { child, address, log }
    }

    /// Limits the size of the files that it may write.
    fn limit_files(&self, bytes: Option<u64>) {
        let pid = Pid::from_child(&self.child);
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
    }

    fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }
}

impl Drop for Service {
    /// Kills it and nothing else: `Child::kill` is SIGKILL to the process that was started here.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if let Ok(log) = self.log.lock() {
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

/// How far the end of a credential has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    /// Asked for. Whether it took place nobody knows.
    Asked,
    Acknowledged,
}

struct Credential {
    secret: String,
    end: End,
}

/// An account, and what of it was acknowledged.
struct Person {
    email: String,
    /// The acknowledged display name, and the one that was asked for.
    names: [String; 2],
    /// Of the session that lasts: the latest answered tokens.
    access_token: String,
    refresh_token: String,
    /// The tokens that were exchanged, the latest last.
    spent: Vec<String>,
    /// API keys, and access tokens of sessions that were signed out of.
    credentials: Vec<Credential>,
}

type People = Arc<Mutex<Vec<Person>>>;

/// One client: asks, and notes what was acknowledged, until the service is gone.
struct Load {
    auth: AuthServiceClient<Channel>,
    keys: KeyServiceClient<Channel>,
    people: People,
}

impl Load {
    async fn run(mut self, round: usize, client: usize) {
        for number in 0.. {
            let email = format!("person{number}-client{client}-round{round}@example.com");
            if let Err(status) = self.person(email).await {
                // No answer at all is what a kill looks like. Any of the service's own would be a fault of this test.
                assert_eq!(reason(&status), "", "{status:?}");
                return;
            }
        }
    }

    /// Changes the person whom this client registered last.
    fn note(&self, note: impl FnOnce(&mut Person)) {
        note(self.people.lock().unwrap().last_mut().unwrap());
    }

    async fn person(&mut self, email: String) -> Result<(), Status> {
        let request =
            pb::RegisterRequest { email: email.clone(), password: PASSWORD.into(), name: String::new() };
        let tokens = self.auth.register(request).await?.into_inner();
        self.people.lock().unwrap().push(Person {
            email: email.clone(),
            names: Default::default(),
            access_token: tokens.access_token.clone(),
            refresh_token: tokens.refresh_token.clone(),
            spent: Vec::new(),
            credentials: Vec::new(),
        });
        let (mut access_token, mut refresh_token) = (tokens.access_token, tokens.refresh_token);
        for turn in 0..5 {
            let name = format!("name {turn}");
            self.note(|person| person.names[1].clone_from(&name));
            let request = pb::UpdateMeRequest { name: Some(name.clone()), update_mask: None };
            self.auth.update_me(bearer(&access_token, request)).await?;
            self.note(|person| person.names[0] = name);

            self.key(&access_token, turn % 2 == 1).await?;

            let request = pb::RefreshRequest { refresh_token: refresh_token.clone() };
            let tokens = self.auth.refresh(request).await?.into_inner();
            (access_token, refresh_token) = (tokens.access_token, tokens.refresh_token);
            self.note(|person| {
                person.access_token.clone_from(&access_token);
                person.spent.push(mem::replace(&mut person.refresh_token, refresh_token.clone()));
            });

            if turn % 4 == 3 {
                self.sign_in_and_out(&email).await?;
            }
        }
        Ok(())
    }

    async fn key(&mut self, access_token: &str, revoke: bool) -> Result<(), Status> {
        let request = pb::CreateKeyRequest { name: "key".to_owned(), ..Default::default() };
        let made = self.keys.create_key(bearer(access_token, request)).await?.into_inner();
        self.note(|person| person.credentials.push(Credential { secret: made.secret, end: End::No }));
        if revoke {
            self.note(|person| person.credentials.last_mut().unwrap().end = End::Asked);
            let request = pb::RevokeKeyRequest { key_id: made.key.unwrap().id };
            self.keys.revoke_key(bearer(access_token, request)).await?;
            self.note(|person| person.credentials.last_mut().unwrap().end = End::Acknowledged);
        }
        Ok(())
    }

    async fn sign_in_and_out(&mut self, email: &str) -> Result<(), Status> {
        let request = pb::LoginRequest { email: email.to_owned(), password: PASSWORD.to_owned() };
        let tokens = self.auth.login(request).await?.into_inner();
        self.note(|person| {
            person.credentials.push(Credential { secret: tokens.access_token, end: End::Asked });
        });
        let request = pb::LogoutRequest { refresh_token: Some(tokens.refresh_token) };
        self.auth.logout(request).await?;
        self.note(|person| person.credentials.last_mut().unwrap().end = End::Acknowledged);
        Ok(())
    }
}

/// Expects of each person all that was acknowledged, and takes the tokens that the questions yield.
async fn check(service: &Service, people: &mut [Person]) {
    let mut auth = AuthServiceClient::new(service.channel());
    for person in people {
        let mut asked = vec![(person.access_token.as_str(), End::No)];
        asked
            .extend(person.credentials.iter().map(|credential| (credential.secret.as_str(), credential.end)));
        for questions in asked.chunks(100) {
            let requests = questions
                .iter()
                .map(|(secret, _)| pb::ValidateCredentialRequest {
                    credential: (*secret).to_owned(),
                    required_scopes: Vec::new(),
                })
                .collect();
            let request = pb::BatchValidateCredentialsRequest { requests };
            let answers = auth.batch_validate_credentials(request).await.unwrap().into_inner().responses;
            assert_eq!(answers.len(), questions.len());
            for ((secret, end), answer) in questions.iter().zip(answers) {
                let right = match answer.status() {
                    CredentialStatus::Valid => *end != End::Acknowledged,
                    CredentialStatus::Revoked => *end != End::No,
                    _ => false,
                };
                assert!(right, "{}: {secret} is {:?}, end: {end:?}", person.email, answer.status());
            }
        }
        let me = auth.get_me(bearer(&person.access_token, pb::GetMeRequest {})).await.unwrap().into_inner();
        assert!(person.names.contains(&me.name), "{}: {:?} {:?}", person.email, me.name, person.names);

        let request = pb::RefreshRequest { refresh_token: person.refresh_token.clone() };
        let tokens = auth
            .refresh(request)
            .await
            .unwrap_or_else(|status| panic!("{}: {status:?}", person.email))
            .into_inner();
        person.access_token = tokens.access_token;
        person.spent.push(mem::replace(&mut person.refresh_token, tokens.refresh_token));
    }
}

/// Expects that this person's password is known.
async fn check_sign_in(service: &Service, person: &Person) {
    let request = pb::LoginRequest { email: person.email.clone(), password: PASSWORD.to_owned() };
    AuthServiceClient::new(service.channel()).login(request).await.unwrap();
}

/// Expects that an exchanged token is known to be that: it ends the session (S17).
async fn check_spent(service: &Service, person: &Person) {
    let mut auth = AuthServiceClient::new(service.channel());
    let request = pb::RefreshRequest { refresh_token: person.spent[0].clone() };
    let status = auth.refresh(request).await.expect_err("the token was exchanged");
    assert_eq!(reason(&status), "REFRESH_TOKEN_REUSED", "{}: {status:?}", person.email);
    let request = pb::ValidateCredentialRequest {
        credential: person.access_token.clone(),
        required_scopes: Vec::new(),
    };
    let answer = auth.validate_credential(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), CredentialStatus::Revoked, "{}", person.email);
}

on_both! {
    async fn what_was_acknowledged_is_there_after_each_of_twenty_kills(database: Kind) {
        // S19
        let database = Database::create(database).await;
        let mut all = Vec::new();
        let mut service = Service::start(&database);
        for round in 0..KILLS {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    // A connection each.
                    let channel = service.channel();
                    let people = People::default();
                    let load = Load {
                        auth: AuthServiceClient::new(channel.clone()),
                        keys: KeyServiceClient::new(channel),
                        people: people.clone(),
                    };
                    (people, tokio::spawn(load.run(round, client)))
                })
                .collect();
            // Into the middle of it.
            while !clients.iter().any(|(people, _)| !people.lock().unwrap().is_empty()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let moment = u64::from(random::bytes::<1>()[0]) * 2;
            tokio::time::sleep(Duration::from_millis(100 + moment)).await;
            drop(service);

            let mut people = Vec::new();
            for (noted, task) in clients {
                task.await.unwrap();
                people.append(&mut noted.lock().unwrap());
            }
            service = Service::start(&database);
            check(&service, &mut people).await;
            check_sign_in(&service, &people[0]).await;
            all.append(&mut people);
        }
        // Nor does a later kill take what an earlier one left.
        check(&service, &mut all).await;
        for person in &all {
            check_spent(&service, person).await;
        }
        let credentials: usize = all.iter().map(|person| person.credentials.len()).sum();
        let refreshes: usize = all.iter().map(|person| person.spent.len()).sum();
        let load = all.len() > KILLS && credentials > KILLS && refreshes > KILLS;
        assert!(load, "no load: {} people, {credentials} credentials, {refreshes} refreshes", all.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_acknowledged_that_was_not_kept() {
    let database = Database::create(Kind::Sqlite).await;
    let service = Service::start_limited(&database);
    let people = People::default();
    let mut load = Load {
        auth: AuthServiceClient::new(service.channel()),
        keys: KeyServiceClient::new(service.channel()),
        people: people.clone(),
    };
    let mut acknowledged = 0;
    for full in [false, true, false, true, false] {
        service.limit_files(full.then_some(0));
        for number in 0..3 {
            let email = format!("person{number}-of-{}@example.com", people.lock().unwrap().len());
            match load.person(email).await {
                Ok(()) => acknowledged += 1,
                Err(status) => assert_eq!(reason(&status), "STORAGE_UNAVAILABLE", "{status:?}"),
            }
        }
        assert_eq!(people.lock().unwrap().len(), acknowledged, "full: {full}");
        // Reading goes on.
        let first = people.lock().unwrap()[0].access_token.clone();
        load.auth.get_me(bearer(&first, pb::GetMeRequest {})).await.unwrap();
    }
    assert_eq!(acknowledged, 9);
    drop(service);
    let service = Service::start(&database);
    let mut people = mem::take(&mut *people.lock().unwrap());
    check(&service, &mut people).await;
}

async fn register_at_once(service: &Service, emails: impl Iterator<Item = String>) -> Vec<String> {
    let registered = try_join_all(emails.map(|email| {
        let request = pb::RegisterRequest { email, password: PASSWORD.into(), name: String::new() };
        // A connection each.
        let mut auth = AuthServiceClient::new(service.channel());
        async move {
            let token = auth.register(request).await?.into_inner().access_token;
            auth.get_me(bearer(&token, pb::GetMeRequest {})).await?;
            Ok::<_, Status>(token)
        }
    }));
    registered.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_reads_and_closes_is_not_lost() {
    // S19. Whoever closes the file last removes the write-ahead log, and tells by the locks whether that is him. A process
    // loses all its locks on a file when it closes that file anywhere, whatever else has it open.
    let database = Database::create(Kind::Sqlite).await;
    let service = Service::start(&database);
    let mut tokens = Vec::new();
    for round in 0..3 {
        let emails = (0..12).map(|number| format!("user{number}-of-{round}@example.com"));
        tokens.extend(register_at_once(&service, emails).await);
        // As SQLite before 3.51 asks; ours also looks at another file, and so would not be misled.
        let path = database.url.strip_prefix("sqlite://").unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let lock = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
        assert!(matches!(lock, Err(Errno::AGAIN | Errno::ACCESS)), "the file is not locked: {lock:?}");
        assert!(!database.query_text("SELECT email FROM users").await.is_empty());
    }
    tokens
        .extend(register_at_once(&service, (0..12).map(|number| format!("user{number}@example.com"))).await);
    drop(service);

    let service = Service::start(&database);
    let mut auth = AuthServiceClient::new(service.channel());
    for credential in tokens {
        let request = pb::ValidateCredentialRequest { credential, required_scopes: Vec::new() };
        let answer = auth.validate_credential(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), CredentialStatus::Valid);
    }
}
