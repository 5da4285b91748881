//! Ending keys.

use super::record;
use crate::{
    domain::{Domain, Error, Result},
    store::{Tx, api_keys, changes::Change},
    types::{KeyId, Time, UserId},
};

impl Domain {
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

    /// Ends all of a user's keys.
    pub(in crate::domain) async fn end_all_keys(
        &self,
        tx: &mut Tx,
        user_id: UserId,
        now: Time,
    ) -> Result<()> {
        for id in api_keys::list_unrevoked(tx, user_id).await? {
            end(tx, id, now).await?;
        }
        Ok(())
    }
}

async fn end(tx: &mut Tx, id: KeyId, now: Time) -> Result<()> {
    if api_keys::mark_revoked(tx, id, now).await? {
        record(tx, Change::KeyEnded(id), now).await?;
    }
    Ok(())
}
