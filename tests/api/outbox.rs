//! The outbox: a mail is written with what caused it, waits sealed, and is sent until it is accepted or a day old.

use std::{collections::HashSet, fs, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{
    domain::{Administrator, Client, Domain},
    types::{Email, Password},
};
use futures_util::{FutureExt, future::join_all};

use crate::{
    common::{Database, Kind},
    log::Log,
    mailbox::{Mail, Mailbox},
    on_both,
    sink::{Port, Sink},
    support::{EMAIL, Setup, account},
};

const DAY: u64 = 24 * 60 * 60;

/// How long after each try comes the next: twice as long each time, and the last when the mail is a day old.
const WAITS: [u64; 15] =
    [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 20_480, 40_960, 4_485];

/// Sends what is due.
async fn deliver(domain: &Arc<Domain>) {
    loop {
        let claimed = domain.claim_mails(8).await.unwrap();
        if claimed.is_empty() {
            return;
        }
        join_all(claimed.into_iter().map(|mail| Arc::clone(domain).deliver(mail))).await;
    }
}

/// The use cases without a worker: mails are sent when the test says so.
struct House {
    setup: Setup,
    domain: Arc<Domain>,
    mailbox: Mailbox,
}

impl House {
    async fn new(kind: Kind) -> Self {
        Self::of(Setup::new(kind).await).await
    }

    async fn of(setup: Setup) -> Self {
        let domain = setup.domain().await;
        Self { setup, domain, mailbox: Mailbox::default() }
    }

    fn database(&self) -> &Database {
        &self.setup.database
    }

    fn advance(&self, seconds: u64) {
        self.setup.clock.advance(Duration::from_secs(seconds));
    }

    async fn register(&self, email: &str) {
        self.domain.register(account(email), &Client::default()).await.unwrap();
    }

    async fn forgot_password(&self, email: &str) {
        let email = Email::parse(email).unwrap();
        self.domain.forgot_password(&email, &Client::default()).await.unwrap();
    }

    /// Sends what is due, and returns what has arrived since.
    async fn deliver(&self) -> Vec<Mail> {
        deliver(&self.domain).await;
        self.mailbox.unseen(self.database())
    }

    /// From now on no mail can be delivered.
    fn take_mailbox_away(&self) {
        let directory = self.database().directory();
        fs::rename(directory.join("mail"), directory.join("away")).unwrap();
    }

    fn put_mailbox_back(&self) {
        let directory = self.database().directory();
        fs::rename(directory.join("away"), directory.join("mail")).unwrap();
    }

    /// Of each mail that waits or was given up, how often it was tried and whether it has a payload.
    async fn waiting(&self) -> Vec<(i32, bool)> {
        let query = "SELECT CAST(attempts AS text) || CASE WHEN payload_sealed IS NULL THEN ' ' ELSE ' sealed' END FROM mails \
                     ORDER BY id";
        let rows = self.database().query_text(query).await;
        let row =
            |row: &String| row.split_once(' ').map(|(n, sealed)| (n.parse().unwrap(), !sealed.is_empty()));
        rows.iter().map(|text| row(text).unwrap()).collect()
    }

    async fn rows(&self, table: &str) -> i64 {
        let counted =
            self.database().query_text(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await;
        counted[0].parse().unwrap()
    }
}

on_both! {
    async fn it_is_tried_for_a_day_with_doubling_waits_and_then_given_up(database: Kind) {
        let log = Log::start();
        let house = House::new(database).await;
        house.register(EMAIL).await;
        let id = match database {
            Kind::Sqlite => "lower(hex(id))",
            Kind::Postgres => "replace(CAST(id AS text), '-', '')",
        };
        let id = format!("mail_{}", house.database().query_text(&format!("SELECT {id} FROM mails")).await[0]);
        house.take_mailbox_away();
        assert_eq!(house.waiting().await, [(0, true)]);
        house.deliver().await;
        for (tries, wait) in (1..).zip(WAITS) {
            assert_eq!(house.waiting().await, [(tries, true)]);
            house.advance(wait - 1);
            house.deliver().await;
            assert_eq!(house.waiting().await, [(tries, true)], "{wait} s have not gone by");
            house.advance(1);
            house.deliver().await;
        }
        assert_eq!(WAITS.iter().sum::<u64>(), DAY);

        // The row stays, without what it said (S37).
        assert_eq!(house.waiting().await, [(16, false)]);
        let now = house.database().time(house.setup.clock.now());
        let dead = format!("SELECT kind FROM mails WHERE dead_time = {now}");
        assert_eq!(house.database().query_text(&dead).await, ["verify_email"]);
        house.put_mailbox_back();
        house.advance(DAY);
        assert!(house.deliver().await.is_empty());
        assert_eq!(house.waiting().await, [(16, false)]);

        // S57
        let log = log.text();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&id)).collect();
        let errors: Vec<_> = lines.iter().filter(|line| line.contains(" ERROR ")).collect();
        assert_eq!(errors.len(), 1, "{lines:#?}");
        assert!(errors[0].contains("given up") && errors[0].contains("verify_email"), "{errors:?}");
        assert_eq!(lines.iter().filter(|line| line.contains(" WARN ")).count(), 16, "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains('@') || line.contains("token=")), "{lines:#?}");
    }
}

on_both! {
    async fn it_arrives_once_when_the_mail_server_is_back(database: Kind) {
        let port = Port::reserve();
        let server = Setup::new(database).await.mails_to(port.address).start().await;
        server.register().await;
        let tried = async |tries: u32, wait: u64| {
            let due = server.database.time(server.clock.now() + Duration::from_secs(wait));
            let not_yet = format!("SELECT kind FROM mails WHERE attempts < {tries} OR due_time > {due}");
            server.wait_for_none(&not_yet).await;
        };
        tried(1, 5).await;
        server.advance(5);
        tried(2, 10).await;
        let mut sink = port.open();
        server.advance(10);
        let mail = sink.next().await;
        assert_eq!(mail.to, EMAIL);
        server.wait_for_none("SELECT kind FROM mails").await;
        assert!(server.verify_email(&mail.token()).await.unwrap().email_verified);

        server.advance(DAY);
        server.forgot_password(EMAIL).await.unwrap();
        assert!(sink.next().await.link().contains("reset-password"));
        assert!(sink.rest().is_empty());
    }
}

on_both! {
    async fn while_it_waits_nobody_can_read_it_or_swap_it_for_another(database: Kind) {
        // S37, S58
        let house = House::new(database).await;
        house.register(EMAIL).await;
        house.advance(1);
        house.forgot_password(EMAIL).await;
        house.take_mailbox_away();
        // After the first try all of them are letters, with tokens.
        house.deliver().await;
        let rows = house.database().query_text("SELECT kind || ' ' || payload_sealed FROM mails").await;
        let sealed: Vec<_> = rows.iter().map(|row| row.split_once(' ').unwrap().1).collect();
        let [one, other] = sealed[..] else { panic!("{rows:?}") };
        let swap = format!("UPDATE mails SET payload_sealed = CASE payload_sealed WHEN '{one}' THEN '{other}' ELSE '{one}' END");
        house.database().execute(&swap).await;
        house.put_mailbox_back();
        house.advance(5);
        assert!(house.deliver().await.is_empty());
        assert_eq!(house.waiting().await, [(2, true); 2]);
        house.database().execute(&swap).await;
        house.advance(10);
        let mails = house.deliver().await;
        assert_eq!(mails.len(), 2);
        assert!(house.waiting().await.is_empty());

        let secrets = |mail: &Mail| [mail.to.clone(), mail.token(), mail.link()];
        let secrets: HashSet<_> = mails.iter().flat_map(secrets).collect();
        assert_eq!(secrets.len(), 5);
        for (row, sealed) in rows.iter().zip(sealed) {
            let encrypted = sealed.strip_prefix("v4.local.").expect("sealed");
            let bytes = String::from_utf8_lossy(&URL_SAFE_NO_PAD.decode(encrypted).unwrap()).into_owned();
            for secret in &secrets {
                assert!(!row.contains(secret) && !bytes.contains(secret), "{secret} in {row}");
            }
        }
    }
}

on_both! {
    async fn asking_for_a_mail_leaves_the_same_rows_whether_or_not_there_is_an_account(database: Kind) {
        // S14, S15
        let house = House::new(database).await;
        for email in [EMAIL, "shut@example.com"] {
            house.register(email).await;
        }
        let shut = house.domain.find_user_by_email(&Email::parse("shut@example.com").unwrap()).await.unwrap();
        house.domain.disable_user(shut.id, &Administrator::operator()).await.unwrap();
        house.deliver().await;
        let tables =
            ["users", "sessions", "one_time_tokens", "rate_windows", "password_failures", "events", "changes"];
        let count = async || join_all(tables.iter().map(|table| house.rows(table))).await;
        let what = "SELECT kind || ' ' || CAST(length(payload_sealed) AS text) || ' ' || CAST(attempts AS text) || \
                    CASE WHEN due_time = create_time AND dead_time IS NULL THEN ' due' ELSE '' END FROM mails ORDER BY id";
        for email in [EMAIL, "shut@example.com", "none@example.com"] {
            let mut before = count().await;
            house.forgot_password(email).await;
            // One mail is counted (S13), and nothing else has changed.
            before[3] += 1;
            assert_eq!(count().await, before, "{tables:?} by {email}");
        }
        let rows = house.database().query_text(what).await;
        assert!(rows.len() == 3 && rows.iter().all(|row| *row == rows[0]), "{rows:?}");
        assert!(rows[0].starts_with("reset_password ") && rows[0].ends_with(" 0 due"), "{rows:?}");

        let mails = house.deliver().await;
        assert!(mails.len() == 1 && mails[0].to == EMAIL, "{mails:?}");
        assert!(house.waiting().await.is_empty());
    }
}

on_both! {
    async fn what_fails_leaves_no_mail(database: Kind) {
        let house = House::new(database).await;
        let register = async || house.domain.register(account(EMAIL), &Client::default()).await;
        // The mail is written before the audit trail, which cannot be.
        house.database().execute("ALTER TABLE events RENAME TO away").await;
        register().await.unwrap_err();
        for table in ["mails", "users", "one_time_tokens", "rate_windows"] {
            assert_eq!(house.rows(table).await, 0, "{table}");
        }
        assert!(house.domain.mail_written().now_or_never().is_none(), "nobody is woken");
        house.database().execute("ALTER TABLE away RENAME TO events").await;

        let answers = join_all((0..8).map(|_| register())).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert!(house.domain.mail_written().now_or_never().is_some());
        assert_eq!(house.deliver().await.len(), 1);
    }
}

on_both! {
    async fn a_link_that_died_while_its_mail_waited_is_replaced(database: Kind) {
        // S38
        let house = House::new(database).await;
        house.register(EMAIL).await;
        house.deliver().await;
        house.forgot_password(EMAIL).await;
        house.take_mailbox_away();
        house.deliver().await;
        house.advance(30 * 60);
        house.put_mailbox_back();
        let mails = house.deliver().await;
        let [mail] = &mails[..] else { panic!("{mails:?}") };
        let new = Password::parse("staple the battery").unwrap();
        house.domain.reset_password(&mail.token(), new, &Client::default()).await.unwrap();
    }
}

on_both! {
    async fn a_link_that_was_voided_while_its_mail_waited_is_not_sent(database: Kind) {
        // S39
        let house = House::new(database).await;
        house.register(EMAIL).await;
        house.deliver().await;
        house.take_mailbox_away();
        // The second request voids the first, whose mail was tried by then.
        house.forgot_password(EMAIL).await;
        house.deliver().await;
        house.forgot_password(EMAIL).await;
        house.deliver().await;
        house.advance(60);
        house.put_mailbox_back();
        let mails = house.deliver().await;
        let [mail] = &mails[..] else { panic!("{mails:?}") };
        let new = Password::parse("staple the battery").unwrap();
        house.domain.reset_password(&mail.token(), new, &Client::default()).await.unwrap();
        assert!(house.waiting().await.len() <= 1, "nothing waits but the notice");
    }
}

on_both! {
    async fn of_a_registration_that_waits_the_newest_link_is_sent(database: Kind) {
        // S39
        let house = House::new(database).await;
        house.take_mailbox_away();
        house.register(EMAIL).await;
        house.deliver().await;
        let email = Email::parse(EMAIL).unwrap();
        house.domain.resend_verification(&email, &Client::default()).await.unwrap();
        house.deliver().await;
        house.advance(60);
        house.put_mailbox_back();
        let mails = house.deliver().await;
        let [mail] = &mails[..] else { panic!("{mails:?}") };
        house.domain.verify_email(&mail.token(), &Client::default()).await.unwrap();
        assert!(house.waiting().await.is_empty());
    }
}

on_both! {
    async fn of_a_replica_that_died_another_takes_the_mail_over_as_the_same_message(database: Kind) {
        let mut sink = Sink::start();
        let house = House::of(Setup::new(database).await.mails_to(sink.address)).await;
        let other = house.setup.replica().mails_to(sink.address).domain().await;
        house.domain.create_user(account(EMAIL)).await.unwrap();
        house.forgot_password(EMAIL).await;
        // It dies when the mail server has the message, before it is said to.
        sink.accept(false);
        let first = tokio::select! {
            () = deliver(&house.domain) => panic!("not answered for yet"),
            first = sink.next() => first,
        };
        sink.accept(true);
        house.advance(2 * 60 - 1);
        deliver(&other).await;
        assert_eq!((house.waiting().await, sink.rest().len()), (vec![(1, true)], 0));
        house.advance(1);
        deliver(&other).await;
        let second = sink.next().await;
        assert_eq!((&second.message_id, second.token()), (&first.message_id, first.token()));
        assert!(house.waiting().await.is_empty() && sink.rest().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_sends_each_mail() {
    let mut sink = Sink::start();
    let often = |setup: Setup| setup.set("THROTTLE__MAILS_PER_HOUR", "100");
    let house = House::of(often(Setup::new(Kind::Postgres).await)).await;
    house.domain.create_user(account(EMAIL)).await.unwrap();
    for _ in 0..100 {
        house.forgot_password(EMAIL).await;
    }
    // Each has as many in hand as it takes at once.
    sink.accept(false);
    let replica = async || often(house.setup.replica()).mails_to(sink.address).start().await;
    let (server, other) = (replica().await, replica().await);
    let mut ids = HashSet::new();
    for _ in 0..16 {
        ids.insert(sink.next().await.message_id);
    }
    assert_eq!(ids.len(), 16);
    sink.accept(true);
    server.wait_for_none("SELECT kind FROM mails").await;
    server.stop().await;
    other.stop().await;
    let rest = sink.rest();
    assert_eq!(rest.len(), 84);
    ids.extend(rest.into_iter().map(|mail| mail.message_id));
    assert_eq!(ids.len(), 100);
}
