//! A person's own account.

use super::{Domain, Error, Result, access::SignedIn};
use crate::{
    store::users::{self, User},
    types::{DisplayName, UserId, event::Action},
};

impl Domain {
    /// The account.
    #[tracing::instrument(skip_all)]
    pub async fn get_user(&self, id: UserId) -> Result<User> {
        users::find(&mut self.store.conn().await?, id).await?.ok_or(Error::CredentialRevoked)
    }

    /// Changes the display name.
    #[tracing::instrument(skip_all)]
    pub async fn rename_user(&self, caller: &SignedIn, name: &DisplayName) -> Result<User> {
        let renamed = self.store.tx(async |tx| {
            let now = tx.now().await?;
            let user = users::set_name(tx, caller.user_id, name.as_str(), now).await?;
            let user = user.ok_or(Error::CredentialRevoked)?;
            caller.did(Action::UpdateProfile).record(tx, &caller.client).await?;
            Ok(user)
        });
        renamed.await
    }
}
