//! Databases to test on. Each test has one of its own: a file, or a database in the cluster that
//! `COUNTERSIGN_TEST_POSTGRES` names. `make test` starts one; without it the tests on PostgreSQL fail, never skip.

use diesel::sqlite::SqliteConnection;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, sync_connection_wrapper::SyncConnectionWrapper,
};
use tempfile::TempDir;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// An empty database, gone with the value (a PostgreSQL one goes with its cluster).
pub struct Database {
    pub kind: Kind,
    pub url: String,
    directory: TempDir,
}

impl Database {
    pub async fn create(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}", directory.path().join("countersign.db").display()),
            Kind::Postgres => create_in_cluster(&cluster_url()).await,
        };
        Self { kind, url, directory }
    }

    /// A directory that lives as long as the database.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Runs SQL behind the service's back.
    pub async fn execute(&self, sql: &str) {
        match self.kind {
            Kind::Sqlite => {
                let path = self.url.strip_prefix("sqlite://").unwrap();
                let mut conn = SyncConnectionWrapper::<SqliteConnection>::establish(path).await.unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 5000").await.unwrap();
                conn.batch_execute(sql).await.unwrap();
            }
            Kind::Postgres => {
                AsyncPgConnection::establish(&self.url).await.unwrap().batch_execute(sql).await.unwrap();
            }
        }
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
