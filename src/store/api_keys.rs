//! API keys and their secrets: a key keeps its id while its secret is rotated.

use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Conn, Result, Tx, run,
    schema::{api_key_secrets, api_keys, users},
    users::Owner,
};
use crate::types::{Digest, KeyId, RateLimit, Scopes, Time, UserId};

/// A key.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct ApiKey {
    /// `key_…`.
    pub id: KeyId,
    /// Its owner.
    pub user_id: UserId,
    /// What the owner calls it.
    pub name: String,
    /// First seven and last four characters of the current secret.
    pub hint: String,
    /// What it may do, within what its owner may.
    pub scopes: Scopes,
    /// When it was made.
    pub create_time: Time,
    /// When it stops working by itself.
    pub expire_time: Option<Time>,
    /// When it was last found valid.
    pub last_used_time: Option<Time>,
    /// When it was revoked.
    pub revoke_time: Option<Time>,
    /// See [`rate_columns`].
    pub rate_requests: Option<i32>,
    /// See [`rate_columns`].
    pub rate_per_micros: Option<i64>,
}

/// A rate limit as its two columns: uses, and the span in microseconds.
pub fn rate_columns(limit: Option<RateLimit>) -> (Option<i32>, Option<i64>) {
    let requests = limit.and_then(|limit| i32::try_from(limit.requests()).ok());
    let per_micros = limit.and_then(|limit| i64::try_from(limit.per().as_micros()).ok());
    (requests, per_micros)
}

impl ApiKey {
    /// The limit that the owner set.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        let per = Duration::from_micros(u64::try_from(self.rate_per_micros?).ok()?);
        RateLimit::new(self.rate_requests?, per).ok()
    }
}

/// What an owner may change of a key.
#[derive(Debug, Clone, AsChangeset)]
#[diesel(table_name = api_keys, treat_none_as_null = true)]
pub struct Settings {
    /// As in [`ApiKey`].
    pub name: String,
    /// As in [`ApiKey`].
    pub scopes: Scopes,
    /// As in [`ApiKey`].
    pub expire_time: Option<Time>,
    /// As in [`ApiKey`].
    pub rate_requests: Option<i32>,
    /// As in [`ApiKey`].
    pub rate_per_micros: Option<i64>,
}

/// A secret of a key.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_key_secrets)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct Secret {
    /// SHA-256 of the secret (S32).
    pub digest: Digest,
    /// Its key.
    pub key_id: KeyId,
    /// When it was made.
    pub create_time: Time,
    /// Absent for the current one; for a rotated one, the end of its grace.
    pub expire_time: Option<Time>,
}

/// Adds a key.
pub async fn insert(tx: &mut Tx, key: &ApiKey) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(api_keys::table).values(key).execute(c).await?)).map(drop)
}

/// Adds a secret.
pub async fn insert_secret(tx: &mut Tx, secret: &Secret) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(api_key_secrets::table).values(secret).execute(c).await?)).map(drop)
}

/// The key, if it is this user's (S33).
pub async fn find(conn: &mut Conn, user_id: UserId, id: KeyId) -> Result<Option<ApiKey>> {
    let query = api_keys::table.find(id).filter(api_keys::user_id.eq(user_id));
    run!(conn, c => Ok(query.select(ApiKey::as_select()).first(c).await.optional()?))
}

/// The key, if it is this user's, kept from any other transaction's writing until this one ends.
pub async fn lock(tx: &mut Tx, user_id: UserId, id: KeyId) -> Result<Option<ApiKey>> {
    let query = diesel::update(api_keys::table.find(id).filter(api_keys::user_id.eq(user_id)))
        .set(api_keys::create_time.eq(api_keys::create_time));
    run!(tx, c => Ok(query.returning(ApiKey::as_returning()).get_result(c).await.optional()?))
}

/// The secret with this digest, its key and the key's owner.
pub async fn find_by_secret(conn: &mut Conn, digest: Digest) -> Result<Option<(Secret, ApiKey, Owner)>> {
    let query = api_key_secrets::table
        .inner_join(api_keys::table.inner_join(users::table))
        .filter(api_key_secrets::digest.eq(digest));
    run!(conn, c => {
        let row = (Secret::as_select(), ApiKey::as_select(), Owner::as_select());
        Ok(query.select(row).first(c).await.optional()?)
    })
}

