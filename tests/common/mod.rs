//! Databases to test on. Each test has one of its own: a file, or a database in the cluster that
//! `COUNTERSIGN_TEST_POSTGRES` names. `make test` starts one; without it the tests on PostgreSQL fail, never skip.
//! A test binary that uses a part of it says `#[expect(dead_code)]` where it declares the module.

use std::sync::Arc;

use countersign::types::Time;
use diesel::{dsl::sql, sql_types::Text, sqlite::SqliteConnection};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    sync_connection_wrapper::SyncConnectionWrapper,
};
use tempfile::TempDir;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A database of the test's own, gone with the last clone (a PostgreSQL one goes with its cluster).
#[derive(Clone)]
pub struct Database {
    pub kind: Kind,
    pub url: String,
    directory: Arc<TempDir>,
}

impl Database {
    pub async fn create(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}", directory.path().join("countersign.db").display()),
            Kind::Postgres => create_in_cluster(&cluster_url()).await,
        };
        Self { kind, url, directory: Arc::new(directory) }
    }

    /// A directory that lives as long as the database.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Runs SQL behind the service's back.
    pub async fn execute(&self, sql: &str) {
        match self.kind {
            Kind::Sqlite => self.sqlite().await.batch_execute(sql).await.unwrap(),
            Kind::Postgres => self.postgres().await.batch_execute(sql).await.unwrap(),
        }
    }

    /// The rows of a query for one column of text.
    pub async fn query_text(&self, query: &str) -> Vec<String> {
        let query = sql::<Text>(query);
        match self.kind {
            Kind::Sqlite => query.load(&mut self.sqlite().await).await.unwrap(),
            Kind::Postgres => query.load(&mut self.postgres().await).await.unwrap(),
        }
    }

    /// Every value in every table, with its column: `("users.name", "Alice")`. Bytes are in lower-case hexadecimal.
    pub async fn dump(&self) -> Vec<(String, String)> {
        let columns = match self.kind {
            Kind::Sqlite => {
                "SELECT t.name || '.' || c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '\\_\\_%' ESCAPE '\\'"
            }
            Kind::Postgres => {
                "SELECT table_name || '.' || column_name FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'"
            }
        };
        let mut dump = Vec::new();
        for place in self.query_text(columns).await {
            let (table, column) = place.split_once('.').unwrap();
            let text = match self.kind {
                Kind::Sqlite => format!(
                    "CASE typeof({column}) WHEN 'blob' THEN lower(hex({column})) ELSE CAST({column} AS text) END"
                ),
                Kind::Postgres => format!("CAST({column} AS text)"),
            };
            let rows = format!("SELECT {text} FROM {table} WHERE {column} IS NOT NULL");
            dump.extend(self.query_text(&rows).await.into_iter().map(|value| (place.clone(), value)));
        }
        dump
    }

    /// An instant as it is written in this database's SQL.
    pub fn time(&self, time: Time) -> String {
        let text = time.as_chrono().format("%F %T%.6f");
        match self.kind {
            Kind::Sqlite => format!("'{text}'"),
            Kind::Postgres => format!("TIMESTAMPTZ '{text}+00'"),
        }
    }

    async fn sqlite(&self) -> SyncConnectionWrapper<SqliteConnection> {
        let path = self.url.strip_prefix("sqlite://").unwrap();
        let mut conn = SyncConnectionWrapper::establish(path).await.unwrap();
        SimpleAsyncConnection::batch_execute(&mut conn, "PRAGMA busy_timeout = 5000").await.unwrap();
        conn
    }

    async fn postgres(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url).await.unwrap()
    }
}

/// The cluster's URL, of the form `postgres://user@host:port/postgres`.
pub fn cluster_url() -> String {
    std::env::var("COUNTERSIGN_TEST_POSTGRES")
        .expect("COUNTERSIGN_TEST_POSTGRES names a PostgreSQL cluster to test on; `make test` starts one")
}

async fn create_in_cluster(cluster: &str) -> String {
    let unique = u64::from_be_bytes(countersign::types::random::bytes());
    let name = format!("test_{unique}");
    let mut admin =
        AsyncPgConnection::establish(cluster).await.expect("the cluster of COUNTERSIGN_TEST_POSTGRES");
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (server, _) = cluster.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// Makes two tests of one: `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_both {
    ($(#[$attribute:meta])* async fn $name:ident($database:ident: Kind) $body:block) => {
        $(#[$attribute])*
        mod $name {
            use super::*;

            async fn test($database: Kind) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                test(Kind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                test(Kind::Postgres).await;
            }
        }
    };
}
