//! Listing and ending sessions.

use super::{Domain, Error, Result, access::SignedIn, tokens::tokens_gone_by};
use crate::{
    store::{
        Tx,
        changes::Change,
        one_time_tokens::{self, Purpose},
        sessions::{self, Session},
        users,
    },
    types::{SessionId, Time, UserId, event::Action},
};

impl Domain {
    /// A page of the user's live sessions, newest first.
    #[tracing::instrument(skip_all)]
    pub async fn list_sessions(
        &self,
        user_id: UserId,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Vec<Session>> {
        let mut conn = self.store.conn().await?;
        Ok(sessions::list(&mut conn, user_id, self.clock.now(), after, limit).await?)
    }

    /// Ends one of the caller's sessions, and notes why.
    #[tracing::instrument(skip_all)]
    pub async fn revoke_session(&self, caller: &SignedIn, id: SessionId, why: Action) -> Result<()> {
        let ended = self.store.tx(async |tx| {
            let now = tx.now().await?;
            let lived = self.end_session(tx, caller.user_id, id, now).await?;
            if lived {
                caller.did(why).session(id).record(tx, &caller.client).await?;
            }
            Ok::<_, Error>(lived)
        });
        if ended.await? { Ok(()) } else { Err(Error::NotFound("session")) }
    }

    /// Ends all of the caller's sessions, or all but the one of the call. Says how many lived. A change of the address that was
    /// asked for, in whichever of them, is void: whoever held it would otherwise confirm it afterwards (S21).
    #[tracing::instrument(skip_all)]
    pub async fn revoke_all_sessions(&self, caller: &SignedIn, keep_current: bool) -> Result<usize> {
        let keep = keep_current.then_some(caller.session_id);
        let ended = self.store.tx(async |tx| {
            // Who asks for a change just now holds this row, too.
            users::lock(tx, caller.user_id).await?.ok_or(Error::CredentialRevoked)?;
            let now = tx.now().await?;
            let ended = self.end_all_sessions(tx, caller.user_id, keep, now).await?;
            one_time_tokens::void(tx, caller.user_id, &[Purpose::ChangeEmail]).await?;
            caller.did(Action::RevokeAllSessions).record(tx, &caller.client).await?;
            Ok(ended)
        });
        ended.await
    }

    /// Ends a session, if it is this user's and alive.
    pub(super) async fn end_session(
        &self,
        tx: &mut Tx,
        user_id: UserId,
        id: SessionId,
        now: Time,
    ) -> Result<bool> {
        let ended = sessions::delete(tx, user_id, id).await?;
        Ok(self.tell_of_ended(tx, ended.as_slice(), now).await? == 1)
    }

    /// Ends a user's sessions, but for one. Says how many lived.
    pub(super) async fn end_all_sessions(
        &self,
        tx: &mut Tx,
        user_id: UserId,
        except: Option<SessionId>,
        now: Time,
    ) -> Result<usize> {
        let ended = sessions::delete_all(tx, user_id, except).await?;
        self.tell_of_ended(tx, &ended, now).await
    }

    /// Ends all but the newest `keep` of a user's live sessions.
    pub(super) async fn end_oldest_sessions(
        &self,
        tx: &mut Tx,
        user_id: UserId,
        keep: i64,
        now: Time,
    ) -> Result<()> {
        for id in sessions::list_beyond(tx, user_id, now, keep).await? {
            self.end_session(tx, user_id, id, now).await?;
        }
        Ok(())
    }

    /// Tells the replicas which of these lived until now, for as long as access tokens of theirs may. Says how many.
    async fn tell_of_ended(&self, tx: &mut Tx, ended: &[Session], now: Time) -> Result<usize> {
        let lived = ended.iter().filter(|session| now < session.expire_time);
        let changes: Vec<_> = lived.map(|session| Change::SessionEnded(session.id)).collect();
        if !changes.is_empty() {
            self.tell(tx, &changes, now, tokens_gone_by(now)).await?;
        }
        Ok(changes.len())
    }
}
