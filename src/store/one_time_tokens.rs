//! Tokens that were mailed, as digests (S37). A user has at most one for each purpose; one that was used has no row.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::{Conn, Result, Tx, run, schema::one_time_tokens, sweep};
use crate::types::{Digest, Time, UserId};

/// What a token is for. It is good for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Proves that the account's address is its owner's.
    VerifyEmail,
    /// Sets a new password.
    ResetPassword,
    /// Gives the account the address that it was mailed to.
    ChangeEmail,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::ChangeEmail => "change_email",
        }
    }
}

/// One token.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = one_time_tokens)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct OneTimeToken {
    /// SHA-256 of the token.
    pub digest: Digest,
    /// Whose.
    pub user_id: UserId,
    /// The address that it was mailed to, as it was given.
    pub email: String,
    /// When it was made.
    pub create_time: Time,
    /// When it stops working.
    pub expire_time: Time,
}

/// Adds a token, and voids the user's older one for the same purpose (S39). The transaction holds the user's row.
pub async fn insert(tx: &mut Tx, purpose: Purpose, token: &OneTimeToken) -> Result<()> {
    void(tx, token.user_id, &[purpose]).await?;
    let row = (token, one_time_tokens::purpose.eq(purpose.as_str()));
    run!(tx, c => Ok(diesel::insert_into(one_time_tokens::table).values(row).execute(c).await?)).map(drop)
}

/// The token with this digest, expired or not, if it is for this purpose.
pub async fn find(conn: &mut Conn, purpose: Purpose, digest: Digest) -> Result<Option<OneTimeToken>> {
    let query = one_time_tokens::table.find(digest).filter(one_time_tokens::purpose.eq(purpose.as_str()));
    run!(conn, c => Ok(query.select(OneTimeToken::as_select()).first(c).await.optional()?))
}

/// Uses a token up. Of many who try at once, one gets `true`.
pub async fn take(tx: &mut Tx, digest: Digest) -> Result<bool> {
    run!(tx, c => Ok(diesel::delete(one_time_tokens::table.find(digest)).execute(c).await? == 1))
}

/// Voids a user's tokens for these purposes (S39).
pub async fn void(tx: &mut Tx, user_id: UserId, purposes: &[Purpose]) -> Result<usize> {
    let names: Vec<_> = purposes.iter().map(|purpose| purpose.as_str()).collect();
    let query = one_time_tokens::table
        .filter(one_time_tokens::user_id.eq(user_id))
        .filter(one_time_tokens::purpose.eq_any(names));
    run!(tx, c => Ok(diesel::delete(query).execute(c).await?))
}

/// Removes up to `limit` tokens that expired before `time`.
pub async fn sweep(tx: &mut Tx, time: Time, limit: i64) -> Result<usize> {
    sweep!(tx, one_time_tokens, digest, expire_time, time, limit)
}
