//! Deleting one's own account.

use super::{Domain, Result, access::SignedIn, tokens::tokens_gone_by};
use crate::{
    store::{Tx, changes::Change, users},
    types::{Password, UserId, event::Action},
};

impl Domain {
    /// Deletes the account with its sessions and keys. Takes the password where the account has one.
    #[tracing::instrument(skip_all)]
    pub async fn delete_own_account(&self, caller: &SignedIn, password: Option<Password>) -> Result<()> {
        let verified = self.confirm_caller(caller, password, Action::DeleteAccount).await?;
        let deleted = self.store.tx(async |tx| {
            let user = verified.lock(tx).await?;
            self.remove_account(tx, user.id).await?;
            caller.did(Action::DeleteAccount).record(tx, &caller.client).await
        });
        deleted.await
    }

    /// Removes an account, whose row this transaction holds, with all that is its own (S21).
    pub(super) async fn remove_account(&self, tx: &mut Tx, id: UserId) -> Result<()> {
        let now = tx.now().await?;
        self.end_all_sessions(tx, id, None, now).await?;
        self.end_all_keys(tx, id, now).await?;
        self.tell(tx, &[Change::UserChanged(id)], now, tokens_gone_by(now)).await?;
        users::delete(tx, id).await?;
        Ok(())
    }
}
