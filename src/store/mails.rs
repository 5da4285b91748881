//! Mails that are to be sent. One that was delivered has no row; one that was given up has no payload (S37).
//!
//! Who sends a mail has claimed it: `attempts` is a compare-and-swap, of which one of many gets its row, and `due_time` is
//! the end of the claim, after which another may try.

use diesel::{
    dsl::{count_star, min},
    prelude::*,
};
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::mails, sweep};
use crate::types::{MailId, Time};

/// One mail.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = mails)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct Mail {
    /// `mail_…`.
    pub id: MailId,
    /// What it is about, for whoever looks at the table.
    pub kind: String,
    /// Recipient and content, sealed under the master key.
    pub payload_sealed: Option<String>,
    /// How often it was claimed.
    pub attempts: i32,
    /// When it was written.
    pub create_time: Time,
    /// When it is to be sent, or sent again.
    pub due_time: Time,
    /// When it was given up.
    pub dead_time: Option<Time>,
}

/// Adds a mail.
pub async fn insert(tx: &mut Tx, mail: &Mail) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(mails::table).values(mail).execute(c).await?)).map(drop)
}

/// Up to `limit` mails that are due at `now`, those due for longest first.
pub async fn list_due(conn: &mut Conn, now: Time, limit: i64) -> Result<Vec<Mail>> {
    let query = mails::table
        .filter(mails::dead_time.is_null().and(mails::due_time.le(now)))
        .order((mails::due_time, mails::id))
        .limit(limit);
    run!(conn, c => Ok(query.select(Mail::as_select()).load(c).await?))
}

/// How many mails are still to be sent, due or not, and when the oldest was written.
pub async fn count_waiting(conn: &mut Conn) -> Result<(i64, Option<Time>)> {
    let query =
        mails::table.filter(mails::dead_time.is_null()).select((count_star(), min(mails::create_time)));
    run!(conn, c => Ok(query.get_result(c).await?))
}

/// Claims a mail until `lease_end`, and returns it as it is then; `None` when another was faster.
pub async fn claim(tx: &mut Tx, mail: &Mail, lease_end: Time) -> Result<Option<Mail>> {
    let unclaimed = mails::table.find(mail.id).filter(mails::attempts.eq(mail.attempts));
    let query =
        diesel::update(unclaimed).set((mails::attempts.eq(mail.attempts + 1), mails::due_time.eq(lease_end)));
    run!(tx, c => Ok(query.returning(Mail::as_returning()).get_result(c).await.optional()?))
}

/// Replaces the payload of a mail that was claimed. `false` when the claim is another's by now.
pub async fn set_payload(tx: &mut Tx, claimed: &Mail, payload_sealed: &str) -> Result<bool> {
    let query = diesel::update(mails::table.find(claimed.id).filter(mails::attempts.eq(claimed.attempts)))
        .set(mails::payload_sealed.eq(payload_sealed));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Gives a claimed mail back until `due_time`.
pub async fn postpone(tx: &mut Tx, claimed: &Mail, due_time: Time) -> Result<bool> {
    let query = diesel::update(mails::table.find(claimed.id).filter(mails::attempts.eq(claimed.attempts)))
        .set(mails::due_time.eq(due_time));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Gives a claimed mail up, and forgets what it says.
pub async fn bury(tx: &mut Tx, claimed: &Mail, now: Time) -> Result<bool> {
    let query = diesel::update(mails::table.find(claimed.id).filter(mails::attempts.eq(claimed.attempts)))
        .set((mails::dead_time.eq(now), mails::payload_sealed.eq(None::<String>)));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Up to `limit` mails that have a payload, after the one with this id, in the order of ids.
pub async fn list_sealed(
    conn: &mut Conn,
    after: Option<MailId>,
    limit: i64,
) -> Result<Vec<(MailId, String)>> {
    let query = mails::table
        .filter(mails::id.gt(after.unwrap_or(MailId(uuid::Uuid::nil()))))
        .filter(mails::payload_sealed.is_not_null())
        .order(mails::id)
        .limit(limit)
        .select((mails::id, mails::payload_sealed.assume_not_null()));
    run!(conn, c => Ok(query.load(c).await?))
}

/// Seals a mail anew, unless its payload has changed: `false`.
pub async fn reseal(tx: &mut Tx, id: MailId, from: &str, to: &str) -> Result<bool> {
    let query = diesel::update(mails::table.find(id).filter(mails::payload_sealed.eq(from)))
        .set(mails::payload_sealed.eq(to));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Removes a mail: it was delivered, or there is nobody to deliver it to.
pub async fn delete(tx: &mut Tx, id: MailId) -> Result<usize> {
    run!(tx, c => Ok(diesel::delete(mails::table.find(id)).execute(c).await?))
}

/// Removes up to `limit` mails that were given up before `time`.
pub async fn sweep(tx: &mut Tx, time: Time, limit: i64) -> Result<usize> {
    sweep!(tx, mails, id, dead_time, time, limit)
}
