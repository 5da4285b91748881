//! Sessions that have not ended. An ended one has no row; that it has ended is told by `changes`.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Conn, Result, Tx, run,
    schema::{sessions, users},
    sweep,
    users::Owner,
};
use crate::types::{SessionId, Time, UserId};

/// One sign-in.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct Session {
    /// `ses_…`.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// When the user signed in.
    pub create_time: Time,
    /// When it last issued a token.
    pub last_used_time: Time,
    /// When it ends if it is not used again.
    pub expire_time: Time,
    /// The client's address at sign-in.
    pub ip_address: String,
    /// The client's user agent at sign-in.
    pub user_agent: String,
}

/// Adds a session.
pub async fn insert(tx: &mut Tx, session: &Session) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(sessions::table).values(session).execute(c).await?)).map(drop)
}

/// The session with this id, expired or not.
pub async fn find(conn: &mut Conn, id: SessionId) -> Result<Option<Session>> {
    run!(conn, c => Ok(sessions::table.find(id).select(Session::as_select()).first(c).await.optional()?))
}

/// The user, if there still is one, and whether this session of theirs has not been ended.
pub async fn find_owner(
    conn: &mut Conn,
    user_id: UserId,
    id: SessionId,
) -> Result<Option<(Owner, Option<SessionId>)>> {
    let of_user = sessions::user_id.eq(users::id).and(sessions::id.eq(id));
    let query = users::table.left_join(sessions::table.on(of_user)).filter(users::id.eq(user_id));
    run!(conn, c => {
        let row = (Owner::as_select(), sessions::id.nullable());
        Ok(query.select(row).first(c).await.optional()?)
    })
}

/// The user's sessions that are alive at `now`, newest first, from the one after `after` on.
pub async fn list(
    conn: &mut Conn,
    user_id: UserId,
    now: Time,
    after: Option<SessionId>,
    limit: i64,
) -> Result<Vec<Session>> {
    run!(conn, c => {
        let mut query = sessions::table
            .filter(sessions::user_id.eq(user_id).and(sessions::expire_time.gt(now)))
            .select(Session::as_select())
            .order(sessions::id.desc())
            .limit(limit)
            .into_boxed();
        if let Some(after) = after {
            query = query.filter(sessions::id.lt(after));
        }
        Ok(query.load(c).await?)
    })
}

/// The user's live sessions beyond the newest `keep`.
pub async fn list_beyond(conn: &mut Conn, user_id: UserId, now: Time, keep: i64) -> Result<Vec<SessionId>> {
    let query = sessions::table
        .filter(sessions::user_id.eq(user_id).and(sessions::expire_time.gt(now)))
        .select(sessions::id)
        .order(sessions::id.desc())
        // SQLite takes an OFFSET only behind a LIMIT.
        .limit(i64::from(i32::MAX))
        .offset(keep);
    run!(conn, c => Ok(query.load(c).await?))
}

/// Uses a session that is alive at `now`, and locks it until the transaction ends.
pub async fn touch(tx: &mut Tx, id: SessionId, now: Time) -> Result<Option<Session>> {
    let query = diesel::update(sessions::table.find(id).filter(sessions::expire_time.gt(now)))
        .set(sessions::last_used_time.eq(now));
    run!(tx, c => Ok(query.returning(Session::as_returning()).get_result(c).await.optional()?))
}

/// The session, if it is this user's and has not been ended, kept from any other transaction's writing until this one ends.
pub async fn lock(tx: &mut Tx, user_id: UserId, id: SessionId) -> Result<Option<Session>> {
    let query = diesel::update(sessions::table.find(id).filter(sessions::user_id.eq(user_id)))
        .set(sessions::create_time.eq(sessions::create_time));
    run!(tx, c => Ok(query.returning(Session::as_returning()).get_result(c).await.optional()?))
}

/// Moves the end of a session.
pub async fn set_expire_time(tx: &mut Tx, id: SessionId, expire_time: Time) -> Result<usize> {
    let query = diesel::update(sessions::table.find(id)).set(sessions::expire_time.eq(expire_time));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Removes up to `limit` sessions that expired before `time`, with their refresh tokens.
pub async fn sweep(tx: &mut Tx, time: Time, limit: i64) -> Result<usize> {
    sweep!(tx, sessions, id, expire_time, time, limit)
}

/// Ends one session, if it is this user's.
pub async fn delete(tx: &mut Tx, user_id: UserId, id: SessionId) -> Result<Option<Session>> {
    let query = diesel::delete(sessions::table.find(id).filter(sessions::user_id.eq(user_id)));
    run!(tx, c => Ok(query.returning(Session::as_returning()).get_result(c).await.optional()?))
}

/// Ends all of the user's sessions, but for `except`.
pub async fn delete_all(tx: &mut Tx, user_id: UserId, except: Option<SessionId>) -> Result<Vec<Session>> {
    run!(tx, c => {
        let mut query = diesel::delete(sessions::table).filter(sessions::user_id.eq(user_id)).into_boxed();
        if let Some(except) = except {
            query = query.filter(sessions::id.ne(except));
        }
        Ok(query.returning(Session::as_returning()).get_results(c).await?)
    })
}
