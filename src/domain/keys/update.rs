//! Changing a key.

use super::{in_future, lock_owner, lock_unrevoked, room_for_one, within};
use crate::{
    domain::{Domain, Error, Result, access::SignedIn},
    store::{
        api_keys::{self, ApiKey, Settings, rate_columns},
        changes::Change,
    },
    types::{KeyId, KeyName, RateLimit, Scopes, Time, event::Action},
};

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
    /// Changes a key.
    #[tracing::instrument(skip_all)]
    pub async fn update_key(&self, caller: &SignedIn, id: KeyId, change: KeyChange) -> Result<ApiKey> {
        let user_id = caller.user_id;
        let updated = self.store.tx(async |tx| {
            let owner = lock_owner(tx, caller).await?;
            let key = lock_unrevoked(tx, user_id, id).await?;
            let now = tx.now().await?;
            if let Some(scopes) = &change.scopes {
                within(&owner, scopes)?;
            }
            if let Some(expire_time) = change.expire_time {
                in_future(expire_time, now)?;
                // One that has expired comes to life again, and takes a place.
                if key.expire_time.is_some_and(|end| end <= now) {
                    room_for_one(tx, user_id, now).await?;
                }
            }
            let (rate_requests, rate_per_micros) =
                change.rate_limit.map_or((key.rate_requests, key.rate_per_micros), rate_columns);
            let settings = Settings {
                name: change.name.map_or(key.name, |name| name.as_str().to_owned()),
                scopes: change.scopes.unwrap_or(key.scopes),
                expire_time: change.expire_time.unwrap_or(key.expire_time),
                rate_requests,
                rate_per_micros,
            };
            let key = api_keys::update(tx, id, &settings).await?;
            self.tell_of_key(tx, Change::KeyChanged(id), now).await?;
            caller.did(Action::UpdateKey).key(id).record(tx, &caller.client).await?;
            key.ok_or(Error::NotFound("key"))
        });
        updated.await
    }
}
