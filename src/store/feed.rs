//! The table `changes` as a replica reads it: everything that was committed since it last looked.
//!
//! On PostgreSQL the order of ids is not the order of commits: a transaction that took its id early may commit late. So a
//! [`Cursor`] goes by transactions: by those that were open at the last look, and those that have begun since. A transaction that
//! somebody forgot to end then holds nothing back, nor is anything read twice for it. On SQLite, which writes one transaction at a
//! time, the ids do.

use std::pin::pin;

use diesel::{
    dsl::{max, sql},
    prelude::*,
    sql_types::Array,
};
use diesel_async::RunQueryDsl;
use futures_util::{FutureExt, StreamExt};

use super::{
    Conn, Error, Result, Store,
    changes::Change,
    conn::{Inner, answer},
    schema::changes,
    sql_types::{AnyId, SqlTime, TransactionId, Xid},
};
use crate::types::Time;

/// Rows read at once.
const PAGE: i64 = 10_000;

/// How far a reader has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Everything before it has been read, but for `open`.
    end: i64,
    /// Transactions before `end` that had not ended.
    open: Vec<i64>,
}

impl Cursor {
    /// Whoever has learned all that a reader with this cursor was told needs to be told only what is at this position or
    /// beyond.
    pub fn position(&self) -> i64 {
        self.open.iter().copied().min().unwrap_or(self.end)
    }

    /// Whether a reader that has come this far reads from a database that has not: one that was restored, or that a standby
    /// was promoted to.
    pub fn is_ahead_of(&self, now: &Self) -> bool {
        self.end > now.end
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

/// Where in a look a page ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageEnd {
    position: i64,
    id: i64,
}

/// A connection of its own, on which other replicas' wake-ups arrive, too.
pub struct Feed {
    conn: Conn,
    server: Time,
}

type Row = (i64, i64, String, Option<AnyId>, Time);

impl Store {
    /// Connects, and listens.
    pub async fn open_feed(&self) -> Result<Feed> {
        let mut conn = self.own_conn().await?;
        execute_on_postgres(&mut conn, "LISTEN countersign_changes").await?;
        let server = server(&mut conn).await?;
        Ok(Feed { conn, server })
    }
}

impl Feed {
    /// Which run of which server it leads to. A standby that was promoted, and a restored database, are another.
    pub fn server(&self) -> Time {
        self.server
    }

    /// The connection, to read what a change refers to.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Where the database is: the cursor of whoever reads now all that it holds. What commits while they read is there for the
    /// next look, too, and perhaps read twice.
    pub async fn cursor(&mut self) -> Result<Cursor> {
        let conn = &mut self.conn;
        match &mut conn.inner {
            Inner::Postgres(c) => {
                let query = diesel::select((
                    sql::<TransactionId>("pg_snapshot_xmax(pg_current_snapshot())"),
                    sql::<Array<TransactionId>>("ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot()))"),
                ));
                let load = async { Ok(query.get_result::<(Xid, Vec<Xid>)>(&mut **c).await?) };
                let (Xid(end), open) = answer(&mut conn.waiting, load).await?;
                Ok(Cursor { end, open: open.into_iter().map(|Xid(open)| open).collect() })
            }
            Inner::Sqlite(c) => {
                let query = changes::table.select(max(changes::id));
                let load = async { Ok(query.get_result::<Option<i64>>(&mut **c).await?) };
                let last = answer(&mut conn.waiting, load).await?;
                Ok(Cursor { end: last.map_or(0, |last| last + 1), open: Vec::new() })
            }
        }
    }

    /// What a reader with this cursor has not read, from the end of the page before on; and where this page ends if there may
    /// be more.
    pub async fn page(&mut self, cursor: &Cursor, after: PageEnd) -> Result<(Vec<Entry>, Option<PageEnd>)> {
        let conn = &mut self.conn;
        let rows: Vec<Row> = match &mut conn.inner {
            Inner::Postgres(c) => {
                let at = changes::transaction_id;
                let (last, open) = (Xid(after.position), cursor.open.iter().copied().map(Xid));
                let unread = at.ge(Xid(cursor.end)).or(at.eq_any(open.collect::<Vec<_>>()));
                let beyond = at.gt(last).or(at.eq(last).and(changes::id.gt(after.id)));
                let query = changes::table
                    .filter(unread.and(beyond))
                    .order((at, changes::id))
                    .limit(PAGE)
                    .select((changes::id, at, changes::kind, changes::subject, changes::expire_time));
                let load =
                    async { Ok(query.load::<(i64, Xid, String, Option<AnyId>, Time)>(&mut **c).await?) };
                let rows = answer(&mut conn.waiting, load).await?;
                let row = |(id, Xid(at), kind, subject, expire_time)| (id, at, kind, subject, expire_time);
                rows.into_iter().map(row).collect()
            }
            Inner::Sqlite(c) => {
                let query = changes::table
                    .filter(changes::id.ge(cursor.end).and(changes::id.gt(after.id)))
                    .order(changes::id)
                    .limit(PAGE)
                    .select((
                        changes::id,
                        changes::id,
                        changes::kind,
                        changes::subject,
                        changes::expire_time,
                    ));
                answer(&mut conn.waiting, async { Ok(query.load(&mut **c).await?) }).await?
            }
        };
        let full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE);
        let end = rows.last().map(|(id, position, ..)| PageEnd { position: *position, id: *id });
        let entries = rows.into_iter().map(|(_, position, kind, subject, expire_time)| Entry {
            change: Change::from_columns(&kind, subject),
            position,
            expire_time,
        });
        Ok((entries.collect(), end.filter(|_| full)))
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

/// When the server was started, which tells it from others. There is one SQLite.
async fn server(conn: &mut Conn) -> Result<Time> {
    let Inner::Postgres(c) = &mut conn.inner else { return Ok(Time::from_micros(0)) };
    let query = diesel::select(sql::<SqlTime>("pg_postmaster_start_time()"));
    answer(&mut conn.waiting, async { Ok(query.get_result(&mut **c).await?) }).await
}

async fn execute_on_postgres(conn: &mut Conn, statement: &str) -> Result<()> {
    if let Inner::Postgres(c) = &mut conn.inner {
        let run = async { Ok(diesel::sql_query(statement).execute(&mut **c).await?) };
        answer(&mut conn.waiting, run).await?;
    }
    Ok(())
}
