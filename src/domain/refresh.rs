//! Refreshing: a refresh token for its successor, once (S16–S18).

use secrecy::{ExposeSecret, SecretString};

use super::{
    Client, Domain, Error, Issued, Result,
    audit::{Deed, note_refusal},
    tokens::keep_refresh_token,
};
use crate::{
    crypto::opaque,
    store::{
        Tx,
        refresh_tokens::{self, RefreshToken},
        sessions::{self, Session},
        users,
    },
    types::{Digest, Time, event::Action},
};

impl Domain {
    /// Exchanges a refresh token. A repeat within the grace, while the successor is unused, is answered with that same
    /// successor, so that two tabs or a lost answer sign nobody out; any other repeat ends the session, because one of
    /// the two who hold the token is a thief (RFC 9700, 4.14.2).
    #[tracing::instrument(skip_all)]
    pub async fn refresh(&self, token: &str, client: &Client) -> Result<Issued> {
        let digest = opaque::refresh_token_digest(token).ok_or(Error::RefreshTokenInvalid)?;
        // That a reuse ends the session has to be committed, so within the transaction it is no error.
        let issued = self.store.tx(async |tx| self.rotate(tx, digest, client).await).await;
        note_refusal(issued, Action::Refresh, client)?.ok_or(Error::RefreshTokenReused)
    }

    /// Forgets the successors that may be answered no longer (S17). What is answered does not depend on it.
    pub async fn forget_successors(&self) -> Result<()> {
        let grace = self.settings.refresh_reuse_grace;
        let forgotten = self.store.tx(async |tx| {
            tx.give_way().await?;
            let now = tx.now().await?;
            refresh_tokens::forget_successors_before(tx, now - grace).await
        });
        Ok(forgotten.await.map(|_count| ())?)
    }

    async fn rotate(&self, tx: &mut Tx, digest: Digest, client: &Client) -> Result<Option<Issued>> {
        let presented = refresh_tokens::find(tx, digest).await?.ok_or(Error::RefreshTokenInvalid)?;
        let now = tx.now().await?;
        // Locks the session before any of its tokens, as everything that ends a session does.
        let session = sessions::touch(tx, presented.session_id, now).await?;
        let session = session.ok_or(Error::RefreshTokenInvalid)?;
        let user = users::find(tx, session.user_id).await?;
        // Disabling ends sessions; whoever is disabled gets no token even so.
        let user = user.filter(|user| user.disabled_time.is_none()).ok_or(Error::RefreshTokenInvalid)?;

        let Some(successor) = self.exchange(tx, &presented, now).await? else {
            self.end_session(tx, user.id, session.id, now).await?;
            Deed::failed(Action::Refresh).to(user.id).session(session.id).record(tx, client).await?;
            return Ok(None);
        };
        let expire_time = self.session_expire_time(session.create_time, now);
        sessions::set_expire_time(tx, session.id, expire_time).await?;
        let session = Session { expire_time, ..session };
        self.issue(user, &session, successor, now).map(Some)
    }

    /// The token's successor: a new one for whoever is first, the same one for who repeats in time, none for a reuse.
    async fn exchange(
        &self,
        tx: &mut Tx,
        presented: &RefreshToken,
        now: Time,
    ) -> Result<Option<SecretString>> {
        let RefreshToken { digest, session_id, predecessor, .. } = *presented;
        let successor = opaque::new_refresh_token();
        let sealed = self.master_key.seal(&purpose(digest), successor.expose_secret().as_bytes())?;
        if !refresh_tokens::mark_used(tx, digest, now, &sealed).await? {
            let used = refresh_tokens::find(tx, digest).await?;
            return Ok(used.and_then(|used| self.repeated(&used, now)));
        }
        keep_refresh_token(tx, session_id, &successor, Some(digest), now).await?;
        if let Some(predecessor) = predecessor {
            refresh_tokens::forget_successor(tx, predecessor).await?;
        }
        Ok(Some(successor))
    }

    /// The successor of a used token, while it may be answered again. It is kept only while it is unused.
    fn repeated(&self, used: &RefreshToken, now: Time) -> Option<SecretString> {
        let in_grace = now.since(used.used_time?) <= self.settings.refresh_reuse_grace;
        let sealed = used.successor_sealed.as_deref().filter(|_| in_grace)?;
        let opened = self.master_key.open(&purpose(used.digest), sealed)?;
        String::from_utf8(opened.to_vec()).ok().map(SecretString::from)
    }
}

pub(super) fn purpose(digest: Digest) -> String {
    format!("refresh-token-successor:{digest:x}")
}
