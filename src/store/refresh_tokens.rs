//! Refresh tokens, as digests (S16). Used ones stay as long as their session, so that a second use is noticed (S17).

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::refresh_tokens};
use crate::types::{Digest, SessionId, Time};

/// One refresh token.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = refresh_tokens)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct RefreshToken {
    /// SHA-256 of the token.
    pub digest: Digest,
    /// The session that it continues.
    pub session_id: SessionId,
    /// The token that was exchanged for it; absent for a session's first.
    pub predecessor: Option<Digest>,
    /// When it was issued.
    pub create_time: Time,
    /// When it was exchanged.
    pub used_time: Option<Time>,
    /// The token that it was exchanged for, sealed; only while that is unused.
    pub successor_sealed: Option<String>,
}

/// Adds a token.
pub async fn insert(tx: &mut Tx, token: &RefreshToken) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(refresh_tokens::table).values(token).execute(c).await?)).map(drop)
}

/// The token with this digest, used or not.
pub async fn find(conn: &mut Conn, digest: Digest) -> Result<Option<RefreshToken>> {
    let query = refresh_tokens::table.find(digest);
    run!(conn, c => Ok(query.select(RefreshToken::as_select()).first(c).await.optional()?))
}

/// Uses a token. Of many who try at once, one gets `true` (S18).
pub async fn mark_used(tx: &mut Tx, digest: Digest, now: Time, successor_sealed: &str) -> Result<bool> {
    let query =
        diesel::update(refresh_tokens::table.find(digest).filter(refresh_tokens::used_time.is_null()))
            .set((refresh_tokens::used_time.eq(now), refresh_tokens::successor_sealed.eq(successor_sealed)));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Forgets the sealed successors of tokens that were used before `time`.
pub async fn forget_successors_before(tx: &mut Tx, time: Time) -> Result<usize> {
    let query = diesel::update(
        refresh_tokens::table
            .filter(refresh_tokens::successor_sealed.is_not_null())
            .filter(refresh_tokens::used_time.lt(time)),
    )
    .set(refresh_tokens::successor_sealed.eq(None::<String>));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Forgets a token's sealed successor: that was used, so it may not be answered again.
pub async fn forget_successor(tx: &mut Tx, digest: Digest) -> Result<usize> {
    let query = diesel::update(refresh_tokens::table.find(digest))
        .set(refresh_tokens::successor_sealed.eq(None::<String>));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Up to `limit` tokens with a sealed successor, after the one with this digest, in the order of digests: digest, successor.
pub async fn list_sealed(
    conn: &mut Conn,
    after: Option<Digest>,
    limit: i64,
) -> Result<Vec<(Digest, String)>> {
    let query = refresh_tokens::table
        .filter(refresh_tokens::digest.gt(after.unwrap_or(Digest([0; 32]))))
        .filter(refresh_tokens::successor_sealed.is_not_null())
        .order(refresh_tokens::digest)
        .limit(limit)
        .select((refresh_tokens::digest, refresh_tokens::successor_sealed.assume_not_null()));
    run!(conn, c => Ok(query.load(c).await?))
}

/// Seals a successor anew, unless it has changed: `false`.
pub async fn reseal(tx: &mut Tx, digest: Digest, from: &str, to: &str) -> Result<bool> {
    let this = refresh_tokens::table.find(digest).filter(refresh_tokens::successor_sealed.eq(from));
    let query = diesel::update(this).set(refresh_tokens::successor_sealed.eq(to));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}
