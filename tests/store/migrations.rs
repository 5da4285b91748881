//! Migrations on both databases, and whether `src/store/schema.rs` fits what they make.

use std::{collections::BTreeMap, fs, path::Path};

use countersign::{store::Store, types::Clock};
use diesel::sqlite::SqliteConnection;
use diesel_async::{
    AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, sync_connection_wrapper::SyncConnectionWrapper,
};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, settings},
};

/// The names of the migrations in a directory, in their order.
fn names(kind: Kind) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory(kind));
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn directory(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "migrations/sqlite",
        Kind::Postgres => "migrations/postgres",
    }
}

/// Undoes all migrations, by their `down.sql`.
async fn revert(fixture: &Fixture) {
    let kind = fixture.database.kind;
    let source =
        FileBasedMigrations::from_path(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory(kind))).unwrap();
    match kind {
        Kind::Sqlite => {
            let path = fixture.database.url.strip_prefix("sqlite://").unwrap();
            let conn = SyncConnectionWrapper::<SqliteConnection>::establish(path).await.unwrap();
            AsyncMigrationHarness::new(conn).revert_all_migrations(source).unwrap();
        }
        Kind::Postgres => {
            let conn = AsyncPgConnection::establish(&fixture.database.url).await.unwrap();
            AsyncMigrationHarness::new(conn).revert_all_migrations(source).unwrap();
        }
    }
}

/// The tables but for Diesel's own.
async fn tables(fixture: &Fixture) -> Vec<String> {
    fixture
        .texts(match fixture.database.kind {
            Kind::Sqlite => {
                "SELECT name AS value FROM sqlite_schema WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_\\_%' ESCAPE '\\' ORDER BY name"
            }
            Kind::Postgres => {
                "SELECT CAST(tablename AS text) AS value FROM pg_tables WHERE schemaname = 'public' \
                 AND tablename NOT LIKE '\\_\\_%' ORDER BY tablename"
            }
        })
        .await
}

#[test]
fn both_databases_have_the_same_migrations() {
    assert_eq!(names(Kind::Sqlite), names(Kind::Postgres));
    for kind in [Kind::Sqlite, Kind::Postgres] {
        for name in names(kind) {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory(kind)).join(name);
            assert!(
                directory.join("up.sql").is_file() && directory.join("down.sql").is_file(),
                "{directory:?}"
            );
        }
    }
}

on_both! {
    async fn what_is_pending_is_applied_once(database: Kind) {
        let fixture = Fixture::unmigrated(database, Clock::System).await;
        assert_eq!(fixture.store.pending_migrations().await.unwrap(), names(database));
        // To look writes nothing, not even what Diesel keeps for itself.
        assert_eq!(fixture.texts(match database {
            Kind::Sqlite => "SELECT name AS value FROM sqlite_schema",
            Kind::Postgres => "SELECT CAST(tablename AS text) AS value FROM pg_tables WHERE schemaname = 'public'",
        }).await, Vec::<String>::new());
        assert_eq!(fixture.store.migrate().await.unwrap().len(), names(database).len());
        assert_eq!(fixture.store.pending_migrations().await.unwrap(), Vec::<String>::new());
        assert_eq!(fixture.store.migrate().await.unwrap(), Vec::<String>::new());
    }
}

on_both! {
    async fn what_was_applied_is_called_as_what_was_pending(database: Kind) {
        let fixture = Fixture::unmigrated(database, Clock::System).await;
        let pending = fixture.store.pending_migrations().await.unwrap();
        assert_eq!(fixture.store.migrate().await.unwrap(), pending);
    }
}

