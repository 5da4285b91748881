//! Signing out.

use super::{Domain, Error, Result, access::SignedIn};
use crate::{
    crypto::opaque,
    store::{refresh_tokens, sessions},
};

impl Domain {
    /// Ends the caller's own session.
    pub async fn logout(&self, caller: SignedIn) -> Result<()> {
        match self.revoke_session(caller.user_id, caller.session_id).await {
            // It has ended since the caller was let in.
            Err(Error::NotFound(_)) => Err(Error::CredentialRevoked),
            answer => answer,
        }
    }

    /// Ends the session that a refresh token belongs to. Says nothing of whether there was one (S23).
    pub async fn logout_by_refresh_token(&self, token: &str) -> Result<()> {
        let Some(digest) = opaque::refresh_token_digest(token) else { return Ok(()) };
        let ended = self.store.tx(async |tx| {
            let Some(token) = refresh_tokens::find(tx, digest).await? else { return Ok(false) };
            let Some(session) = sessions::find(tx, token.session_id).await? else { return Ok(false) };
            let now = tx.now().await?;
            self.end_session(tx, session.user_id, session.id, now).await
        });
        ended.await.map(|_ended| ())
    }
}
