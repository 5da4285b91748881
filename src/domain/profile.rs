//! A person's own account.

use super::{Domain, Error, Result};
use crate::{
    store::users::{self, User},
    types::{DisplayName, UserId},
};

impl Domain {
    /// The account.
    pub async fn get_user(&self, id: UserId) -> Result<User> {
        users::find(&mut self.store.conn().await?, id).await?.ok_or(Error::CredentialRevoked)
    }

    /// Changes the display name.
    pub async fn rename_user(&self, id: UserId, name: &DisplayName) -> Result<User> {
        let renamed = self.store.tx(async |tx| {
            let now = tx.now().await?;
            users::set_name(tx, id, name.as_str(), now).await
        });
        renamed.await?.ok_or(Error::CredentialRevoked)
    }
}
