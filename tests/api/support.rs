//! The real service on a free port, and clients for its doors. Tests speak in verbs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    api::pb::{self, auth_service_client::AuthServiceClient, key_service_client::KeyServiceClient},
    app::{self, App},
    config::{Config, Faults, Sources},
    domain::{Domain, NewAccount},
    store::Store,
    types::{Clock, DisplayName, Email, Password, Time},
};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost_types::Timestamp;
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::{
    common::{Database, Kind},
    mailbox::Mailbox,
};

pub const EMAIL: &str = "user@example.com";
pub const PASSWORD: &str = "correct horse battery";
/// When a manual clock begins.
pub const START: i64 = 1_800_000_000_000_000;
/// 32 bytes that are not random.
pub const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A running service.
pub struct Server {
    pub database: Database,
    pub clock: Clock,
    pub address: SocketAddr,
    /// With `server.internal_listen`.
    pub internal_address: Option<SocketAddr>,
    /// Where the operator's tools ask.
    pub metrics_address: SocketAddr,
    pub mailbox: Mailbox,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// How a service is started.
pub struct Setup {
    pub database: Database,
    pub clock: Clock,
    env: Vec<(String, String)>,
}

impl Setup {
    /// On an empty database, with a clock that stands still.
    pub async fn new(kind: Kind) -> Self {
        let database = Database::create(kind).await;
        Self { database, clock: Clock::manual(Time::from_micros(START)), env: Vec::new() }
    }

    /// On this database, as another replica or after a restart.
    pub fn on(database: Database, clock: Clock) -> Self {
        Self { database, clock, env: Vec::new() }
    }

    /// Sets a configuration key: `("ACCOUNTS__REGISTRATION", "closed")`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.env.push((format!("COUNTERSIGN_{key}"), value.to_owned()));
        self
    }

    /// By the machine's clock.
    pub fn system_clock(mut self) -> Self {
        self.clock = Clock::System;
        self
    }

    /// Another replica's setup: the same database, the same clock.
    pub fn replica(&self) -> Self {
        Self::on(self.database.clone(), self.clock.clone())
    }

    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    pub fn config(&self) -> Config {
        self.load().expect("a good configuration")
    }

    pub fn load(&self) -> Result<Config, Faults> {
        let mail = self.database.directory().join("mail");
        let mut env = vec![
            ("COUNTERSIGN_SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("COUNTERSIGN_SERVER__METRICS_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("COUNTERSIGN_SERVER__PUBLIC_URL".to_owned(), "https://auth.example.com".to_owned()),
            ("COUNTERSIGN_DATABASE__URL".to_owned(), self.database.url.clone()),
            ("COUNTERSIGN_SECRETS__MASTER_KEY".to_owned(), MASTER_KEY.to_owned()),
            ("COUNTERSIGN_MAIL__TRANSPORT".to_owned(), "file".to_owned()),
            ("COUNTERSIGN_MAIL__DIR".to_owned(), mail.display().to_string()),
        ];
        env.retain(|(name, _)| self.env.iter().all(|(set, _)| set != name));
        env.extend(self.env.clone());
        let directory = self.database.directory().to_owned();
        let sources = Sources { file: None, env, flags: Vec::new(), cores: 2, terminal: false, directory };
        Config::load(&sources).map(|(config, _)| config)
    }

    /// The use cases alone, as the command line has them: no door, and nothing is done that is not called.
    pub async fn domain(&self) -> Arc<Domain> {
        let config = self.config();
        let mailer = app::mailer(&config).unwrap();
        let domain = app::domain(&config, self.store().await, self.clock.clone(), Some(mailer)).await;
        Arc::new(domain.unwrap())
    }

    /// The tables alone.
    pub async fn store(&self) -> Store {
        let config = self.config();
        let store = app::connect(&config, self.clock.clone()).await.unwrap();
        app::ready_schema(&config, &store).await.unwrap();
        store
    }

    pub async fn start(self) -> Server {
        let app = App::build(&self.config(), self.clock.clone()).await.expect("the service starts");
        let (address, internal_address) = (app.address().unwrap(), app.internal_address().unwrap());
        let metrics_address = app.metrics_address().unwrap().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(app.run_until(async move {
            let _ = stopped.await;
        }));
        let mailbox = Mailbox::default();
        let (database, clock) = (self.database, self.clock);
        Server {
            database,
            clock,
            address,
            internal_address,
            metrics_address,
            mailbox,
            stop: Some(stop),
            task,
        }
    }
}

impl Server {
    /// With defaults, on an empty database.
    pub async fn start(kind: Kind) -> Self {
        Setup::new(kind).await.start().await
    }

    /// Begins to stop it.
    pub fn begin_to_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Stops it and hands its database on.
    pub async fn stop(mut self) -> Database {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.task.await.unwrap();
        self.database
    }

    /// Another replica's setup: the same database, the same clock.
    pub fn replica(&self) -> Setup {
        Setup::on(self.database.clone(), self.clock.clone())
    }

