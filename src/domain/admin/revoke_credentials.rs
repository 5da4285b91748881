//! Ending an account's credentials, without shutting it.

use super::Administrator;
use crate::{
    domain::{Domain, Result},
    store::one_time_tokens::{self, Purpose},
    types::{UserId, event::Action},
};

/// What is to end.
#[derive(Debug, Clone, Copy)]
pub struct What {
    /// Sessions.
    pub sessions: bool,
    /// Keys.
    pub keys: bool,
}

/// How many ended that lived until then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Sessions.
    pub sessions: usize,
    /// Keys.
    pub keys: usize,
}

impl Domain {
    /// Ends all sessions of a user, all keys, or both. With the sessions goes a change of the address that was asked for in one
    /// of them: whoever held it would otherwise confirm it afterwards (S21).
    #[tracing::instrument(skip_all)]
    pub async fn revoke_credentials(&self, id: UserId, what: What, by: &Administrator) -> Result<Revoked> {
        let revoked = self.store.tx(async |tx| {
            by.lock(tx, id).await?;
            let now = tx.now().await?;
            let (mut revoked, mut voided) = (Revoked::default(), 0);
            if what.sessions {
                voided = one_time_tokens::void(tx, id, &[Purpose::ChangeEmail]).await?;
                revoked.sessions = self.end_all_sessions(tx, id, None, now).await?;
            }
            if what.keys {
                revoked.keys = self.end_all_keys(tx, id, now).await?;
            }
            if voided > 0 || revoked != Revoked::default() {
                by.did(Action::RevokeCredentials).to(id).record(tx, &by.client).await?;
            }
            Ok(revoked)
        });
        revoked.await
    }
}
