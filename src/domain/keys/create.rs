//! Making a key.

use secrecy::{ExposeSecret, SecretString};

use super::{in_future, keep_secret, lock_owner, room_for_one, within};
use crate::{
    crypto::api_key,
    domain::{Domain, Result, access::SignedIn},
    store::{
        Tx,
        api_keys::{self, ApiKey, rate_columns},
        users::User,
    },
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
        let made = self.store.tx(async |tx| {
            let owner = lock_owner(tx, caller).await?;
            let (key, secret) = self.insert_key(tx, &owner, &new).await?;
            caller.did(Action::CreateKey).key(key.id).record(tx, &caller.client).await?;
            Ok((key, secret))
        });
        made.await
    }

    /// Makes a key for an owner whose row this transaction holds.
    pub(in crate::domain) async fn insert_key(
        &self,
        tx: &mut Tx,
        owner: &User,
        new: &NewKey,
    ) -> Result<(ApiKey, SecretString)> {
        let now = tx.now().await?;
        within(owner, &new.scopes)?;
        in_future(new.expire_time, now)?;
        room_for_one(tx, owner.id, now).await?;
        let secret = api_key::generate();
        let (rate_requests, rate_per_micros) = rate_columns(new.rate_limit);
        let key = ApiKey {
            id: KeyId::generate(now),
            user_id: owner.id,
            name: new.name.as_str().to_owned(),
            hint: api_key::hint(secret.expose_secret()),
            scopes: new.scopes.clone(),
            create_time: now,
            expire_time: new.expire_time,
            last_used_time: None,
            revoke_time: None,
            rate_requests,
            rate_per_micros,
        };
        api_keys::insert(tx, &key).await?;
        keep_secret(tx, key.id, &secret, now).await?;
        Ok((key, secret))
    }
}
