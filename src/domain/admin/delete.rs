//! Deleting an account.

use super::Administrator;
use crate::{
    domain::{Domain, Result},
    types::{UserId, event::Action},
};

impl Domain {
    /// Deletes an account with its sessions and keys.
    #[tracing::instrument(skip_all)]
    pub async fn delete_user(&self, id: UserId, by: &Administrator) -> Result<()> {
        by.not_oneself(id)?;
        let deleted = self.store.tx(async |tx| {
            by.lock(tx, id).await?;
            self.remove_account(tx, id).await?;
            by.did(Action::DeleteAccount).to(id).record(tx, &by.client).await
        });
        deleted.await
    }
}
