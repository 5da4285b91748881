//! Migrations: the same versions and names on both databases.

use diesel::{
    backend::Backend,
    migration::{Migration, MigrationSource},
};
use diesel_async::{AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{
    Error, Result, Store,
    conn::Database,
    connect::{postgres, sqlite},
};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Of the advisory lock under which one process at a time migrates: "ctrsign" as a number.
const LOCK: &str = "SELECT pg_advisory_lock(27993109412931438)";

impl Store {
    /// Applies what is pending and returns the names of what it applied. On PostgreSQL many may call it at once, and all
    /// of them return when it is done; it uses a direct connection, because a pooler would lose the lock.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        match &self.database {
            Database::Postgres { direct, .. } => {
                let mut conn = postgres(direct).await?;
                // Another's migrations may take longer than a statement may.
                diesel::sql_query("SET statement_timeout = 0").execute(&mut conn).await?;
                diesel::sql_query("SET lock_timeout = 0").execute(&mut conn).await?;
                diesel::sql_query(LOCK).execute(&mut conn).await?;
                apply(&mut AsyncMigrationHarness::new(conn), POSTGRES)
            }
            Database::Sqlite { path, .. } => {
                let conn = sqlite(path).await?;
                apply(&mut AsyncMigrationHarness::new(conn), SQLITE)
            }
        }
    }

    /// The names of what is pending.
    pub async fn pending_migrations(&self) -> Result<Vec<String>> {
        match &self.database {
            Database::Postgres { direct, .. } => {
                let conn = postgres(direct).await?;
                pending(&mut AsyncMigrationHarness::new(conn), POSTGRES)
            }
            Database::Sqlite { path, .. } => {
                let conn = sqlite(path).await?;
                pending(&mut AsyncMigrationHarness::new(conn), SQLITE)
            }
        }
    }
}

fn apply<DB: Backend>(
    harness: &mut impl MigrationHarness<DB>,
    source: impl MigrationSource<DB>,
) -> Result<Vec<String>> {
    let pending = harness.pending_migrations(source).map_err(|e| Error::Refused(e.to_string()))?;
    harness.run_migrations(&pending).map_err(|e| Error::Refused(e.to_string()))?;
    Ok(names(&pending))
}

fn pending<DB: Backend>(
    harness: &mut impl MigrationHarness<DB>,
    source: impl MigrationSource<DB>,
) -> Result<Vec<String>> {
    let pending = harness.pending_migrations(source).map_err(|e| Error::Refused(e.to_string()))?;
    Ok(names(&pending))
}

fn names<DB: Backend>(migrations: &[Box<dyn Migration<DB>>]) -> Vec<String> {
    migrations.iter().map(|migration| migration.name().to_string()).collect()
}
