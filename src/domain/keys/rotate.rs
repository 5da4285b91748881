//! Giving a key another secret.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{keep_secret, lock_owner, lock_unrevoked};
use crate::{
    crypto::api_key,
    domain::{Domain, Error, Result, access::SignedIn},
    store::{
        Tx,
        api_keys::{self, ApiKey},
        changes::Change,
    },
    types::{Invalid, KeyId, UserId, event::Action},
};

/// The longest that a rotated secret may live on.
const MAX_GRACE: Duration = Duration::from_hours(7 * 24);

impl Domain {
    /// Gives a key a new secret. The old one lives on for `grace`; one that was rotated before ends now.
    #[tracing::instrument(skip_all)]
    pub async fn rotate_key(
        &self,
        caller: &SignedIn,
        id: KeyId,
        grace: Duration,
    ) -> Result<(ApiKey, SecretString)> {
        check_grace(grace)?;
        let rotated = self.store.tx(async |tx| {
            lock_owner(tx, caller).await?;
            let rotated = self.give_secret(tx, caller.user_id, id, grace).await?;
            caller.did(Action::RotateKey).key(id).record(tx, &caller.client).await?;
            Ok(rotated)
        });
        rotated.await
    }

    /// Gives this user's key a new secret, within a transaction.
    pub(in crate::domain) async fn give_secret(
        &self,
        tx: &mut Tx,
        user_id: UserId,
        id: KeyId,
        grace: Duration,
    ) -> Result<(ApiKey, SecretString)> {
        let key = lock_unrevoked(tx, user_id, id).await?;
        let now = tx.now().await?;
        let secret = api_key::generate();
        // Also when the key is given a later end meanwhile.
        let end = key.expire_time.map_or(now + grace, |end| end.min(now + grace));
        api_keys::expire_rotated_secrets(tx, id, now).await?;
        api_keys::expire_current_secret(tx, id, end).await?;
        keep_secret(tx, id, &secret, now).await?;
        let key = api_keys::set_hint(tx, id, &api_key::hint(secret.expose_secret())).await?;
        self.tell_of_key(tx, Change::KeyChanged(id), now).await?;
        Ok((key.ok_or(Error::NotFound("key"))?, secret))
    }
}

/// Whether a rotated secret may live on for so long.
pub(in crate::domain) fn check_grace(grace: Duration) -> Result<()> {
    if grace > MAX_GRACE {
        return Err(Error::field("grace_period", Invalid::new("at most 7 days")));
    }
    Ok(())
}
