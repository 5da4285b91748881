//! Signing out.

use super::{Client, Domain, Error, Result, access::SignedIn, audit::Deed};
use crate::{
    crypto::opaque,
    store::{refresh_tokens, sessions},
    types::event::Action,
};

impl Domain {
    /// Ends the caller's session and that of the refresh token, whichever are given. By refresh token a credential that is
    /// dead, or none, is no reason to refuse.
    #[tracing::instrument(skip_all)]
    pub async fn logout(
        &self,
        caller: Result<SignedIn>,
        refresh_token: Option<&str>,
        client: &Client,
    ) -> Result<()> {
        if let Some(token) = refresh_token {
            self.end_session_of(token, client).await?;
        }
        let ended = match caller {
            Ok(caller) => self.end_own_session(&caller).await,
            Err(error) => Err(error),
        };
        match ended {
            Err(error) if refresh_token.is_some() && error.is_of_credential() => Ok(()),
            ended => ended,
        }
    }

    async fn end_own_session(&self, caller: &SignedIn) -> Result<()> {
        match self.revoke_session(caller, caller.session_id, Action::SignOut).await {
            // It has ended since the caller was let in.
            Err(Error::NotFound(_)) => Err(Error::CredentialRevoked),
            answer => answer,
        }
    }

    /// Ends the session that a refresh token belongs to. Says nothing of whether there was one (S23).
    async fn end_session_of(&self, refresh_token: &str, client: &Client) -> Result<()> {
        let Some(digest) = opaque::refresh_token_digest(refresh_token) else { return Ok(()) };
        let ended = self.store.tx(async |tx| {
            let Some(token) = refresh_tokens::find(tx, digest).await? else { return Ok(()) };
            let Some(session) = sessions::find(tx, token.session_id).await? else { return Ok(()) };
            let now = tx.now().await?;
            if self.end_session(tx, session.user_id, session.id, now).await? {
                let deed = Deed::done(Action::SignOut).to(session.user_id).session(session.id);
                deed.record(tx, client).await?;
            }
            Ok(())
        });
        ended.await
    }
}
