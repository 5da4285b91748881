//! Listing and ending sessions.

use super::{Domain, Error, Result};
use crate::{
    store::{
        Conn,
        changes::{self, Change},
        sessions::{self, Session},
    },
    types::{SessionId, Time, UserId},
};

impl Domain {
    /// A page of the user's live sessions, newest first.
    pub async fn list_sessions(
        &self,
        user_id: UserId,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Vec<Session>> {
        let mut conn = self.store.conn().await?;
        Ok(sessions::list(&mut conn, user_id, self.clock.now(), after, limit).await?)
    }

    /// Ends one of the user's sessions.
    pub async fn revoke_session(&self, user_id: UserId, id: SessionId) -> Result<()> {
        let ended = self.store.tx(async |tx| {
            let now = tx.now().await?;
            end(self, tx, user_id, id, now).await
        });
        if ended.await? { Ok(()) } else { Err(Error::NotFound("session")) }
    }

    /// Ends all of the user's sessions, or all but one. Says how many lived.
    pub async fn revoke_all_sessions(&self, user_id: UserId, keep: Option<SessionId>) -> Result<usize> {
        let ended = self.store.tx(async |tx| {
            let now = tx.now().await?;
            end_all(self, tx, user_id, keep, now).await
        });
        ended.await
    }
}

/// Ends a session, if it is this user's and alive.
pub(super) async fn end(
    domain: &Domain,
    tx: &mut Conn,
    user_id: UserId,
    id: SessionId,
    now: Time,
) -> Result<bool> {
    let ended = sessions::delete(tx, user_id, id).await?.filter(|session| now < session.expire_time);
    if ended.is_some() {
        record(domain, tx, id, now).await?;
    }
    Ok(ended.is_some())
}

/// Ends a user's sessions, but for one. Says how many lived.
pub(super) async fn end_all(
    domain: &Domain,
    tx: &mut Conn,
    user_id: UserId,
    except: Option<SessionId>,
    now: Time,
) -> Result<usize> {
    let mut ended = sessions::delete_all(tx, user_id, except).await?;
    ended.retain(|session| now < session.expire_time);
    for session in &ended {
        record(domain, tx, session.id, now).await?;
    }
    Ok(ended.len())
}

/// Ends all but the newest `keep` of a user's live sessions.
pub(super) async fn end_oldest(
    domain: &Domain,
    tx: &mut Conn,
    user_id: UserId,
    keep: i64,
    now: Time,
) -> Result<()> {
    for id in sessions::list_beyond(tx, user_id, now, keep).await? {
        end(domain, tx, user_id, id, now).await?;
    }
    Ok(())
}

/// Tells the other replicas, for as long as an access token of the session may live.
async fn record(domain: &Domain, tx: &mut Conn, id: SessionId, now: Time) -> Result<()> {
    Ok(changes::insert(tx, Change::SessionEnded(id), now, domain.tokens_gone_by(now)).await?)
}