/// The user's keys, newest first, from the one after `after` on; of the revoked ones those revoked after
/// `revoked_after`.
pub async fn list(
    conn: &mut Conn,
    user_id: UserId,
    revoked_after: Time,
    after: Option<KeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    run!(conn, c => {
        let mut query = api_keys::table
            .filter(api_keys::user_id.eq(user_id))
            .filter(api_keys::revoke_time.is_null().or(api_keys::revoke_time.gt(revoked_after)))
            .select(ApiKey::as_select())
            .order(api_keys::id.desc())
            .limit(limit)
            .into_boxed();
        if let Some(after) = after {
            query = query.filter(api_keys::id.lt(after));
        }
        Ok(query.load(c).await?)
    })
}

/// How many of the user's keys are alive at `now`.
pub async fn count_live(conn: &mut Conn, user_id: UserId, now: Time) -> Result<i64> {
    let query = api_keys::table
        .filter(api_keys::user_id.eq(user_id))
        .filter(api_keys::revoke_time.is_null())
        .filter(api_keys::expire_time.is_null().or(api_keys::expire_time.gt(now)))
        .count();
    run!(conn, c => Ok(query.get_result(c).await?))
}

/// Changes a key, and returns it as it is then.
pub async fn update(tx: &mut Tx, id: KeyId, settings: &Settings) -> Result<Option<ApiKey>> {
    let query = diesel::update(api_keys::table.find(id)).set(settings);
    run!(tx, c => Ok(query.returning(ApiKey::as_returning()).get_result(c).await.optional()?))
}

/// Ends a key. `false` when it had ended before.
pub async fn mark_revoked(tx: &mut Tx, id: KeyId, now: Time) -> Result<bool> {
    let query = diesel::update(api_keys::table.find(id).filter(api_keys::revoke_time.is_null()))
        .set(api_keys::revoke_time.eq(now));
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Ends all of the user's keys. Says which, and when they would have expired.
pub async fn mark_all_revoked(tx: &mut Tx, user_id: UserId, now: Time) -> Result<Vec<(KeyId, Option<Time>)>> {
    let unrevoked =
        api_keys::table.filter(api_keys::user_id.eq(user_id).and(api_keys::revoke_time.is_null()));
    let query = diesel::update(unrevoked)
        .set(api_keys::revoke_time.eq(now))
        .returning((api_keys::id, api_keys::expire_time));
    run!(tx, c => Ok(query.get_results(c).await?))
}

/// Notes that a key was used. An older use changes nothing.
pub async fn mark_used(tx: &mut Tx, id: KeyId, time: Time) -> Result<usize> {
    let earlier = api_keys::last_used_time.is_null().or(api_keys::last_used_time.lt(time));
    let query =
        diesel::update(api_keys::table.find(id).filter(earlier)).set(api_keys::last_used_time.eq(time));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Shows another secret's hint, and returns the key as it is then.
pub async fn set_hint(tx: &mut Tx, id: KeyId, hint: &str) -> Result<Option<ApiKey>> {
    let query = diesel::update(api_keys::table.find(id)).set(api_keys::hint.eq(hint));
    run!(tx, c => Ok(query.returning(ApiKey::as_returning()).get_result(c).await.optional()?))
}

/// Gives the key's current secret an end: it is current no longer.
pub async fn expire_current_secret(tx: &mut Tx, id: KeyId, expire_time: Time) -> Result<usize> {
    let query = diesel::update(
        api_key_secrets::table
            .filter(api_key_secrets::key_id.eq(id))
            .filter(api_key_secrets::expire_time.is_null()),
    )
    .set(api_key_secrets::expire_time.eq(expire_time));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Ends the key's rotated secrets that still live at `now`.
pub async fn expire_rotated_secrets(tx: &mut Tx, id: KeyId, now: Time) -> Result<usize> {
    let query = diesel::update(
        api_key_secrets::table
            .filter(api_key_secrets::key_id.eq(id))
            .filter(api_key_secrets::expire_time.gt(now)),
    )
    .set(api_key_secrets::expire_time.eq(now));
    run!(tx, c => Ok(query.execute(c).await?))
}
