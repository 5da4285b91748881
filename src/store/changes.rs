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
    /// A signing key was added, or ended.
    SigningKeysChanged,
}

impl Change {
    /// Its columns: what happened, and to whom.
    fn columns(self) -> (&'static str, Option<AnyId>) {
        match self {
            Self::SessionEnded(SessionId(id)) => ("session_ended", Some(AnyId(id))),
            Self::KeyEnded(KeyId(id)) => ("key_ended", Some(AnyId(id))),
            Self::KeyChanged(KeyId(id)) => ("key_changed", Some(AnyId(id))),
            Self::UserChanged(UserId(id)) => ("user_changed", Some(AnyId(id))),
            Self::SigningKeysChanged => ("signing_keys_changed", None),
        }
    }

    /// Reads what [`columns`](Self::columns) made. `None` where a later version has written what this one does not know.
    pub(super) fn from_columns(kind: &str, subject: Option<AnyId>) -> Option<Self> {
        let subject = subject.map(|AnyId(id)| id);
        Some(match (kind, subject) {
            ("session_ended", Some(id)) => Self::SessionEnded(SessionId(id)),
            ("key_ended", Some(id)) => Self::KeyEnded(KeyId(id)),
            ("key_changed", Some(id)) => Self::KeyChanged(KeyId(id)),
            ("user_changed", Some(id)) => Self::UserChanged(UserId(id)),
            ("signing_keys_changed", None) => Self::SigningKeysChanged,
            _ => return None,
        })
    }
}

/// Records changes, to be remembered by every replica until `expire_time`.
pub async fn insert(tx: &mut Tx, changes: &[Change], now: Time, expire_time: Time) -> Result<()> {
    // One by one: Diesel inserts no batch into SQLite over an async connection.
    for change in changes {
        let (kind, subject) = change.columns();
        let row = (
            changes::kind.eq(kind),
            changes::subject.eq(subject),
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
