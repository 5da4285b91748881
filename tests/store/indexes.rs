//! Each look-up on the way of a request goes by an index.

use countersign::store::{api_keys, refresh_tokens, sessions, users};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, key, refresh_token, secret, session, user},
};

/// Enough that PostgreSQL does not think reading all of them is cheaper.
const ROWS: u16 = 500;

/// The tables and the conditions that the store asks for; `{id}` and `{digest}` are some value of the column's type.
const LOOKUPS: [(&str, &str); 10] = [
    ("users", "id = {id}"),
    ("users", "email_normalized = 'user7@example.com'"),
    ("sessions", "id = {id}"),
    ("sessions", "user_id = {id} ORDER BY id DESC LIMIT 50"),
    ("refresh_tokens", "digest = {digest}"),
    ("refresh_tokens", "session_id = {id}"),
    ("api_keys", "id = {id}"),
    ("api_keys", "user_id = {id} ORDER BY id DESC LIMIT 50"),
    ("api_key_secrets", "digest = {digest}"),
    ("api_key_secrets", "key_id = {id}"),
];

async fn fill(fixture: &Fixture) {
    let mut tx = fixture.store.begin().await.unwrap();
    for number in 0..ROWS {
        let user = user(&format!("user{number}"));
        users::insert(&mut tx, &user).await.unwrap();
        let session = session(user.id, i64::from(number));
        sessions::insert(&mut tx, &session).await.unwrap();
        refresh_tokens::insert(&mut tx, &refresh_token(session.id, number)).await.unwrap();
        let key = key(user.id, i64::from(number));
        api_keys::insert(&mut tx, &key).await.unwrap();
        api_keys::insert_secret(&mut tx, &secret(key.id, number)).await.unwrap();
    }
    tx.commit().await.unwrap();
    fixture.database.execute("ANALYZE").await;
}

on_both! {
    async fn no_lookup_reads_a_whole_table(database: Kind) {
        let fixture = Fixture::new(database).await;
        fill(&fixture).await;
        let (id, digest) = match database {
            Kind::Sqlite => ("x'0190'", "x'ff00'"),
            Kind::Postgres => ("CAST('01900000-0000-7000-8000-000000000000' AS uuid)", "CAST('\\xff00' AS bytea)"),
        };
        let mut lookups: Vec<String> = LOOKUPS
            .iter()
            .map(|(table, condition)| format!("SELECT * FROM {table} WHERE {condition}"))
            .collect();
        lookups.push(
            "SELECT * FROM api_key_secrets s JOIN api_keys k ON s.key_id = k.id JOIN users u ON k.user_id = u.id \
             WHERE s.digest = {digest}"
                .to_owned(),
        );
        for lookup in lookups {
            let sql = lookup.replace("{id}", id).replace("{digest}", digest);
            let plan = fixture.plan(&sql).await;
            let (indexed, whole) = match database {
                Kind::Sqlite => ("USING", "SCAN"),
                Kind::Postgres => ("Index", "Seq Scan"),
            };
            assert!(plan.contains(indexed) && !plan.contains(whole), "{sql}\n{plan}");
        }
    }
}
