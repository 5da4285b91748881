//! Other people's keys, and those of service accounts.

use std::time::Duration;

use secrecy::SecretString;

use super::Administrator;
use crate::{
    domain::{
        Domain, Error, Result,
        keys::{NewKey, check_grace},
    },
    store::api_keys::{self, ApiKey},
    types::{Invalid, KeyId, UserId, UserKind, event::Action},
};

impl Domain {
    /// Makes a key for a service account. A person's keys are made by that person alone.
    #[tracing::instrument(skip_all)]
    pub async fn create_service_account_key(
        &self,
        id: UserId,
        new: NewKey,
        by: &Administrator,
    ) -> Result<(ApiKey, SecretString)> {
        let made = self.store.tx(async |tx| {
            let owner = by.lock(tx, id).await?;
            if owner.kind != UserKind::ServiceAccount {
                return Err(Error::NotFound("service account"));
            }
            // Its keys ended when it was shut, and this one would not have.
            if owner.disabled_time.is_some() {
                return Err(Error::field("user_id", Invalid::new("the account is disabled")));
            }
            let (key, secret) = self.insert_key(tx, &owner, &new).await?;
            by.did(Action::CreateKey).to(id).key(key.id).record(tx, &by.client).await?;
            Ok((key, secret))
        });
        made.await
    }

    /// A page of a user's keys, newest first.
    #[tracing::instrument(skip_all)]
    pub async fn list_user_keys(&self, id: UserId, after: Option<KeyId>, limit: i64) -> Result<Vec<ApiKey>> {
        self.find_user(id).await?;
        self.list_keys(id, after, limit).await
    }

    /// Gives a user's key a new secret, as `rotate_key` does.
    #[tracing::instrument(skip_all)]
    pub async fn rotate_user_key(
        &self,
        user_id: UserId,
        id: KeyId,
        grace: Duration,
        by: &Administrator,
    ) -> Result<(ApiKey, SecretString)> {
        check_grace(grace)?;
        let rotated = self.store.tx(async |tx| {
            by.lock(tx, user_id).await?;
            let rotated = self.give_secret(tx, user_id, id, grace).await?;
            by.did(Action::RotateKey).to(user_id).key(id).record(tx, &by.client).await?;
            Ok(rotated)
        });
        rotated.await
    }

    /// Ends a user's key. Again is no error.
    #[tracing::instrument(skip_all)]
    pub async fn revoke_user_key(&self, user_id: UserId, id: KeyId, by: &Administrator) -> Result<()> {
        let revoked = self.store.tx(async |tx| {
            by.lock(tx, user_id).await?;
            let key = api_keys::lock(tx, user_id, id).await?.ok_or(Error::NotFound("key"))?;
            let now = tx.now().await?;
            if self.end_key(tx, key.id, now).await? {
                by.did(Action::RevokeKey).to(user_id).key(id).record(tx, &by.client).await?;
            }
            Ok(())
        });
        revoked.await
    }
}
