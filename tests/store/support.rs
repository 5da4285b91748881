//! A store on an empty, migrated database, and rows to put into it.

use std::{fmt::Debug, time::Duration};

use countersign::{
    store::{
        Conn, Result, Settings, Store, Tx,
        api_keys::{self, ApiKey, Secret},
        events::Event,
        mails::Mail,
        one_time_tokens::OneTimeToken,
        refresh_tokens::{self, RefreshToken},
        sessions::{self, Session},
        users::{self, User},
    },
    types::{
        Clock, Digest, Email, EventId, KeyId, MailId, Scopes, SessionId, Time, UserId, UserKind,
        event::{Action, Outcome},
        password::PasswordHash,
    },
};
use diesel::{QueryableByName, sql_types::Text, sqlite::SqliteConnection};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    sync_connection_wrapper::SyncConnectionWrapper,
};
use futures_util::future::join_all;

use crate::common::{Database, Kind};

/// An instant with all six digits behind the point.
pub const NOW: i64 = 1_800_000_000_123_457;

/// So many seconds after [`NOW`].
pub fn at(seconds: i64) -> Time {
    Time::from_micros(NOW + seconds * 1_000_000)
}

/// A store and its database.
pub struct Fixture {
    pub store: Store,
    pub clock: Clock,
    pub database: Database,
}

impl Fixture {
    /// Migrated, with a clock that stands at [`NOW`].
    pub async fn new(kind: Kind) -> Self {
        Self::with_clock(kind, Clock::manual(at(0))).await
    }

    pub async fn with_clock(kind: Kind, clock: Clock) -> Self {
        let fixture = Self::unmigrated(kind, clock).await;
        fixture.store.migrate().await.unwrap();
        fixture
    }

    pub async fn unmigrated(kind: Kind, clock: Clock) -> Self {
        let database = Database::create(kind).await;
        let store = Store::connect(&settings(&database.url), clock.clone()).await.unwrap();
        Self { store, clock, database }
    }

    pub async fn conn(&self) -> Conn {
        self.store.conn().await.unwrap()
    }

    /// Runs `work` in a transaction and commits it. What is to fail runs in `store.tx`.
    pub async fn write<T>(&self, work: impl AsyncFnOnce(&mut Tx) -> Result<T>) -> T {
        self.store.tx(work).await.unwrap()
    }

    /// What so many transactions yield that run at once; each has a number.
    pub async fn at_once<T>(&self, count: u16, work: impl AsyncFn(&mut Tx, u16) -> Result<T>) -> Vec<T> {
        let work = &work;
        join_all((0..count).map(|number| self.write(async move |tx| work(tx, number).await))).await
    }

    /// How many rows each batch of a sweep removes, until there are none left to remove.
    pub async fn batches(&self, sweep: impl AsyncFn(&mut Tx) -> Result<usize>) -> Vec<usize> {
        let mut batches = Vec::new();
        loop {
            match self.write(&sweep).await {
                0 => return batches,
                removed => batches.push(removed),
            }
        }
    }

    /// Returns once somebody waits for a lock; on PostgreSQL.
    pub async fn somebody_waits(&self) {
        let waiting = "SELECT CAST(pid AS text) AS value FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while self.texts(waiting).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The rows of a query with one column `value` of text, read behind the store's back.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            value: String,
        }
        let query = diesel::sql_query(sql);
        let rows: Vec<Row> = match self.database.kind {
            Kind::Sqlite => query.load(&mut self.sqlite().await).await.unwrap(),
            Kind::Postgres => query.load(&mut self.postgres().await).await.unwrap(),
        };
        rows.into_iter().map(|row| row.value).collect()
    }

    /// What the database says against a statement, run behind the store's back.
    pub async fn refusal(&self, sql: &str) -> String {
        let refused = match self.database.kind {
            Kind::Sqlite => self.sqlite().await.batch_execute(sql).await,
            Kind::Postgres => self.postgres().await.batch_execute(sql).await,
        };
        refused.expect_err(sql).to_string()
    }

    /// How the database would answer a query, as it says itself.
    pub async fn plan(&self, sql: &str) -> String {
        #[derive(QueryableByName)]
        struct Sqlite {
            #[diesel(sql_type = Text)]
            detail: String,
        }
        #[derive(QueryableByName)]
        struct Postgres {
            #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
            line: String,
        }
        let lines: Vec<String> = match self.database.kind {
            Kind::Sqlite => {
                let sql = format!("EXPLAIN QUERY PLAN {sql}");
                let rows: Vec<Sqlite> = diesel::sql_query(sql).load(&mut self.sqlite().await).await.unwrap();
                rows.into_iter().map(|row| row.detail).collect()
            }
            Kind::Postgres => {
                let sql = format!("EXPLAIN {sql}");
                let rows: Vec<Postgres> =
                    diesel::sql_query(sql).load(&mut self.postgres().await).await.unwrap();
                rows.into_iter().map(|row| row.line).collect()
            }
        };
        lines.join("\n")
    }

    async fn sqlite(&self) -> SyncConnectionWrapper<SqliteConnection> {
        SyncConnectionWrapper::establish(self.database.url.strip_prefix("sqlite://").unwrap()).await.unwrap()
    }

    async fn postgres(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.database.url).await.unwrap()
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> usize {
        let counted = self.texts(&format!("SELECT CAST(count(*) AS text) AS value FROM {table}")).await;
        counted[0].parse().unwrap()
    }

    /// An account, with nothing yet.
    pub async fn user(&self, name: &str) -> User {
        let user = user(name);
        self.write(async |tx| users::insert(tx, &user).await).await;
        user
    }

    /// A session of the user, made so many seconds after [`NOW`], that ends an hour later.
    pub async fn session(&self, user: &User, seconds: i64) -> Session {
        let session = session(user.id, seconds);
        self.write(async |tx| sessions::insert(tx, &session).await).await;
        session
    }

    pub async fn refresh_token(&self, session: &Session, number: u16) -> RefreshToken {
        let token = refresh_token(session.id, number);
        self.write(async |tx| refresh_tokens::insert(tx, &token).await).await;
        token
    }

    /// A key of the user, made so many seconds after [`NOW`], without a secret.
    pub async fn key(&self, user: &User, seconds: i64) -> ApiKey {
        let key = key(user.id, seconds);
        self.write(async |tx| api_keys::insert(tx, &key).await).await;
        key
    }

    pub async fn secret(&self, key: &ApiKey, number: u16) -> Secret {
        let secret = secret(key.id, number);
        self.write(async |tx| api_keys::insert_secret(tx, &secret).await).await;
        secret
    }
}

