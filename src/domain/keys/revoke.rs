//! Ending keys.

use crate::{
    domain::{Domain, Error, Result, access::SignedIn},
    store::{Tx, api_keys, changes::Change},
    types::{KeyId, Time, UserId, event::Action},
};

impl Domain {
    /// Ends a key. Again is no error.
    #[tracing::instrument(skip_all)]
    pub async fn revoke_key(&self, caller: &SignedIn, id: KeyId) -> Result<()> {
        let revoked = self.store.tx(async |tx| {
            let key = api_keys::lock(tx, caller.user_id, id).await?.ok_or(Error::NotFound("key"))?;
            let now = tx.now().await?;
            if self.end_key(tx, key.id, now).await? {
                caller.did(Action::RevokeKey).key(id).record(tx, &caller.client).await?;
            }
            Ok(())
        });
        revoked.await
    }

    /// Ends all of a user's keys. Says how many lived.
    pub(in crate::domain) async fn end_all_keys(
        &self,
        tx: &mut Tx,
        user_id: UserId,
        now: Time,
    ) -> Result<usize> {
        let mut lived = 0;
        for (id, expire_time) in api_keys::mark_all_revoked(tx, user_id, now).await? {
            // Those that have expired, of which there may be any number, are refused anyway.
            if expire_time.is_none_or(|end| now < end) {
                self.tell_of_key(tx, Change::KeyEnded(id), now).await?;
                lived += 1;
            }
        }
        Ok(lived)
    }

    /// Says whether it lived until now.
    pub(in crate::domain) async fn end_key(&self, tx: &mut Tx, id: KeyId, now: Time) -> Result<bool> {
        let lived = api_keys::mark_revoked(tx, id, now).await?;
        if lived {
            self.tell_of_key(tx, Change::KeyEnded(id), now).await?;
        }
        Ok(lived)
    }
}
