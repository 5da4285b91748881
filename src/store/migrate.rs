//! Migrations: the same versions and names on both databases.

use diesel::{
    QueryDsl, QueryResult,
    backend::Backend,
    connection::AnsiTransactionManager,
    migration::{Migration, MigrationSource},
    pg::Pg,
    result::Error::DatabaseError,
    sqlite::Sqlite,
};
use diesel_async::{AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{
    Error, Result, Store,
    conn::{Database, commit},
    connect::{postgres, sqlite},
};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Of the advisory lock under which one process at a time migrates: "ctrsign" as a number.
const LOCK: &str = "SELECT pg_advisory_lock(27993109412931438)";

diesel::table! {
    /// Diesel's own, of the migrations that were applied.
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}

impl Store {
    /// Applies what is pending and returns the names of what it applied. Many may call it at once, and all of them return
    /// when it is done. On PostgreSQL it uses a direct connection, because a pooler would lose the lock.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        match &self.database {
            Database::Postgres { direct, .. } => {
                let mut conn = postgres(direct).await?;
                // Another's migrations may take longer than a statement may.
                diesel::sql_query("SET statement_timeout = 0").execute(&mut conn).await?;
                diesel::sql_query("SET lock_timeout = 0").execute(&mut conn).await?;
                // Nor is the lock waited for when the process that wanted it is gone.
                diesel::sql_query("SET client_connection_check_interval = '5s'").execute(&mut conn).await?;
                diesel::sql_query(LOCK).execute(&mut conn).await?;
                apply(&mut AsyncMigrationHarness::new(conn), POSTGRES)
            }
            Database::Sqlite { path, .. } => {
                let mut conn = sqlite(path).await?;
                conn.spawn_blocking(|c| AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"))
                    .await?;
                let mut harness = AsyncMigrationHarness::new(conn);
                let applied = apply(&mut harness, SQLITE)?;
                commit(&mut harness.into_inner()).await?;
                Ok(applied)
            }
        }
    }

    /// The names of what is pending. It writes nothing, and needs no right to.
    pub async fn pending_migrations(&self) -> Result<Vec<String>> {
        let versions = __diesel_schema_migrations::table.select(__diesel_schema_migrations::version);
        match &self.database {
            Database::Postgres { direct, .. } => {
                let mut conn = postgres(direct).await?;
                pending::<Pg>(&POSTGRES, &applied(versions.load(&mut conn).await)?)
            }
            Database::Sqlite { path, .. } => {
                let mut conn = sqlite(path).await?;
                pending::<Sqlite>(&SQLITE, &applied(versions.load(&mut conn).await)?)
            }
        }
    }
}

/// The versions that were applied: none where Diesel has not made its table yet.
fn applied(versions: QueryResult<Vec<String>>) -> Result<Vec<String>> {
    match versions {
        Err(DatabaseError(_, info)) if info.message().contains("__diesel_schema_migrations") => {
            Ok(Vec::new())
        }
        versions => Ok(versions?),
    }
}

fn pending<DB: Backend>(source: &impl MigrationSource<DB>, applied: &[String]) -> Result<Vec<String>> {
    let mut all = source.migrations().map_err(|e| Error::Refused(e.to_string()))?;
    all.retain(|migration| !applied.contains(&migration.name().version().to_string()));
    all.sort_by_key(|migration| migration.name().to_string());
    Ok(names(&all))
}

fn apply<DB: Backend>(
    harness: &mut impl MigrationHarness<DB>,
    source: impl MigrationSource<DB>,
) -> Result<Vec<String>> {
    let pending = harness.pending_migrations(source).map_err(|e| Error::Refused(e.to_string()))?;
    harness.run_migrations(&pending).map_err(|e| Error::Refused(e.to_string()))?;
    Ok(names(&pending))
}

fn names<DB: Backend>(migrations: &[Box<dyn Migration<DB>>]) -> Vec<String> {
    migrations.iter().map(|migration| migration.name().to_string()).collect()
}