/// Reads a list page by page, two rows each, to its end.
pub async fn by_pages<T, I>(
    id: impl Fn(&T) -> I,
    mut page_after: impl AsyncFnMut(Option<I>, i64) -> Vec<T>,
) -> Vec<T> {
    let mut rows = Vec::new();
    loop {
        let page = page_after(rows.last().map(&id), 2).await;
        if page.is_empty() {
            return rows;
        }
        assert!(page.len() <= 2);
        rows.extend(page);
    }
}

pub fn settings(url: &str) -> Settings {
    Settings { url: url.into(), direct_url: url.into(), max_connections: 8 }
}

pub fn user(name: &str) -> User {
    User {
        id: UserId::generate(at(0)),
        email: format!("{name}@Example.com"),
        email_normalized: email(name).normalized().to_owned(),
        email_verified_time: None,
        name: name.to_owned(),
        password_hash: Some(PasswordHash::new("$argon2id$stand-in".to_owned())),
        password_version: 1,
        scopes: scopes(&["read", "write"]),
        disabled_time: None,
        create_time: at(0),
        update_time: at(0),
        kind: UserKind::Person,
    }
}

pub fn email(name: &str) -> Email {
    Email::parse(&format!("{name}@example.com")).unwrap()
}

pub fn scopes(list: &[&str]) -> Scopes {
    Scopes::parse(list).unwrap()
}

pub fn session(user_id: UserId, seconds: i64) -> Session {
    Session {
        id: SessionId::generate(at(seconds)),
        user_id,
        create_time: at(seconds),
        last_used_time: at(seconds),
        expire_time: at(seconds) + Duration::from_hours(1),
        ip_address: "2001:db8::1".to_owned(),
        user_agent: "Mozilla/5.0 (Größe)".to_owned(),
    }
}

pub fn refresh_token(session_id: SessionId, number: u16) -> RefreshToken {
    RefreshToken {
        digest: digest(number),
        session_id,
        predecessor: number.checked_sub(1).map(digest),
        create_time: at(0),
        used_time: None,
        successor_sealed: None,
    }
}

pub fn key(user_id: UserId, seconds: i64) -> ApiKey {
    ApiKey {
        id: KeyId::generate(at(seconds)),
        user_id,
        name: "deployment".to_owned(),
        hint: "csk_abc…wxyz".to_owned(),
        scopes: scopes(&["read"]),
        create_time: at(seconds),
        expire_time: None,
        last_used_time: None,
        revoke_time: None,
        rate_requests: None,
        rate_per_micros: None,
    }
}

pub fn secret(key_id: KeyId, number: u16) -> Secret {
    Secret { digest: digest(number), key_id, create_time: at(0), expire_time: None }
}

/// A token that expires a minute after [`NOW`].
pub fn one_time_token(user_id: UserId, number: u16) -> OneTimeToken {
    OneTimeToken {
        digest: digest(number),
        user_id,
        email: "Ann@Example.com".to_owned(),
        create_time: at(0),
        expire_time: at(60),
    }
}

/// A mail that is due so many seconds after [`NOW`].
pub fn mail(seconds: i64) -> Mail {
    Mail {
        id: MailId::generate(at(0)),
        kind: "verify_email".to_owned(),
        payload_sealed: Some("v4.local.sealed".to_owned()),
        attempts: 0,
        create_time: at(0),
        due_time: at(seconds),
        dead_time: None,
    }
}

/// An event so many seconds after [`NOW`].
pub fn event(user_id: UserId, seconds: i64) -> Event {
    Event {
        id: EventId::generate(at(seconds)),
        user_id: Some(user_id),
        action: Action::SignIn,
        outcome: Outcome::Failed,
        session_id: None,
        key_id: None,
        ip_address: "2001:db8::1".to_owned(),
        user_agent: "Mozilla/5.0 (Größe)".to_owned(),
        create_time: at(seconds),
        actor_user_id: None,
        actor_key_id: None,
    }
}

/// A digest that no other number has. Its first and last bytes are not text.
pub fn digest(number: u16) -> Digest {
    let mut bytes = [0xff; 32];
    bytes[30..].copy_from_slice(&number.to_be_bytes());
    Digest(bytes)
}

/// Expects two rows, or lists of them, to be equal in all that they show.
#[track_caller]
pub fn same(left: impl Debug, right: impl Debug) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

/// Expects that the database found the data wrong.
#[track_caller]
pub fn expect_refusal<T: Debug>(result: &Result<T>) {
    assert!(matches!(result, Err(countersign::store::Error::Refused(_))), "{result:?}");
}

/// Expects a row that has been there before.
#[track_caller]
pub fn expect_conflict<T: Debug>(result: &Result<T>) {
    assert!(matches!(result, Err(countersign::store::Error::Conflict)), "{result:?}");
}
