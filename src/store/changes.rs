//! What other replicas' memory must learn. A change and its row commit together.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Result, Tx, run, schema::changes, sql_types::AnyId, sweep};
use crate::types::{KeyId, SessionId, Time, UserId};

/// Something that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A session ended: its access tokens are refused from now on.
    SessionEnded(SessionId),
    /// A key ended.
    KeyEnded(KeyId),
    /// A key's record or one of its secrets changed.
    KeyChanged(KeyId),
    /// A user was disabled, enabled, deleted or given other scopes.
    UserChanged(UserId),
}

/// Records changes, to be remembered by every replica until `expire_time`.
pub async fn insert(tx: &mut Tx, changes: &[Change], now: Time, expire_time: Time) -> Result<()> {
    // One by one: Diesel inserts no batch into SQLite over an async connection.
    for change in changes {
        let (kind, subject) = match *change {
            Change::SessionEnded(SessionId(id)) => ("session_ended", id),
            Change::KeyEnded(KeyId(id)) => ("key_ended", id),
            Change::KeyChanged(KeyId(id)) => ("key_changed", id),
            Change::UserChanged(UserId(id)) => ("user_changed", id),
        };
        let row = (
            changes::kind.eq(kind),
            changes::subject.eq(AnyId(subject)),
            changes::create_time.eq(now),
            changes::expire_time.eq(expire_time),
        );
        run!(tx, c => Ok(diesel::insert_into(changes::table).values(row).execute(c).await?))?;
    }
    Ok(())
}

/// Removes up to `limit` changes that need not be remembered at `now`.
pub async fn sweep(tx: &mut Tx, now: Time, limit: i64) -> Result<usize> {
    sweep!(tx, changes, id, expire_time, now, limit)
}
