//! Ending an account's credentials, without shutting it.

use super::{Administrator, lock};
use crate::{
    domain::{Domain, Result},
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
    /// Ends all sessions of a user, all keys, or both.
    #[tracing::instrument(skip_all)]
    pub async fn revoke_credentials(&self, id: UserId, what: What, by: &Administrator) -> Result<Revoked> {
        let revoked = self.store.tx(async |tx| {
            lock(tx, id).await?;
            let now = tx.now().await?;
            let mut revoked = Revoked::default();
            if what.sessions {
                revoked.sessions = self.end_all_sessions(tx, id, None, now).await?;
            }
            if what.keys {
                revoked.keys = self.end_all_keys(tx, id, now).await?;
            }
            by.did(Action::RevokeCredentials).to(id).record(tx, &by.client).await?;
            Ok(revoked)
        });
        revoked.await
    }
}