    /// Stops it and starts it anew, with defaults.
    pub async fn restart(self) -> Self {
        let again = self.replica();
        self.stop().await;
        again.start().await
    }

    /// Moves the clock by so many seconds.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn channel(&self) -> Channel {
        Channel::from_shared(self.url("")).unwrap().connect_lazy()
    }

    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel())
    }

    pub fn keys(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.channel())
    }

    /// Registers `EMAIL` with `PASSWORD`.
    pub async fn register(&self) -> pb::TokenResponse {
        self.register_as(EMAIL).await
    }

    pub async fn register_as(&self, email: &str) -> pb::TokenResponse {
        let request = pb::RegisterRequest {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            name: String::new(),
        };
        self.auth().register(request).await.unwrap().into_inner()
    }

    pub async fn login(&self, email: &str, password: &str) -> Result<pb::TokenResponse, Status> {
        let request = pb::LoginRequest { email: email.to_owned(), password: password.to_owned() };
        self.auth().login(request).await.map(tonic::Response::into_inner)
    }

    pub async fn refresh(&self, token: &str) -> Result<pb::TokenResponse, Status> {
        let request = pb::RefreshRequest { refresh_token: token.to_owned() };
        self.auth().refresh(request).await.map(tonic::Response::into_inner)
    }

    pub async fn validate(&self, credential: &str) -> pb::ValidateCredentialResponse {
        self.validate_for(credential, &[]).await
    }

    pub async fn validate_for(&self, credential: &str, scopes: &[&str]) -> pb::ValidateCredentialResponse {
        let request = pb::ValidateCredentialRequest {
            credential: credential.to_owned(),
            required_scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        self.auth().validate_credential(request).await.unwrap().into_inner()
    }

    /// What a credential is worth, when no scope is asked for.
    pub async fn status_of(&self, credential: &str) -> pb::CredentialStatus {
        self.validate(credential).await.status()
    }

    /// Waits until a credential is worth this: what others do is not known here at once.
    pub async fn wait_for_status(&self, credential: &str, expected: pb::CredentialStatus) {
        self.wait_for_status_for(credential, &[], expected).await;
    }

    /// The same, when these scopes are asked for.
    pub async fn wait_for_status_for(
        &self,
        credential: &str,
        scopes: &[&str],
        expected: pb::CredentialStatus,
    ) {
        let status = async || self.validate_for(credential, scopes).await.status();
        for _ in 0..2000 {
            if status().await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} and not {expected:?}", status().await);
    }

    /// Changes users and keys beside the service, as a later version might, and waits until this replica knows.
    pub async fn change_beside(&self, sql: &str) {
        static SENTINELS: AtomicUsize = AtomicUsize::new(0);
        let email = format!("sentinel{}@example.com", SENTINELS.fetch_add(1, Ordering::SeqCst));
        let sentinel = self.register_as(&email).await.access_token;
        let session = self.validate(&sentinel).await.principal.unwrap().session_id;
        let session = session.trim_start_matches("ses_");
        let session = match self.database.kind {
            Kind::Sqlite => format!("X'{session}'"),
            Kind::Postgres => format!("CAST('{session}' AS uuid)"),
        };
        let now = self.database.time(self.clock.now());
        let later = self.database.time(self.clock.now() + Duration::from_hours(24));
        self.database
            .execute(&format!(
                "{sql}; INSERT INTO changes (kind, subject, create_time, expire_time)
                 SELECT 'user_changed', id, {now}, {later} FROM users
                 UNION ALL SELECT 'key_changed', id, {now}, {later} FROM api_keys
                 UNION ALL SELECT 'session_ended', {session}, {now}, {later}"
            ))
            .await;
        // The sentinel's user may be among those that changed.
        for _ in 0..2000 {
            if self.status_of(&sentinel).await != pb::CredentialStatus::Valid {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it is not seen: {sql}");
    }

    pub async fn get_me(&self, access_token: &str) -> Result<pb::User, Status> {
        let request = bearer(access_token, pb::GetMeRequest {});
        self.auth().get_me(request).await.map(tonic::Response::into_inner)
    }

    pub async fn verify_email(&self, token: &str) -> Result<pb::User, Status> {
        let request = pb::VerifyEmailRequest { token: token.to_owned() };
        self.auth().verify_email(request).await.map(tonic::Response::into_inner)
    }

    pub async fn resend_verification(&self, email: &str) -> Result<(), Status> {
        let request = pb::ResendVerificationRequest { email: email.to_owned() };
        self.auth().resend_verification(request).await.map(|_| ())
    }

    pub async fn forgot_password(&self, email: &str) -> Result<(), Status> {
        let request = pb::ForgotPasswordRequest { email: email.to_owned() };
        self.auth().forgot_password(request).await.map(|_| ())
    }

    pub async fn reset_password(&self, token: &str, new: &str) -> Result<(), Status> {
        let request = pb::ResetPasswordRequest { token: token.to_owned(), new_password: new.to_owned() };
        self.auth().reset_password(request).await.map(|_| ())
    }

    pub async fn request_email_change(
        &self,
        access_token: &str,
        new_email: &str,
        password: Option<&str>,
    ) -> Result<(), Status> {
        let request = pb::RequestEmailChangeRequest {
            new_email: new_email.to_owned(),
            password: password.map(str::to_owned),
        };
        self.auth().request_email_change(bearer(access_token, request)).await.map(|_| ())
    }

    pub async fn confirm_email_change(&self, token: &str) -> Result<pb::User, Status> {
        let request = pb::ConfirmEmailChangeRequest { token: token.to_owned() };
        self.auth().confirm_email_change(request).await.map(tonic::Response::into_inner)
    }

    /// What the caller's audit trail says, newest first: action and outcome, such as `SIGN_IN SUCCEEDED`.
    pub async fn events(&self, access_token: &str) -> Vec<String> {
        let request = bearer(access_token, pb::ListMyEventsRequest::default());
        let events = self.auth().list_my_events(request).await.unwrap().into_inner().events;
        let name = |event: pb::Event| {
            let action = event.action().as_str_name().trim_start_matches("EVENT_ACTION_").to_owned();
            format!("{action} {}", event.outcome().as_str_name().trim_start_matches("EVENT_OUTCOME_"))
        };
        events.into_iter().map(name).collect()
    }

    pub async fn change_password(&self, access_token: &str, current: &str, new: &str) -> Result<(), Status> {
        let request =
            pb::ChangePasswordRequest { current_password: current.to_owned(), new_password: new.to_owned() };
        self.auth().change_password(bearer(access_token, request)).await.map(|_| ())
    }

    /// Signs out by access token.
    pub async fn logout(&self, access_token: &str) -> Result<(), Status> {
        self.auth().logout(bearer(access_token, pb::LogoutRequest::default())).await.map(|_| ())
    }

    pub async fn revoke_key(&self, access_token: &str, key_id: &str) -> Result<(), Status> {
        let request = pb::RevokeKeyRequest { key_id: key_id.to_owned() };
        self.keys().revoke_key(bearer(access_token, request)).await.map(|_| ())
    }

    /// Waits until a query for one column of text finds nothing.
    pub async fn wait_for_none(&self, query: &str) {
        for _ in 0..2000 {
            if self.database.query_text(query).await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still there: {:?} by {query}", self.database.query_text(query).await);
    }

    /// What was written for other replicas to learn, oldest first.
    pub async fn changes(&self) -> Vec<String> {
        self.database.query_text("SELECT kind FROM changes ORDER BY id").await
    }

    /// Makes a key with these scopes.
    pub async fn create_key(&self, access_token: &str, scopes: &[&str]) -> pb::CreateKeyResponse {
        let request = pb::CreateKeyRequest {
            name: "test".to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ..Default::default()
        };
        self.keys().create_key(bearer(access_token, request)).await.unwrap().into_inner()
    }

    /// Calls the REST door. An answer without a body is `Null`.
    pub async fn rest(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let body = body.map(|body| body.to_string());
        let mut request = Request::builder().method(method).uri(self.url(path));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body.unwrap_or_default().into()).unwrap()).await;
        let (parts, body) = response.into_parts();
        (parts.status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    /// What the operator's tools are told at this path.
    pub async fn told(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(format!("http://{}{path}", self.metrics_address)).body(Full::default());
        let (parts, body) = self.send(request.unwrap()).await.into_parts();
        (parts.status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends any request, over HTTP/1.1.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Bytes> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let (parts, body) = client.request(request).await.expect("an answer").into_parts();
        http::Response::from_parts(parts, body.collect().await.expect("a whole answer").to_bytes())
    }
}

/// What an account is made of, for the use cases: this address, and `PASSWORD`.
pub fn account(email: &str) -> NewAccount {
    NewAccount {
        email: Email::parse(email).unwrap(),
        password: Password::parse(PASSWORD).unwrap(),
        name: DisplayName::parse("").unwrap(),
    }
}

/// A request that presents an access token.
pub fn bearer<T>(access_token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {access_token}").parse().unwrap());
    request
}

/// A request that presents an API key.
pub fn api_key<T>(secret: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("x-api-key", secret.parse().unwrap());
    request
}

/// A status's reason, such as `WRONG_EMAIL_OR_PASSWORD`; empty if it is not one of ours.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .filter(|info| info.domain == "countersign")
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// Expects a failure with this code and reason.
#[track_caller]
pub fn expect_status<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, expected: &str) {
    let status = result.expect_err("a failure");
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status:?}");
}

/// Expects `INVALID_FIELD` with a violation of this field.
#[track_caller]
pub fn expect_invalid<T: std::fmt::Debug>(result: Result<T, Status>, field: &str) {
    let status = result.expect_err("a failure");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{status:?}"
    );
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("violations").field_violations;
    assert!(violations.iter().any(|violation| violation.field == field), "{field}: {violations:?}");
}

/// So many seconds after `START`.
pub fn after_start(seconds: i64) -> Timestamp {
    Timestamp { seconds: START / 1_000_000 + seconds, nanos: 0 }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
