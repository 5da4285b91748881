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
        let mut tx = self.store.begin().await?;
        let now = tx.now().await?;
        let user = users::set_name(&mut tx, id, name.as_str(), now).await?.ok_or(Error::CredentialRevoked)?;
        tx.commit().await?;
        Ok(user)
    }
}
