//! Shutting an account, and opening it again; on the operator's behalf.

use super::{Client, Domain, Error, Result, audit::Deed, tokens::tokens_gone_by};
use crate::{
    store::{
        Tx,
        changes::Change,
        one_time_tokens::{self, Purpose},
        users::{self, User},
    },
    types::{Email, Time, UserId, event::Action},
};

impl Domain {
    /// The account of this address.
    #[tracing::instrument(skip_all)]
    pub async fn find_user(&self, email: &Email) -> Result<User> {
        let found = users::find_by_email(&mut self.store.conn().await?, email.normalized()).await?;
        found.ok_or(Error::NotFound("user"))
    }

    /// Shuts an account: its sessions and keys end (S21), and what was mailed to it is void. Again is no error.
    #[tracing::instrument(skip_all)]
    pub async fn disable_user(&self, id: UserId) -> Result<()> {
        let disabled = self.store.tx(async |tx| {
            let user = users::lock(tx, id).await?.ok_or(Error::NotFound("user"))?;
            let now = tx.now().await?;
            if user.disabled_time.is_some() {
                return Ok(());
            }
            self.end_all_sessions(tx, id, None, now).await?;
            self.end_all_keys(tx, id, now).await?;
            let mailed = [Purpose::VerifyEmail, Purpose::ResetPassword, Purpose::ChangeEmail];
            one_time_tokens::void(tx, id, &mailed).await?;
            self.set_disabled(tx, id, Some(now), now, Action::DisableAccount).await
        });
        disabled.await
    }

    /// Opens it again. What ended when it was shut stays ended (S21).
    #[tracing::instrument(skip_all)]
    pub async fn enable_user(&self, id: UserId) -> Result<()> {
        let enabled = self.store.tx(async |tx| {
            let user = users::lock(tx, id).await?.ok_or(Error::NotFound("user"))?;
            let now = tx.now().await?;
            if user.disabled_time.is_none() {
                return Ok(());
            }
            self.set_disabled(tx, id, None, now, Action::EnableAccount).await
        });
        enabled.await
    }

    async fn set_disabled(
        &self,
        tx: &mut Tx,
        id: UserId,
        disabled_time: Option<Time>,
        now: Time,
        action: Action,
    ) -> Result<()> {
        users::set_disabled(tx, id, disabled_time, now).await?;
        self.tell(tx, &[Change::UserChanged(id)], now, tokens_gone_by(now)).await?;
        Deed::done(action).to(id).record(tx, &Client::default()).await
    }
}
