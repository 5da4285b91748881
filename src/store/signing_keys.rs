//! The keys that access tokens are signed with.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Error, Result, Tx, run, schema::signing_keys, sweep};
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
    /// When it was made. Absent where it was the first and a version made it that did not write this down.
    pub create_time: Option<Time>,
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

/// All keys, oldest first, once nobody else can change them until this transaction ends. `Conflict` when somebody has while
/// this waited: to be tried anew.
pub async fn lock(tx: &mut Tx) -> Result<Vec<SigningKey>> {
    let newest = |keys: &[SigningKey]| keys.last().map(|key| key.generation);
    let before = newest(&list(tx).await?);
    if let Some(generation) = before {
        // Whoever changes any of them takes the newest first, so two never wait for each other.
        let query =
            diesel::update(signing_keys::table.find(generation)).set(signing_keys::kid.eq(signing_keys::kid));
        run!(tx, c => Ok(query.execute(c).await?))?;
    }
    let keys = list(tx).await?;
    if newest(&keys) == before { Ok(keys) } else { Err(Error::Conflict) }
}

/// Says from when on a key signs.
pub async fn set_not_before_time(tx: &mut Tx, kid: &str, time: Time) -> Result<()> {
    let query = diesel::update(signing_keys::table.filter(signing_keys::kid.eq(kid)))
        .set(signing_keys::not_before_time.eq(time));
    run!(tx, c => Ok(query.execute(c).await?)).map(drop)
}

/// Says until when tokens signed by a key are accepted.
pub async fn set_not_after_time(tx: &mut Tx, kid: &str, time: Option<Time>) -> Result<()> {
    let query = diesel::update(signing_keys::table.filter(signing_keys::kid.eq(kid)))
        .set(signing_keys::not_after_time.eq(time));
    run!(tx, c => Ok(query.execute(c).await?)).map(drop)
}

/// Removes a key.
pub async fn delete(tx: &mut Tx, kid: &str) -> Result<()> {
    let query = diesel::delete(signing_keys::table.filter(signing_keys::kid.eq(kid)));
    run!(tx, c => Ok(query.execute(c).await?)).map(drop)
}

/// Up to `limit` keys after the one with this id, in the order of ids: id, secret half.
pub async fn list_sealed(
    conn: &mut Conn,
    after: Option<String>,
    limit: i64,
) -> Result<Vec<(String, String)>> {
    let query = signing_keys::table
        .filter(signing_keys::kid.gt(after.unwrap_or_default()))
        .order(signing_keys::kid)
        .limit(limit)
        .select((signing_keys::kid, signing_keys::secret_sealed));
    run!(conn, c => Ok(query.load(c).await?))
}

/// Seals a key anew, unless somebody else has: `false`.
pub async fn reseal(tx: &mut Tx, kid: String, from: &str, to: &str) -> Result<bool> {
    let this =
        signing_keys::table.filter(signing_keys::kid.eq(kid).and(signing_keys::secret_sealed.eq(from)));
    let query = diesel::update(this).set(signing_keys::secret_sealed.eq(to));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Removes up to `limit` keys whose last token had expired before `time`.
pub async fn sweep(tx: &mut Tx, time: Time, limit: i64) -> Result<usize> {
    sweep!(tx, signing_keys, generation, not_after_time, time, limit)
}
