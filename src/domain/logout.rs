//! Signing out.

use super::{Domain, Result, sessions};
use crate::{
    crypto::opaque,
    store::{self, refresh_tokens},
};

impl Domain {
    /// Ends the session that a refresh token belongs to. Says nothing of whether there was one (S23).
    pub async fn logout_by_refresh_token(&self, token: &str) -> Result<()> {
        let Some(digest) = opaque::refresh_token_digest(token) else { return Ok(()) };
        let mut tx = self.store.begin().await?;
        let Some(token) = refresh_tokens::find(&mut tx, digest).await? else {
            return Ok(tx.rollback().await?);
        };
        let Some(session) = store::sessions::find(&mut tx, token.session_id).await? else {
            return Ok(tx.rollback().await?);
        };
        let now = tx.now().await?;
        sessions::end(self, &mut tx, session.user_id, session.id, now).await?;
        Ok(tx.commit().await?)
    }
}
