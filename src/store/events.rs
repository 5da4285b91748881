//! The audit trail. Rows are added; nothing but the sweeper removes any.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::events, sweep};
use crate::types::{
    EventId, KeyId, SessionId, Time, UserId,
    event::{Action, Outcome},
};

/// Something that was done, or tried.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = events)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct Event {
    /// `evt_…`.
    pub id: EventId,
    /// Whose account it was about; absent where the address has none.
    pub user_id: Option<UserId>,
    /// What.
    pub action: Action,
    /// How it went.
    pub outcome: Outcome,
    /// In which session, or which one began or ended.
    pub session_id: Option<SessionId>,
    /// Which key it was about.
    pub key_id: Option<KeyId>,
    /// From where.
    pub ip_address: String,
    /// By which program, as it says itself.
    pub user_agent: String,
    /// When.
    pub create_time: Time,
    /// Which administrator did it; absent where it was the account's owner, or a command.
    pub actor_user_id: Option<UserId>,
    /// By which key of theirs.
    pub actor_key_id: Option<KeyId>,
}

/// Adds an event.
pub async fn insert(tx: &mut Tx, event: &Event) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(events::table).values(event).execute(c).await?)).map(drop)
}

/// Events, newest first, from the one after `after` on: of this user or of all, of this kind or of every one.
pub async fn list(
    conn: &mut Conn,
    user_id: Option<UserId>,
    action: Option<Action>,
    after: Option<EventId>,
    limit: i64,
) -> Result<Vec<Event>> {
    run!(conn, c => {
        let mut query =
            events::table.select(Event::as_select()).order(events::id.desc()).limit(limit).into_boxed();
        if let Some(user_id) = user_id {
            query = query.filter(events::user_id.eq(user_id));
        }
        if let Some(action) = action {
            query = query.filter(events::action.eq(action));
        }
        if let Some(after) = after {
            query = query.filter(events::id.lt(after));
        }
        Ok(query.load(c).await?)
    })
}

/// Removes up to `limit` events from before `time`.
pub async fn sweep(tx: &mut Tx, time: Time, limit: i64) -> Result<usize> {
    sweep!(tx, events, id, create_time, time, limit)
}
