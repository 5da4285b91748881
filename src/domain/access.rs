//! Who calls: from a presented credential to somebody who may, or to the reason why not.

use std::sync::Arc;

use super::{
    Client, Domain, Error, Result,
    revocations::Session,
    validate::{Principal, Status},
};
use crate::{
    store::{Conn, api_keys},
    types::{Digest, Scopes, SessionId, Time, UserId},
};

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub user_id: UserId,
    /// In which session.
    pub session_id: SessionId,
    /// From where.
    pub client: Client,
}

impl Domain {
    /// Whoever presents a valid access token or API key.
    pub async fn authenticate(&self, credential: Option<&str>) -> Result<Principal> {
        self.authenticate_for(credential, &Scopes::default()).await
    }

    /// The same, if it holds for these scopes.
    pub async fn authenticate_for(&self, credential: Option<&str>, required: &Scopes) -> Result<Principal> {
        let credential = credential.ok_or(Error::MissingCredential)?;
        let answer = self.validate(credential, required).await?;
        match answer.status {
            Status::Valid => answer.principal.ok_or(Error::InvalidCredential),
            Status::Invalid => Err(Error::InvalidCredential),
            Status::Expired => Err(Error::CredentialExpired),
            Status::Disabled => Err(Error::AccountDisabled),
            Status::Revoked => Err(Error::CredentialRevoked),
            Status::InsufficientScope => Err(Error::InsufficientScope(answer.missing_scopes)),
            Status::RateLimited => {
                Err(Error::TooManyAttempts { retry_after: answer.retry_after.unwrap_or_default() })
            }
        }
    }

    /// A user, by access token: an API key cannot change credentials (S35).
    #[tracing::instrument(skip_all)]
    pub async fn authenticate_user(&self, credential: Option<&str>, client: Client) -> Result<SignedIn> {
        match self.authenticate(credential).await? {
            Principal::User { user_id, session_id, .. } => {
                self.read_live_session(user_id, session_id).await?;
                Ok(SignedIn { user_id, session_id, client })
            }
            Principal::ApiKey { .. } => Err(Error::SessionRequired),
        }
    }

    /// What the user of a session may do now, if it lives. What a session may change is told by the database, not from
    /// memory: another replica may have ended it this very moment, because it was stolen.
    pub(super) async fn read_live_session(
        &self,
        user_id: UserId,
        session_id: SessionId,
    ) -> Result<Arc<Scopes>> {
        match self.read_session(user_id, session_id).await? {
            Session::Disabled => Err(Error::AccountDisabled),
            Session::Limited(scopes) => Ok(scopes),
            Session::Ended | Session::Alive | Session::Unknown => Err(Error::CredentialRevoked),
        }
    }
}

/// What the key with this secret may do now, if it lives, by the database alike.
pub(super) async fn read_live_key(conn: &mut Conn, secret: Digest, now: Time) -> Result<Scopes> {
    let found = api_keys::find_by_secret(conn, secret).await?;
    let (secret, key, owner) = found.ok_or(Error::InvalidCredential)?;
    let over = |end: Option<Time>| end.is_some_and(|end| end <= now);
    if over(key.expire_time) {
        Err(Error::CredentialExpired)
    } else if owner.disabled_time.is_some() {
        Err(Error::AccountDisabled)
    } else if key.revoke_time.is_some() || over(secret.expire_time) {
        Err(Error::CredentialRevoked)
    } else {
        Ok(key.scopes.intersection(&owner.scopes))
    }
}
