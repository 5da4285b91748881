//! Shutting an account, and opening it again.

use super::Administrator;
use crate::{
    domain::{Domain, Result, tokens::tokens_gone_by},
    store::{
        Tx,
        changes::Change,
        one_time_tokens::{self, Purpose},
        users::{self, User},
    },
    types::{Time, UserId, event::Action},
};

impl Domain {
    /// Shuts an account: its sessions and keys end (S21), and what was mailed to it is void. Again is no error.
    #[tracing::instrument(skip_all)]
    pub async fn disable_user(&self, id: UserId, by: &Administrator) -> Result<User> {
        by.not_oneself(id)?;
        let disabled = self.store.tx(async |tx| {
            let user = by.lock(tx, id).await?;
            let now = tx.now().await?;
            if user.disabled_time.is_some() {
                return Ok(user);
            }
            self.end_all_sessions(tx, id, None, now).await?;
            self.end_all_keys(tx, id, now).await?;
            let mailed = [Purpose::VerifyEmail, Purpose::ResetPassword, Purpose::ChangeEmail];
            one_time_tokens::void(tx, id, &mailed).await?;
            self.set_disabled(tx, user, Some(now), by, Action::DisableAccount).await
        });
        disabled.await
    }

    /// Opens it again. What ended when it was shut stays ended (S21).
    #[tracing::instrument(skip_all)]
    pub async fn enable_user(&self, id: UserId, by: &Administrator) -> Result<User> {
        let enabled = self.store.tx(async |tx| {
            let user = by.lock(tx, id).await?;
            if user.disabled_time.is_none() {
                return Ok(user);
            }
            self.set_disabled(tx, user, None, by, Action::EnableAccount).await
        });
        enabled.await
    }

    async fn set_disabled(
        &self,
        tx: &mut Tx,
        user: User,
        disabled_time: Option<Time>,
        by: &Administrator,
        action: Action,
    ) -> Result<User> {
        let now = tx.now().await?;
        users::set_disabled(tx, user.id, disabled_time, now).await?;
        self.tell(tx, &[Change::UserChanged(user.id)], now, tokens_gone_by(now)).await?;
        by.did(action).to(user.id).record(tx, &by.client).await?;
        Ok(User { disabled_time, update_time: now, ..user })
    }
}
