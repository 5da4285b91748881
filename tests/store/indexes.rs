//! Each look-up on the way of a request, of the outbox and of the sweeper goes by an index.

use countersign::{
    store::{
        api_keys,
        changes::{self, Change},
        events,
        identities::{self, Identity},
        mails,
        oauth_flows::{self, OauthFlow},
        one_time_tokens::{self, Purpose},
        password_failures, rate_windows, refresh_tokens, sessions, users,
    },
    types::IdentityId,
};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at, digest, event, key, mail, one_time_token, refresh_token, secret, session, user},
};

/// Enough that PostgreSQL does not think reading all of them is cheaper.
const ROWS: u16 = 500;

/// The tables and the conditions that the store asks for; `{id}` and `{digest}` are some value of the column's type,
/// `{time}` is one before which lie few.
const LOOKUPS: [(&str, &str); 26] = [
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
    ("one_time_tokens", "digest = {digest} AND purpose = 'verify_email'"),
    ("one_time_tokens", "user_id = {id} AND purpose IN ('verify_email', 'change_email')"),
    // The cascade from users.
    ("one_time_tokens", "user_id = {id}"),
    ("mails", "id = {id} AND attempts = 1"),
    ("mails", "dead_time IS NULL AND due_time <= {time} ORDER BY due_time, id LIMIT 8"),
    ("password_failures", "account = {digest}"),
    ("rate_windows", "key = {digest}"),
    ("identities", "id = {id} AND user_id = {id}"),
    ("identities", "issuer = 'https://idp.example' AND subject = 'subject 7'"),
    ("identities", "user_id = {id} ORDER BY id"),
    ("oauth_flows", "state = {digest}"),
    // The cascade from users.
    ("oauth_flows", "user_id = {id}"),
    ("events", "user_id = {id} AND id < {id} ORDER BY id DESC LIMIT 50"),
    ("events", "action = 'import_account' AND id < {id} ORDER BY id DESC LIMIT 50"),
    ("users", "disabled_time IS NOT NULL AND id < {id} ORDER BY id DESC LIMIT 50"),
    ("users", "kind = 'service_account' AND id < {id} ORDER BY id DESC LIMIT 50"),
];

/// What is swept: table, key, time, and what else is asked of the row.
const SWEEPS: [(&str, &str, &str, &str); 8] = [
    ("sessions", "id", "expire_time", ""),
    ("one_time_tokens", "digest", "expire_time", ""),
    ("oauth_flows", "state", "expire_time", ""),
    ("mails", "id", "dead_time", ""),
    ("password_failures", "account", "last_failure_time", "AND old.failures < 100"),
    ("rate_windows", "key", "expire_time", ""),
    ("events", "id", "create_time", ""),
    ("changes", "id", "expire_time", ""),
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
        let (seconds, time) = (i64::from(number), at(i64::from(number)));
        let mut token = one_time_token(user.id, number);
        token.expire_time = time;
        one_time_tokens::insert(&mut tx, Purpose::VerifyEmail, &token).await.unwrap();
        let mut dead = mail(seconds);
        dead.dead_time = Some(time);
        for mail in [mail(seconds), dead] {
            mails::insert(&mut tx, &mail).await.unwrap();
        }
        let identity = Identity {
            id: IdentityId::generate(at(0)),
            user_id: user.id,
            provider: "idp".to_owned(),
            issuer: "https://idp.example".to_owned(),
            subject: format!("subject {number}"),
            email: None,
            create_time: at(0),
            last_used_time: at(0),
        };
        identities::insert(&mut tx, &identity).await.unwrap();
        let flow = OauthFlow {
            state: digest(number),
            flow_secret: digest(number),
            provider: "idp".to_owned(),
            redirect_uri: "https://app.example.com".to_owned(),
            proofs_sealed: String::new(),
            user_id: Some(user.id),
            create_time: at(0),
            expire_time: time,
        };
        oauth_flows::insert(&mut tx, &flow).await.unwrap();
        password_failures::add(&mut tx, digest(number), time).await.unwrap();
        rate_windows::lock(&mut tx, digest(number), time).await.unwrap();
        events::insert(&mut tx, &event(user.id, seconds)).await.unwrap();
        changes::insert(&mut tx, &[Change::UserChanged(user.id)], at(0), time).await.unwrap();
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
        // Sessions end an hour after they were made.
        let time = |table: &str| fixture.database.time(at(if table == "sessions" { 3605 } else { 5 }));
        let sweep = |(table, key, column, also): &(&str, &str, &str, &str)| {
            let time = time(table);
            format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT old.{key} FROM {table} AS old \
                 WHERE old.{column} < {time} {also} LIMIT 500) AND {column} < {time}"
            )
        };
        let mut lookups: Vec<String> = LOOKUPS
            .iter()
            .map(|(table, condition)| {
                let condition = condition.replace("{time}", &time(table));
                format!("SELECT * FROM {table} WHERE {condition}")
            })
            .chain(SWEEPS.iter().map(sweep))
            .collect();
        lookups.push(
            "SELECT * FROM api_key_secrets s JOIN api_keys k ON s.key_id = k.id JOIN users u ON k.user_id = u.id \
             WHERE s.digest = {digest}"
                .to_owned(),
        );
        if database == Kind::Postgres {
            lookups.push("SELECT * FROM users WHERE kind = 'person' AND email_normalized LIKE 'user7@%' ESCAPE '\\'".to_owned());
        }
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
