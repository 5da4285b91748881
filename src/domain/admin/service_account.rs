//! Accounts for programs, which last whoever made them.

use super::Administrator;
use crate::{
    domain::{Domain, Result},
    store::users::{self, User},
    types::{KeyName, Scopes, event::Action},
};

impl Domain {
    /// Makes a service account: without an address and without a password, so that nobody can sign in to it.
    #[tracing::instrument(skip_all)]
    pub async fn create_service_account(
        &self,
        name: &KeyName,
        scopes: &Scopes,
        by: &Administrator,
    ) -> Result<User> {
        let made = self.store.tx(async |tx| {
            by.hold(tx, None).await?;
            let user = User::new(None, name.as_str(), scopes.clone(), tx.now().await?);
            users::insert(tx, &user).await?;
            by.did(Action::CreateServiceAccount).to(user.id).record(tx, &by.client).await?;
            Ok(user)
        });
        made.await
    }
}
