//! What is over goes in time, and nothing that is answered depends on when.

use std::time::Duration;

use countersign::{
    store::{
        mails::{self, Mail},
        oauth_flows::{self, OauthFlow},
        refresh_tokens::{self, RefreshToken},
        sessions::{self, Session},
    },
    types::{Digest, MailId, SessionId, random},
};
use tonic::Code;

use crate::{
    common::{Database, Kind},
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, account, expect_status, reason},
};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// After how many seconds what is made now goes: it is over at first, and is kept for a while.
const GOES_AFTER: [(u64, &[&str]); 7] = [
    (10 * 60, &["oauth_flows"]),
    (HOUR, &["rate_windows"]),
    (DAY + 60, &["changes"]),
    (DAY + DAY, &["one_time_tokens"]),
    (7 * DAY + DAY, &["sessions", "refresh_tokens"]),
    (30 * DAY, &["mails", "password_failures"]),
    (90 * DAY, &["events"]),
];

async fn rows(database: &Database, table: &str) -> usize {
    let counted = database.query_text(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await;
    counted[0].parse().unwrap()
}

/// Makes some of everything that will be over.
async fn make(server: &Server, email: &str) {
    server.register_as(email).await;
    server.new_mail().await;
    let ended = server.login(email, PASSWORD).await.unwrap();
    server.logout(&ended.access_token).await.unwrap();
    server.login(email, "not it at all").await.unwrap_err();
    let now = server.clock.now();
    let given_up = Mail {
        id: MailId::generate(now),
        kind: "verify_email".to_owned(),
        payload_sealed: None,
        attempts: 16,
        create_time: now,
        due_time: now,
        dead_time: Some(now),
    };
    let flow = OauthFlow {
        state: Digest(random::bytes()),
        flow_secret: Digest(random::bytes()),
        provider: "idp".to_owned(),
        redirect_uri: "https://app.example.com".to_owned(),
        proofs_sealed: String::new(),
        user_id: None,
        create_time: now,
        expire_time: now + Duration::from_mins(10),
    };
    let store = server.replica().store().await;
    let made = store.tx(async |tx| {
        mails::insert(tx, &given_up).await?;
        oauth_flows::insert(tx, &flow).await
    });
    made.await.unwrap();
}

on_both! {
    async fn what_is_over_goes_to_the_second_and_what_is_not_stays(database: Kind) {
        let server = Server::start(database).await;
        let domain = server.replica().domain().await;
        make(&server, EMAIL).await;
        let mut each = Vec::new();
        for (after, tables) in GOES_AFTER {
            for table in tables {
                each.push((after, *table, rows(&server.database, table).await));
            }
        }
        assert!(each.iter().all(|(.., rows)| *rows > 0), "{each:?}");
        // The same again, two seconds younger.
        server.advance(2);
        make(&server, "younger@example.com").await;
        let made = [0, 2];

        let mut now = 2;
        for (after, _) in GOES_AFTER {
            for moment in [after, after + 1, after + 3] {
                server.advance(moment - now);
                now = moment;
                domain.sweep().await.unwrap();
                for (after, table, rows_each) in &each {
                    let left = made.iter().filter(|made| now <= *made + after).count();
                    let rows = rows(&server.database, table).await;
                    assert_eq!(rows, left * rows_each, "{table} after {now} s");
                }
            }
        }
        assert_eq!(domain.sweep().await.unwrap(), 0);
        // The accounts stay.
        server.login(EMAIL, PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn a_service_sweeps_when_it_starts_and_answers_as_before(database: Kind) {
        // S20, S38; authentik CVE-2025-64708: expiry left to a sweeper
        let server = Server::start(database).await;
        let (tokens, [verify, reset, change]) = server.register_with_tokens().await;
        let answers = async |server: &Server| {
            [
                server.status_of(&tokens.access_token).await.as_str_name().to_owned(),
                reason(&server.refresh(&tokens.refresh_token).await.unwrap_err()),
                reason(&server.verify_email(&verify).await.unwrap_err()),
                reason(&server.reset_password(&reset, "staple the battery").await.unwrap_err()),
                reason(&server.confirm_email_change(&change).await.unwrap_err()),
            ]
        };
        server.advance(9 * DAY);
        let before = answers(&server).await;
        let void = "ONE_TIME_TOKEN_INVALID";
        assert_eq!(before, ["CREDENTIAL_STATUS_EXPIRED", "REFRESH_TOKEN_INVALID", void, void, void]);

        let server = server.restart().await;
        for (table, column) in [("one_time_tokens", "purpose"), ("sessions", "ip_address"), ("rate_windows", "times")] {
            server.wait_for_none(&format!("SELECT {column} FROM {table}")).await;
        }
        assert_eq!(answers(&server).await, before);
    }
}

on_both! {
    async fn a_password_that_is_off_stays_off(database: Kind) {
        // S8
        let server = Server::start(database).await;
        for (email, failures) in [(EMAIL, 100), ("other@example.com", 99)] {
            server.register_as(email).await;
            server.login(email, "not it at all").await.unwrap_err();
            let count = format!("UPDATE password_failures SET failures = {failures} WHERE failures = 1");
            server.database.execute(&count).await;
        }
        server.advance(10 * 365 * DAY);
        server.replica().domain().await.sweep().await.unwrap();
        let left = server.database.query_text("SELECT CAST(failures AS text) FROM password_failures").await;
        assert_eq!(left, ["100"]);
        expect_status(server.login(EMAIL, PASSWORD).await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        server.login("other@example.com", PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn many_rows_go_in_batches_that_last_whatever_becomes_of_the_next(database: Kind) {
        let setup = Setup::new(database).await;
        let (domain, store) = (setup.domain().await, setup.store().await);
        let database = &setup.database;
        let user_id = domain.create_user(account(EMAIL)).await.unwrap().id;
        let written = store.tx(async |tx| {
            for number in 0..1201_u32 {
                let now = setup.clock.now() + Duration::from_millis(number.into());
                let session = Session {
                    id: SessionId::generate(now),
                    user_id,
                    create_time: now,
                    last_used_time: now,
                    expire_time: now,
                    ip_address: String::new(),
                    user_agent: String::new(),
                };
                sessions::insert(tx, &session).await?;
                let token = RefreshToken {
                    digest: Digest(random::bytes()),
                    session_id: session.id,
                    predecessor: None,
                    create_time: now,
                    used_time: None,
                    successor_sealed: None,
                };
                refresh_tokens::insert(tx, &token).await?;
            }
            Ok::<_, countersign::store::Error>(())
        });
        written.await.unwrap();

        // The last of them cannot go.
        database.execute("CREATE TABLE holds (id uuid REFERENCES sessions)").await;
        database.execute("INSERT INTO holds SELECT id FROM sessions ORDER BY expire_time DESC LIMIT 1").await;
        setup.clock.advance(Duration::from_secs(2 * DAY));
        domain.sweep().await.unwrap_err();
        assert_eq!((rows(database, "sessions").await, rows(database, "refresh_tokens").await), (201, 201));
        database.execute("DROP TABLE holds").await;
        assert_eq!(domain.sweep().await.unwrap(), 201);
        assert_eq!((rows(database, "sessions").await, rows(database, "refresh_tokens").await), (0, 0));
    }
}