on_both! {
    async fn all_of_it_can_be_undone_and_done_again(database: Kind) {
        let fixture = Fixture::new(database).await;
        let made = tables(&fixture).await;
        assert_eq!(made.len(), schema().len());
        fixture.user("ann").await;
        revert(&fixture).await;
        assert_eq!(tables(&fixture).await, Vec::<String>::new());
        assert_eq!(fixture.store.pending_migrations().await.unwrap(), names(database));
        fixture.store.migrate().await.unwrap();
        assert_eq!(tables(&fixture).await, made);
        fixture.user("ann").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn ten_that_migrate_one_postgresql_at_once_all_succeed_and_one_does_it() {
    ten_at_once(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn ten_that_migrate_one_sqlite_at_once_all_succeed_and_one_does_it() {
    ten_at_once(Kind::Sqlite).await;
}

async fn ten_at_once(kind: Kind) {
    let fixture = Fixture::unmigrated(kind, Clock::System).await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        // Each with a pool of its own, as ten replicas have.
        let store = Store::connect(&settings(&fixture.database.url), Clock::System).await.unwrap();
        tasks.push(tokio::spawn(async move { store.migrate().await.unwrap() }));
    }
    let mut applied = Vec::new();
    for task in tasks {
        applied.extend(task.await.unwrap());
    }
    assert_eq!(applied.len(), names(kind).len());
    assert_eq!(fixture.count("__diesel_schema_migrations").await, applied.len());
    assert_eq!(fixture.count("users").await, 0);
}

on_both! {
    async fn a_digest_has_32_bytes(database: Kind) {
        // S16, S32
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        fixture.refresh_token(&fixture.session(&ann, 0).await, 1).await;
        fixture.secret(&fixture.key(&ann, 0).await, 1).await;
        for table in ["refresh_tokens", "api_key_secrets"] {
            for bytes in [0, 31, 33] {
                let digest = "ab".repeat(bytes);
                let digest = match database {
                    Kind::Sqlite => format!("x'{digest}'"),
                    Kind::Postgres => format!("'\\x{digest}'"),
                };
                let refusal = fixture.refusal(&format!("UPDATE {table} SET digest = {digest}")).await;
                assert!(refusal.to_lowercase().contains("check constraint"), "{refusal}");
            }
        }
    }
}

/// A table's columns: name, then type and nullability.
type Columns = BTreeMap<String, String>;

/// What `src/store/schema.rs` says. Its tables are private to the store, so its text is read: a table is a line
/// `name (key) {`, a column a line `name -> Type,`.
fn schema() -> BTreeMap<String, Columns> {
    let mut tables = BTreeMap::<String, Columns>::new();
    let mut table = String::new();
    for line in include_str!("../../src/store/schema.rs").lines().map(str::trim) {
        if let Some((name, rest)) = line.split_once(" (")
            && rest.ends_with(") {")
        {
            name.clone_into(&mut table);
        } else if let Some((column, sql_type)) = line.trim_end_matches(',').split_once(" -> ")
            && !line.contains('(')
        {
            tables.entry(table.clone()).or_default().insert(column.to_owned(), sql_type.to_owned());
        }
    }
    tables
}

/// What a type of `schema.rs` is in the database.
fn native(kind: Kind, sql_type: &str) -> String {
    let (inner, null) = match sql_type.strip_prefix("Nullable<").and_then(|rest| rest.strip_suffix('>')) {
        Some(inner) => (inner, "NULL"),
        None => (sql_type, "NOT NULL"),
    };
    let native = match (kind, inner) {
        (Kind::Sqlite, "SqlId" | "Binary") => "blob",
        (Kind::Postgres, "SqlId") => "uuid",
        (Kind::Postgres, "Binary") => "bytea",
        (Kind::Postgres, "SqlTime") => "timestamp with time zone",
        (_, "Integer") | (Kind::Sqlite, "BigInt") => "integer",
        (Kind::Postgres, "BigInt") => "bigint",
        (_, "Text") | (Kind::Sqlite, "SqlTime") => "text",
        _ => panic!("{sql_type} is new: say what it is in each database"),
    };
    format!("{native} {null}")
}

on_both! {
    async fn the_schema_fits_the_tables(database: Kind) {
        let fixture = Fixture::new(database).await;
        let schema = schema();
        assert_eq!(schema.keys().cloned().collect::<Vec<_>>(), tables(&fixture).await);
        for (table, columns) in schema {
            let mut expected: Columns =
                columns.iter().map(|(name, sql_type)| (name.clone(), native(database, sql_type))).collect();
            if (database, table.as_str()) == (Kind::Postgres, "changes") {
                // Filled by its default; no query of ours names it yet.
                expected.insert("transaction_id".to_owned(), "xid8 NOT NULL".to_owned());
            }
            let rows = fixture.texts(&match database {
                Kind::Sqlite => format!(
                    "SELECT name || '|' || lower(type) || iif(\"notnull\", ' NOT NULL', ' NULL') AS value \
                     FROM pragma_table_info('{table}')"
                ),
                Kind::Postgres => format!(
                    "SELECT column_name || '|' || data_type || \
                     CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE ' NULL' END AS value \
                     FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}'"
                ),
            }).await;
            let actual: Columns = rows
                .iter()
                .map(|row| row.split_once('|').map(|(name, rest)| (name.to_owned(), rest.to_owned())).unwrap())
                .collect();
            assert_eq!(actual, expected, "{table}");
        }
    }
}
