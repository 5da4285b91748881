//! Making a key.

use secrecy::{ExposeSecret, SecretString};

use super::{in_future, keep_secret, lock_owner, room_for_one, within};
use crate::{
    crypto::api_key,
    domain::{Domain, Error, Result, access::SignedIn},
    store::api_keys::{self, ApiKey, rate_columns},
    types::{KeyId, KeyName, RateLimit, Scopes, Time, event::Action},
};

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

impl Domain {
    /// Makes a key and returns its secret, which is not kept (S32).
    #[tracing::instrument(skip_all)]
    pub async fn create_key(&self, caller: &SignedIn, new: NewKey) -> Result<(ApiKey, SecretString)> {
        let (user_id, secret) = (caller.user_id, api_key::generate());
        let (rate_requests, rate_per_micros) = rate_columns(new.rate_limit);
        let made = self.store.tx(async |tx| {
            let owner = lock_owner(tx, caller).await?;
            let now = tx.now().await?;
            within(&owner, &new.scopes)?;
            in_future(new.expire_time, now)?;
            room_for_one(tx, user_id, now).await?;
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
            caller.did(Action::CreateKey).key(key.id).record(tx, &caller.client).await?;
            Ok::<_, Error>(key)
        });
        Ok((made.await?, secret))
    }
}
