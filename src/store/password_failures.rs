//! How often in a row a password was wrong, by e-mail address, whether or not it has an account (S9). Success removes the
//! row.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::password_failures};
use crate::types::{Digest, Time};

/// The failures since the last success.
#[derive(Debug, Clone, Copy, Queryable, Selectable)]
#[diesel(table_name = password_failures)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct PasswordFailures {
    /// How many; at least one.
    pub failures: i32,
    /// When the last one was.
    pub last_failure_time: Time,
}

/// The failures of this address, if there are any.
pub async fn find(conn: &mut Conn, account: Digest) -> Result<Option<PasswordFailures>> {
    let query = password_failures::table.find(account);
    run!(conn, c => Ok(query.select(PasswordFailures::as_select()).first(c).await.optional()?))
}

/// Counts one more, and says how many there are.
pub async fn add(tx: &mut Tx, account: Digest, now: Time) -> Result<i32> {
    let row = (
        password_failures::account.eq(account),
        password_failures::failures.eq(1),
        password_failures::last_failure_time.eq(now),
    );
    let query = diesel::insert_into(password_failures::table)
        .values(row)
        .on_conflict(password_failures::account)
        .do_update()
        .set((
            password_failures::failures.eq(password_failures::failures + 1),
            password_failures::last_failure_time.eq(now),
        ));
    run!(tx, c => Ok(query.returning(password_failures::failures).get_result(c).await?))
}

/// Begins anew.
pub async fn clear(tx: &mut Tx, account: Digest) -> Result<usize> {
    run!(tx, c => Ok(diesel::delete(password_failures::table.find(account)).execute(c).await?))
}

/// Removes up to `limit` counters of fewer than `below` failures, the last of which was before `time`.
pub async fn sweep(tx: &mut Tx, below: i32, time: Time, limit: i64) -> Result<usize> {
    let old = diesel::alias!(password_failures as old);
    let old = old
        .filter(old.field(password_failures::last_failure_time).lt(time))
        .filter(old.field(password_failures::failures).lt(below))
        .select(old.field(password_failures::account))
        .limit(limit);
    let query = diesel::delete(password_failures::table)
        .filter(password_failures::account.eq_any(old))
        // Counted meanwhile, it stays.
        .filter(password_failures::last_failure_time.lt(time));
    run!(tx, c => Ok(query.execute(c).await?))
}
