//! The keys that access tokens are signed with.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::signing_keys};
use crate::types::Time;

/// One key pair; the secret half is sealed under the master key (S58).
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = signing_keys)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct SigningKey {
    /// 1 for the first; unique, so that of two who make the next key one wins.
    pub generation: i32,
    /// PASERK `k4.pid.…`.
    pub kid: String,
    /// The secret half, sealed; the public half follows from it.
    pub secret_sealed: String,
    /// When it begins to sign.
    pub not_before_time: Time,
    /// When the last token signed by it has expired.
    pub not_after_time: Option<Time>,
}

/// Adds a key. `Conflict` when another made this generation.
pub async fn insert(tx: &mut Tx, key: &SigningKey) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(signing_keys::table).values(key).execute(c).await?)).map(drop)
}

/// All keys, oldest first.
pub async fn list(conn: &mut Conn) -> Result<Vec<SigningKey>> {
    let query = signing_keys::table.order(signing_keys::generation);
    run!(conn, c => Ok(query.select(SigningKey::as_select()).load(c).await?))
}
