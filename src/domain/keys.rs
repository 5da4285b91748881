//! API keys: made, changed, rotated and revoked by their owners.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Domain, Error, Result};
use crate::{
    crypto::{api_key, sha256},
    store::{
        Conn, Tx,
        api_keys::{self, ApiKey, Secret, Settings},
        changes::{self, Change},
        users::{self, User},
    },
    types::{Invalid, KeyId, KeyName, RateLimit, Scopes, Time, UserId},
};

/// At most this many live keys a user.
const MAX_KEYS: i64 = 100;
/// How long a revoked key is still listed.
const LISTED_AFTER_REVOCATION: Duration = Duration::from_hours(30 * 24);
/// How long replicas remember that a key changed: longer than any may know it from before.
const CHANGE_REMEMBERED: Duration = Duration::from_hours(24);
/// The longest that a rotated secret may live on.
pub const MAX_GRACE: Duration = Duration::from_hours(7 * 24);

/// What a key is made of.
#[derive(Debug)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: KeyName,
    /// What it may do, within what its owner may.
    pub scopes: Scopes,
    /// When it stops working.
    pub expire_time: Option<Time>,
    /// How often it may be used.
    pub rate_limit: Option<RateLimit>,
}

/// What is to change of a key; `None` leaves as it is, `Some(None)` clears.
#[derive(Debug, Default)]
pub struct KeyChange {
    /// The name.
    pub name: Option<KeyName>,
    /// The scopes.
    pub scopes: Option<Scopes>,
    /// The expiry.
    pub expire_time: Option<Option<Time>>,
    /// The rate limit.
    pub rate_limit: Option<Option<RateLimit>>,
}

impl Domain {
    /// Makes a key and returns its secret, which is not kept (S32).
    pub async fn create_key(&self, user_id: UserId, new: NewKey) -> Result<(ApiKey, SecretString)> {
        let secret = api_key::generate();
        let made = self.store.tx(async |tx| {
            let owner = lock_owner(tx, user_id).await?;
            let now = tx.now().await?;
            within(&owner, &new.scopes)?;
            in_future(new.expire_time, now)?;
            room_for_one(tx, user_id, now).await?;
            let (rate_requests, rate_per_micros) = columns(new.rate_limit);
            let key = ApiKey {
                id: KeyId::generate(now),
                user_id,
                name: new.name.as_str().to_owned(),
                hint: api_key::hint(secret.expose_secret()),
                scopes: new.scopes,
                create_time: now,
                expire_time: new.expire_time,
                last_used_time: None,
                revoke_time: None,
                rate_requests,
                rate_per_micros,
            };
            api_keys::insert(tx, &key).await?;
            keep_secret(tx, key.id, &secret, now).await?;
            Ok::<_, Error>(key)
        });
        let key = made.await?;
        tracing::info!(%user_id, key_id = %key.id, "key made");
        Ok((key, secret))
    }

    /// A page of the user's keys, newest first.
    pub async fn list_keys(&self, user_id: UserId, after: Option<KeyId>, limit: i64) -> Result<Vec<ApiKey>> {
        let revoked_after = self.clock.now() - LISTED_AFTER_REVOCATION;
        Ok(api_keys::list(&mut self.store.conn().await?, user_id, revoked_after, after, limit).await?)
    }

    /// One of the user's keys (S33).
    pub async fn get_key(&self, user_id: UserId, id: KeyId) -> Result<ApiKey> {
        api_keys::find(&mut self.store.conn().await?, user_id, id).await?.ok_or(Error::NotFound("key"))
    }

    /// Changes a key.
    pub async fn update_key(&self, user_id: UserId, id: KeyId, change: KeyChange) -> Result<ApiKey> {
        let updated = self.store.tx(async |tx| {
            let owner = lock_owner(tx, user_id).await?;
            let key = lock_unrevoked(tx, user_id, id).await?;
            let now = tx.now().await?;
            if let Some(scopes) = &change.scopes {
                within(&owner, scopes)?;
            }
            if let Some(expire_time) = change.expire_time {
                in_future(expire_time, now)?;
                if key.expire_time.is_some_and(|end| end <= now) {
                    room_for_one(tx, user_id, now).await?;
                }
            }
            let (rate_requests, rate_per_micros) =
                change.rate_limit.map_or((key.rate_requests, key.rate_per_micros), columns);
            let settings = Settings {
                name: change.name.map_or(key.name.clone(), |name| name.as_str().to_owned()),
                scopes: change.scopes.unwrap_or(key.scopes.clone()),
                expire_time: change.expire_time.unwrap_or(key.expire_time),
                rate_requests,
                rate_per_micros,
            };
            api_keys::update(tx, id, &settings).await?;
            changes::insert(tx, Change::KeyChanged(id), now, now + CHANGE_REMEMBERED).await?;
            let Settings { name, scopes, expire_time, rate_requests, rate_per_micros } = settings;
            Ok(ApiKey { name, scopes, expire_time, rate_requests, rate_per_micros, ..key })
        });
        updated.await
    }

