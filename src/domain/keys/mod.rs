//! API keys: made, read, changed, rotated and revoked by their owners, a file each. Here is what these share.

mod create;
mod read;
mod revoke;
mod rotate;
mod update;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

pub use create::NewKey;
pub(super) use rotate::check_grace;
pub use update::KeyChange;

use super::{Domain, Error, Result, access::SignedIn};
use crate::{
    crypto::sha256,
    store::{
        Tx,
        api_keys::{self, ApiKey, Secret},
        changes::Change,
        sessions,
        users::{self, User},
    },
    types::{Invalid, KeyId, Scopes, Time, UserId},
};

/// At most this many live keys a user.
const MAX_KEYS: i64 = 100;
/// How long replicas remember that a key changed: longer than any may know it from before.
const CHANGE_REMEMBERED: Duration = Duration::from_hours(24);

/// The owner, locked, so that two of their calls do not both take the last place. Their session must have lived to see it:
/// what ended it may have ended the keys as well, and a key that came after would be left (S21).
async fn lock_owner(tx: &mut Tx, caller: &SignedIn) -> Result<User> {
    let owner = users::lock(tx, caller.user_id).await?.ok_or(Error::CredentialRevoked)?;
    sessions::lock(tx, caller.user_id, caller.session_id).await?.ok_or(Error::CredentialRevoked)?;
    Ok(owner)
}

/// The key, locked, if it is this user's (S33) and can still be changed.
async fn lock_unrevoked(tx: &mut Tx, user_id: UserId, id: KeyId) -> Result<ApiKey> {
    let key = api_keys::lock(tx, user_id, id).await?.ok_or(Error::NotFound("key"))?;
    if key.revoke_time.is_some() {
        return Err(Error::field("key_id", Invalid::new("the key has been revoked")));
    }
    Ok(key)
}

/// Stores a secret, as its digest (S32).
async fn keep_secret(tx: &mut Tx, key_id: KeyId, secret: &SecretString, now: Time) -> Result<()> {
    let digest = sha256(secret.expose_secret());
    Ok(api_keys::insert_secret(tx, &Secret { digest, key_id, create_time: now, expire_time: None }).await?)
}

impl Domain {
    /// Tells the replicas.
    async fn tell_of_key(&self, tx: &mut Tx, change: Change, now: Time) -> Result<()> {
        self.tell(tx, &[change], now, now + CHANGE_REMEMBERED).await
    }
}

/// A key may do no more than its owner (S34).
fn within(owner: &User, scopes: &Scopes) -> Result<()> {
    let missing = owner.scopes.missing(scopes);
    if missing.is_empty() { Ok(()) } else { Err(Error::InsufficientScope(missing)) }
}

fn in_future(expire_time: Option<Time>, now: Time) -> Result<()> {
    match expire_time {
        Some(end) if end <= now => Err(Error::field("expire_time", Invalid::new("must be in the future"))),
        Some(_) | None => Ok(()),
    }
}

async fn room_for_one(tx: &mut Tx, user_id: UserId, now: Time) -> Result<()> {
    if api_keys::count_live(tx, user_id, now).await? >= MAX_KEYS {
        return Err(Error::LimitReached(format!("a user may have at most {MAX_KEYS} live keys")));
    }
    Ok(())
}
