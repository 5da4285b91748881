//! Who calls: from a presented credential to somebody who may, or to the reason why not.

use super::{
    Client, Domain, Error, Result,
    validate::{Principal, Status},
};
use crate::types::{Scopes, SessionId, UserId};

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
        let credential = credential.ok_or(Error::MissingCredential)?;
        let answer = self.validate(credential, &Scopes::default()).await?;
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
    pub async fn authenticate_user(&self, credential: Option<&str>, client: Client) -> Result<SignedIn> {
        match self.authenticate(credential).await? {
            Principal::User { user_id, session_id, .. } => Ok(SignedIn { user_id, session_id, client }),
            Principal::ApiKey { .. } => Err(Error::SessionRequired),
        }
    }
}
