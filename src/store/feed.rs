//! The table `changes` as a replica reads it: everything that was committed since it last looked, once.
//!
//! On PostgreSQL the order of ids is not the order of commits: a transaction that took its id early may commit late. So a
//! [`Cursor`] goes by transactions. It stands at the oldest that was still open at the last look, and what was committed
//! behind it is read at once and remembered as seen, so that a transaction that somebody forgot holds nothing back. On SQLite,
//! which writes one transaction at a time, the ids do.

use std::{collections::HashMap, pin::pin};

use diesel::{dsl::sql, prelude::*};
use diesel_async::RunQueryDsl;
use futures_util::{FutureExt, StreamExt};

use super::{
    Conn, Error, Result, Store,
    changes::Change,
    conn::{Inner, answer},
    schema::changes,
    sql_types::{AnyId, TransactionId, Xid},
};
use crate::types::Time;

/// Rows read at once.
const PAGE: usize = 10_000;

/// How far a reader has come. It outlives connections.
#[derive(Debug, Default)]
pub struct Cursor {
    /// Everything before it has been read.
    position: i64,
    /// The ids of what was read beyond it, and the positions of these.
    seen: HashMap<i64, i64>,
}

impl Cursor {
    /// Whoever has learned all that a reader with this cursor was told needs to be told only what is at this position or
    /// beyond.
    pub fn position(&self) -> i64 {
        self.position
    }
}

/// A change, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What changed. `None` where it was written by a later version, which knows of more.
    pub change: Option<Change>,
    /// Where it stands: a transaction's number, or the row's on SQLite.
    pub position: i64,
    /// Until when it matters.
    pub expire_time: Time,
}

/// What one look brought.
#[derive(Debug)]
pub struct Batch {
    /// What is new.
    pub entries: Vec<Entry>,
    /// Whether the database is behind what was read before, as one is that was restored: then everything is read anew, and
    /// what was known may be wrong.
    pub restarted: bool,
}

/// A connection of its own, on which other replicas' wake-ups arrive, too.
pub struct Feed {
    conn: Conn,
}

type Row = (i64, i64, String, Option<AnyId>, Time);

impl Store {
    /// Connects, and listens.
    pub async fn open_feed(&self) -> Result<Feed> {
        let mut conn = self.own_conn().await?;
        execute_on_postgres(&mut conn, "LISTEN countersign_changes").await?;
        Ok(Feed { conn })
    }
}

impl Feed {
    /// The connection, to read what a change refers to.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// What was committed and has not been read, as far as it matters at `now`. Moves the cursor only if all of it could be
    /// read.
    pub async fn read(&mut self, cursor: &mut Cursor, now: Time) -> Result<Batch> {
        // Before the rows are looked at: what commits in between is read now, and seen again.
        let end = self.oldest_open().await?;
        let restarted = end.is_some_and(|end| end < cursor.position);
        let from = if restarted { 0 } else { cursor.position };
        let rows = self.read_from(from, now).await?;
        if restarted {
            *cursor = Cursor::default();
        }
        let mut entries = Vec::new();
        for (id, position, kind, subject, expire_time) in rows {
            if cursor.seen.insert(id, position).is_none() {
                let change = Change::from_columns(&kind, subject);
                entries.push(Entry { change, position, expire_time });
            }
        }
        let last = entries.last().map_or(cursor.position, |entry| entry.position + 1);
        cursor.position = end.unwrap_or(last);
        cursor.seen.retain(|_, position| *position >= cursor.position);
        Ok(Batch { entries, restarted })
    }

    async fn read_from(&mut self, mut from: i64, now: Time) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let page = self.page(from, now).await?;
            let full = page.len() >= PAGE;
            // The last transaction's other rows come with the next page, and some of its rows again.
            from = page.last().map_or(from, |(_, position, ..)| *position);
            rows.extend(page);
            if !full {
                return Ok(rows);
            }
        }
    }

    async fn page(&mut self, from: i64, now: Time) -> Result<Vec<Row>> {
        let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let conn = &mut self.conn;
        match &mut conn.inner {
            Inner::Postgres(c) => {
                let query = changes::table
                    .filter(changes::transaction_id.ge(Xid(from)).and(changes::expire_time.gt(now)))
                    .order((changes::transaction_id, changes::id))
                    .limit(page)
                    .select((
                        changes::id,
                        changes::transaction_id,
                        changes::kind,
                        changes::subject,
                        changes::expire_time,
                    ));
                let load =
                    async { Ok(query.load::<(i64, Xid, String, Option<AnyId>, Time)>(&mut **c).await?) };
                let rows = answer(&mut conn.waiting, load).await?;
                let row = |(id, Xid(at), kind, subject, expire_time)| (id, at, kind, subject, expire_time);
                Ok(rows.into_iter().map(row).collect())
            }
            Inner::Sqlite(c) => {
                let query = changes::table
                    .filter(changes::id.ge(from).and(changes::expire_time.gt(now)))
                    .order(changes::id)
                    .limit(page)
                    .select((
                        changes::id,
                        changes::id,
                        changes::kind,
                        changes::subject,
                        changes::expire_time,
                    ));
                answer(&mut conn.waiting, async { Ok(query.load(&mut **c).await?) }).await
            }
        }
    }

    /// The oldest transaction that has not ended. `None` on SQLite, where whoever reads sees all that has begun before.
    async fn oldest_open(&mut self) -> Result<Option<i64>> {
        let conn = &mut self.conn;
        match &mut conn.inner {
            Inner::Postgres(c) => {
                let query = diesel::select(sql::<TransactionId>("pg_snapshot_xmin(pg_current_snapshot())"));
                let load = async { Ok(query.get_result::<Xid>(&mut **c).await?) };
                answer(&mut conn.waiting, load).await.map(|Xid(at)| Some(at))
            }
            Inner::Sqlite(_) => Ok(None),
        }
    }

    /// Wakes the other replicas. By itself and not by the transactions that change something: those would queue for a lock of
    /// PostgreSQL's to commit.
    pub async fn notify(&mut self) -> Result<()> {
        execute_on_postgres(&mut self.conn, "NOTIFY countersign_changes").await
    }

    /// Waits until a replica says that there is something to read, this one included. Never on SQLite. An error means that
    /// the connection is gone.
    pub async fn notified(&mut self) -> Result<()> {
        let Inner::Postgres(c) = &mut self.conn.inner else { return std::future::pending().await };
        let mut notifications = pin!(c.notifications_stream());
        let mut first = Some(notifications.next().await);
        // One look serves all that have come meanwhile.
        while let Some(notification) = first {
            notification.ok_or_else(|| Error::Unavailable("the connection was closed".into()))??;
            first = notifications.next().now_or_never();
        }
        Ok(())
    }
}

async fn execute_on_postgres(conn: &mut Conn, statement: &str) -> Result<()> {
    if let Inner::Postgres(c) = &mut conn.inner {
        let run = async { Ok(diesel::sql_query(statement).execute(&mut **c).await?) };
        answer(&mut conn.waiting, run).await?;
    }
    Ok(())
}