    /// Gives a key a new secret. The old one lives on for `grace`; one that was rotated before ends now.
    pub async fn rotate_key(
        &self,
        user_id: UserId,
        id: KeyId,
        grace: Duration,
    ) -> Result<(ApiKey, SecretString)> {
        let secret = api_key::generate();
        let hint = api_key::hint(secret.expose_secret());
        let rotated = self.store.tx(async |tx| {
            let key = lock_unrevoked(tx, user_id, id).await?;
            let now = tx.now().await?;
            api_keys::expire_rotated_secrets(tx, id, now).await?;
            api_keys::expire_current_secret(tx, id, now + grace).await?;
            keep_secret(tx, id, &secret, now).await?;
            api_keys::set_hint(tx, id, &hint).await?;
            changes::insert(tx, Change::KeyChanged(id), now, now + CHANGE_REMEMBERED).await?;
            Ok::<_, Error>(ApiKey { hint, ..key })
        });
        let key = rotated.await?;
        tracing::info!(%user_id, key_id = %id, "key rotated");
        Ok((key, secret))
    }

    /// Ends a key. Again is no error.
    pub async fn revoke_key(&self, user_id: UserId, id: KeyId) -> Result<()> {
        let revoked = self.store.tx(async |tx| {
            let key = api_keys::lock(tx, user_id, id).await?.ok_or(Error::NotFound("key"))?;
            let now = tx.now().await?;
            end(tx, key.id, now).await
        });
        revoked.await?;
        tracing::info!(%user_id, key_id = %id, "key revoked");
        Ok(())
    }
}

/// Ends all of a user's keys.
pub(super) async fn end_all(tx: &mut Tx, user_id: UserId, now: Time) -> Result<()> {
    for key in api_keys::list(tx, user_id, now, None, i64::from(i32::MAX)).await? {
        end(tx, key.id, now).await?;
    }
    Ok(())
}

async fn end(tx: &mut Conn, id: KeyId, now: Time) -> Result<()> {
    if api_keys::mark_revoked(tx, id, now).await? {
        changes::insert(tx, Change::KeyEnded(id), now, now + CHANGE_REMEMBERED).await?;
    }
    Ok(())
}

/// The owner, locked, so that two of their calls do not both take the last place.
async fn lock_owner(tx: &mut Tx, user_id: UserId) -> Result<User> {
    users::lock(tx, user_id).await?.ok_or(Error::CredentialRevoked)
}

async fn lock_unrevoked(tx: &mut Tx, user_id: UserId, id: KeyId) -> Result<ApiKey> {
    let key = api_keys::lock(tx, user_id, id).await?.ok_or(Error::NotFound("key"))?;
    if key.revoke_time.is_some() {
        return Err(Error::field("key_id", Invalid::new("the key has been revoked")));
    }
    Ok(key)
}

async fn keep_secret(tx: &mut Tx, key_id: KeyId, secret: &SecretString, now: Time) -> Result<()> {
    let digest = sha256(secret.expose_secret());
    Ok(api_keys::insert_secret(tx, &Secret { digest, key_id, create_time: now, expire_time: None }).await?)
}

/// A key may do no more than its owner (S34).
fn within(owner: &User, scopes: &Scopes) -> Result<()> {
    let missing = owner.scopes.missing(scopes);
    if missing.is_empty() { Ok(()) } else { Err(Error::InsufficientScope(missing)) }
}

fn in_future(expire_time: Option<Time>, now: Time) -> Result<()> {
    match expire_time {
        Some(end) if end <= now => Err(Error::field("expire_time", Invalid::new("must be in the future"))),
        _ => Ok(()),
    }
}

async fn room_for_one(tx: &mut Tx, user_id: UserId, now: Time) -> Result<()> {
    if api_keys::count_live(tx, user_id, now).await? >= MAX_KEYS {
        return Err(Error::LimitReached("a user may have at most 100 live keys"));
    }
    Ok(())
}

fn columns(limit: Option<RateLimit>) -> (Option<i32>, Option<i64>) {
    let requests = limit.and_then(|limit| i32::try_from(limit.requests()).ok());
    let per_micros = limit.and_then(|limit| i64::try_from(limit.per().as_micros()).ok());
    (requests, per_micros)
}
