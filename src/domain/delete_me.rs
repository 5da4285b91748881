//! Deleting one's own account.

use super::{Domain, Result, access::SignedIn, tokens::tokens_gone_by};
use crate::{
    store::{changes::Change, users},
    types::{Password, event::Action},
};

impl Domain {
    /// Deletes the account with its sessions and keys. Takes the password where the account has one.
    #[tracing::instrument(skip_all)]
    pub async fn delete_user(&self, caller: &SignedIn, password: Option<Password>) -> Result<()> {
        let verified = self.confirm_caller(caller, password, Action::DeleteAccount).await?;
        let deleted = self.store.tx(async |tx| {
            let user = verified.lock(tx).await?;
            let now = tx.now().await?;
            self.end_all_sessions(tx, user.id, None, now).await?;
            self.end_all_keys(tx, user.id, now).await?;
            self.tell(tx, &[Change::UserChanged(user.id)], now, tokens_gone_by(now)).await?;
            users::delete(tx, user.id).await?;
            caller.did(Action::DeleteAccount).record(tx, &caller.client).await
        });
        deleted.await
    }
}
