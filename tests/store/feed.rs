//! `store::feed`

use std::time::Duration;

use countersign::{
    store::{
        changes::{self, Change},
        feed::{Cursor, Entry, Feed, PageEnd},
    },
    types::{KeyId, SessionId, UserId},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::{
    common::Kind,
    on_both,
    support::{Fixture, at},
};

/// Everything that a reader with this cursor has not read; moves the cursor.
async fn read(feed: &mut Feed, cursor: &mut Cursor) -> Vec<Entry> {
    let reached = feed.cursor().await.unwrap();
    let (mut all, mut after) = (Vec::new(), Some(PageEnd::default()));
    while let Some(end) = after {
        let (entries, next) = feed.page(cursor, end).await.unwrap();
        all.extend(entries);
        after = next;
    }
    *cursor = reached;
    all
}

fn changes_of(entries: &[Entry]) -> Vec<Change> {
    entries.iter().filter_map(|entry| entry.change).collect()
}

async fn write(fixture: &Fixture, changes: &[Change]) {
    let end = at(0) + Duration::from_hours(1);
    fixture.write(async |tx| changes::insert(tx, changes, at(0), end).await).await;
}

on_both! {
    async fn what_is_written_is_read_once_and_in_order(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut feed = fixture.store.open_feed().await.unwrap();
        let mut cursor = Cursor::default();
        assert!(read(&mut feed, &mut cursor).await.is_empty());
        let all = [
            Change::SessionEnded(SessionId::generate(at(0))),
            Change::KeyEnded(KeyId::generate(at(0))),
            Change::KeyChanged(KeyId::generate(at(0))),
            Change::UserChanged(UserId::generate(at(0))),
            Change::SigningKeysChanged,
        ];
        write(&fixture, &all[..2]).await;
        assert_eq!(changes_of(&read(&mut feed, &mut cursor).await), all[..2]);
        assert!(read(&mut feed, &mut cursor).await.is_empty());
        write(&fixture, &all[2..]).await;
        assert_eq!(changes_of(&read(&mut feed, &mut cursor).await), all[2..]);
        // One who comes now reads all of it, with another's positions.
        let mut other = Cursor::default();
        let entries = read(&mut fixture.store.open_feed().await.unwrap(), &mut other).await;
        assert_eq!(changes_of(&entries), all);
        assert!(entries.iter().all(|entry| entry.position < other.position()));
        assert_eq!(entries[0].expire_time, at(0) + Duration::from_hours(1));
    }
}

on_both! {
    async fn more_than_a_page_of_one_transaction_is_read_to_its_end(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut feed = fixture.store.open_feed().await.unwrap();
        let hour = fixture.database.time(at(3600));
        let session = match database {
            Kind::Sqlite => "randomblob(16)",
            Kind::Postgres => "gen_random_uuid()",
        };
        let many = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
             INSERT INTO changes (kind, subject, create_time, expire_time)
             SELECT 'session_ended', {session}, {hour}, {hour} FROM n"
        );
        fixture.database.execute(&many).await;
        let mut cursor = Cursor::default();
        assert_eq!(read(&mut feed, &mut cursor).await.len(), 25_000);
        assert!(read(&mut feed, &mut cursor).await.is_empty());
    }
}

on_both! {
    async fn what_a_later_version_wrote_is_passed_over(database: Kind) {
        let fixture = Fixture::new(database).await;
        let mut feed = fixture.store.open_feed().await.unwrap();
        let hour = fixture.database.time(at(3600));
        fixture.database.execute(&format!(
            "INSERT INTO changes (kind, subject, create_time, expire_time) VALUES ('of a later version', NULL, {hour}, {hour})"
        )).await;
        let entries = read(&mut feed, &mut Cursor::default()).await;
        assert_eq!((entries.len(), entries[0].change), (1, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_open_is_read_when_it_ends_and_holds_nothing_back() {
    let fixture = Fixture::new(Kind::Postgres).await;
    let mut feed = fixture.store.open_feed().await.unwrap();
    let mut cursor = Cursor::default();
    let (early, late) = (KeyId::generate(at(0)), KeyId::generate(at(1)));
    let mut stray = AsyncPgConnection::establish(&fixture.database.url).await.unwrap();
    let hour = fixture.database.time(at(3600));
    let insert = format!(
        "BEGIN; INSERT INTO changes (kind, subject, create_time, expire_time)
         VALUES ('key_ended', '{}', {hour}, {hour})",
        early.0
    );
    stray.batch_execute(&insert).await.unwrap();
    for _ in 0..3 {
        write(&fixture, &[Change::KeyEnded(late)]).await;
        // Each once, though the stray one is still open.
        assert_eq!(changes_of(&read(&mut feed, &mut cursor).await), [Change::KeyEnded(late)]);
    }
    let before = cursor.position();
    stray.batch_execute("COMMIT").await.unwrap();
    let entries = read(&mut feed, &mut cursor).await;
    assert_eq!(changes_of(&entries), [Change::KeyEnded(early)]);
    // Whoever went on from there was told of it.
    assert!(before <= entries[0].position);
    assert!(read(&mut feed, &mut cursor).await.is_empty());
    // A database that has not come as far was restored.
    assert!(cursor.is_ahead_of(&Cursor::default()) && !Cursor::default().is_ahead_of(&cursor));
}
