//! Sign-ins that were started here and have not come back (S43). One that has has no row.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::oauth_flows, sweep};
use crate::types::{Digest, Time, UserId};

/// One sign-in that is under way.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = oauth_flows)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct OauthFlow {
    /// SHA-256 of the state.
    pub state: Digest,
    /// SHA-256 of what only whoever started it has.
    pub flow_secret: Digest,
    /// By which provider.
    pub provider: String,
    /// Where it leads back to.
    pub redirect_uri: String,
    /// What is sent along with the code, sealed (S58).
    pub proofs_sealed: String,
    /// Whose account the identity is to be linked to; absent for a sign-in.
    pub user_id: Option<UserId>,
    /// When it was started.
    pub create_time: Time,
    /// When it is too late.
    pub expire_time: Time,
}

/// Adds one.
pub async fn insert(tx: &mut Tx, flow: &OauthFlow) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(oauth_flows::table).values(flow).execute(c).await?)).map(drop)
}

/// The one with this state, whether or not it is too late.
pub async fn find(conn: &mut Conn, state: Digest) -> Result<Option<OauthFlow>> {
    run!(conn, c => Ok(oauth_flows::table.find(state).select(OauthFlow::as_select()).first(c).await.optional()?))
}

/// Ends one. Of many who try at once, one gets `true`.
pub async fn take(tx: &mut Tx, state: Digest) -> Result<bool> {
    run!(tx, c => Ok(diesel::delete(oauth_flows::table.find(state)).execute(c).await? == 1))
}

/// Up to `limit` after the one with this state, in the order of states: state, proofs.
pub async fn list_sealed(
    conn: &mut Conn,
    after: Option<Digest>,
    limit: i64,
) -> Result<Vec<(Digest, String)>> {
    let query = oauth_flows::table
        .filter(oauth_flows::state.gt(after.unwrap_or(Digest([0; 32]))))
        .order(oauth_flows::state)
        .limit(limit)
        .select((oauth_flows::state, oauth_flows::proofs_sealed));
    run!(conn, c => Ok(query.load(c).await?))
}

/// Seals one's proofs anew, unless they have changed: `false`.
pub async fn reseal(tx: &mut Tx, state: Digest, from: &str, to: &str) -> Result<bool> {
    let query = diesel::update(oauth_flows::table.find(state).filter(oauth_flows::proofs_sealed.eq(from)))
        .set(oauth_flows::proofs_sealed.eq(to));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Removes up to `limit` that were too late before `time`.
pub async fn sweep(tx: &mut Tx, time: Time, limit: i64) -> Result<usize> {
    sweep!(tx, oauth_flows, state, expire_time, time, limit)
}
