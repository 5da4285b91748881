//! Migrations on both databases, and whether `src/store/schema.rs` fits what they make.

use std::{collections::BTreeMap, fs, path::Path};

use countersign::{
    store::{
        Store, api_keys,
        changes::{self, Change},
        one_time_tokens::{self, Purpose},
        password_failures, rate_windows, refresh_tokens, sessions, users,
    },
    types::Clock,
};
use diesel::{backend::Backend, sqlite::SqliteConnection};
use diesel_async::{
    AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, sync_connection_wrapper::SyncConnectionWrapper,
};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest, one_time_token, same, settings},
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

/// A step of Diesel's own, beside the store's.
#[derive(Clone, Copy)]
enum Step {
    /// Applies the next migration.
    Next,
    /// Undoes the last one, by its `down.sql`.
    Back,
    /// Undoes all of them.
    ToTheBeginning,
}

async fn take(fixture: &Fixture, step: Step) {
    fn on<D: Backend>(mut harness: impl MigrationHarness<D>, step: Step, source: FileBasedMigrations) {
        match step {
            Step::Next => harness.run_next_migration(source).map(drop),
            Step::Back => harness.revert_last_migration(source).map(drop),
            Step::ToTheBeginning => harness.revert_all_migrations(source).map(drop),
        }
        .unwrap();
    }
    let kind = fixture.database.kind;
    let source =
        FileBasedMigrations::from_path(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory(kind))).unwrap();
    match kind {
        Kind::Sqlite => {
            let path = fixture.database.url.strip_prefix("sqlite://").unwrap();
            let conn = SyncConnectionWrapper::<SqliteConnection>::establish(path).await.unwrap();
            on(AsyncMigrationHarness::new(conn), step, source);
        }
        Kind::Postgres => {
            let conn = AsyncPgConnection::establish(&fixture.database.url).await.unwrap();
            on(AsyncMigrationHarness::new(conn), step, source);
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
        take(&fixture, Step::ToTheBeginning).await;
        assert_eq!(tables(&fixture).await, Vec::<String>::new());
        assert_eq!(fixture.store.pending_migrations().await.unwrap(), names(database));
        fixture.store.migrate().await.unwrap();
        assert_eq!(tables(&fixture).await, made);
        fixture.user("ann").await;
    }
}

on_both! {
    async fn what_the_first_tables_keep_is_there_when_the_later_migrations_are_undone_and_done_again(database: Kind) {
        let fixture = Fixture::unmigrated(database, Clock::manual(at(0))).await;
        take(&fixture, Step::Next).await;
        assert_eq!(fixture.store.pending_migrations().await.unwrap(), names(database)[1..]);
        let before = tables(&fixture).await;
        assert_eq!(fixture.store.migrate().await.unwrap(), names(database)[1..]);
        // Now, since the store writes columns that the first tables have not.
        let ann = fixture.user("ann").await;
        let session = fixture.session(&ann, 0).await;
        let token = fixture.refresh_token(&session, 1).await;
        let key = fixture.key(&ann, 0).await;
        let secret = fixture.secret(&key, 2).await;
        fixture.write(async |tx| changes::insert(tx, &[Change::UserChanged(ann.id)], at(0), at(60)).await).await;

        let unharmed = async || {
            let mut conn = fixture.conn().await;
            same(users::find(&mut conn, ann.id).await.unwrap(), Some(&ann));
            same(sessions::find(&mut conn, session.id).await.unwrap(), Some(&session));
            same(refresh_tokens::find(&mut conn, digest(1)).await.unwrap(), Some(&token));
            let (found, of_key, _) = api_keys::find_by_secret(&mut conn, digest(2)).await.unwrap().unwrap();
            same((found, of_key), (&secret, &key));
            assert_eq!(fixture.count("changes").await, 1);
        };
        assert_eq!(tables(&fixture).await.len(), schema().len());
        unharmed().await;
        for _ in 1..names(database).len() {
            take(&fixture, Step::Back).await;
        }
        assert_eq!(tables(&fixture).await, before);
        for table in ["users", "sessions", "refresh_tokens", "api_keys", "api_key_secrets", "changes"] {
            assert_eq!(fixture.count(table).await, 1, "{table}");
        }
        assert_eq!(fixture.store.migrate().await.unwrap(), names(database)[1..]);
        unharmed().await;
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
        // S16, S32, S37
        let fixture = Fixture::new(database).await;
        let ann = fixture.user("ann").await;
        fixture.refresh_token(&fixture.session(&ann, 0).await, 1).await;
        fixture.secret(&fixture.key(&ann, 0).await, 1).await;
        let token = one_time_token(ann.id, 1);
        fixture.write(async |tx| one_time_tokens::insert(tx, Purpose::VerifyEmail, &token).await).await;
        fixture.write(async |tx| password_failures::add(tx, digest(1), at(0)).await).await;
        fixture.write(async |tx| rate_windows::lock(tx, digest(1), at(0)).await).await;
        for (table, column) in [
            ("refresh_tokens", "digest"),
            ("api_key_secrets", "digest"),
            ("one_time_tokens", "digest"),
            ("password_failures", "account"),
            ("rate_windows", "key"),
        ] {
            for bytes in [0, 31, 33] {
                let digest = "ab".repeat(bytes);
                let digest = match database {
                    Kind::Sqlite => format!("x'{digest}'"),
                    Kind::Postgres => format!("'\\x{digest}'"),
                };
                let refusal = fixture.refusal(&format!("UPDATE {table} SET {column} = {digest}")).await;
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
        (Kind::Postgres, "TransactionId") => "xid8",
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
            // SQLite has no numbers of transactions.
            let is_here = |sql_type: &str| database == Kind::Postgres || sql_type != "TransactionId";
            let expected: Columns = columns
                .iter()
                .filter(|(_, sql_type)| is_here(sql_type))
                .map(|(name, sql_type)| (name.clone(), native(database, sql_type)))
                .collect();
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
