//! Reading keys. Their secrets cannot be read.

use std::time::Duration;

use crate::{
    domain::{Domain, Error, Result},
    store::api_keys::{self, ApiKey},
    types::{KeyId, UserId},
};

/// How long a revoked key is still listed.
const LISTED_AFTER_REVOCATION: Duration = Duration::from_hours(30 * 24);

impl Domain {
    /// A page of the user's keys, newest first.
    #[tracing::instrument(skip_all)]
    pub async fn list_keys(&self, user_id: UserId, after: Option<KeyId>, limit: i64) -> Result<Vec<ApiKey>> {
        let revoked_after = self.clock.now() - LISTED_AFTER_REVOCATION;
        Ok(api_keys::list(&mut self.store.conn().await?, user_id, revoked_after, after, limit).await?)
    }

    /// One of the user's keys (S33).
    #[tracing::instrument(skip_all)]
    pub async fn get_key(&self, user_id: UserId, id: KeyId) -> Result<ApiKey> {
        api_keys::find(&mut self.store.conn().await?, user_id, id).await?.ok_or(Error::NotFound("key"))
    }
}
