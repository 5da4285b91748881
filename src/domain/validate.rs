//! The question that every other service asks: whose credential is this, and what may it do?
//!
//! What is known of a credential is read here, in `session_state` and `key_state`, and nowhere else on this path.

use std::time::Duration;

use super::{Domain, Result};
use crate::{
    crypto::{
        api_key,
        tokens::{self, Verdict},
    },
    store::{
        api_keys::{self, ApiKey, Secret},
        sessions,
        users::Owner,
    },
    types::{Digest, KeyId, Scopes, SessionId, Time, UserId},
};

/// How long a valid answer may be kept: a revocation is seen within a second.
const CACHEABLE: Duration = Duration::from_secs(1);

/// What a credential is worth, in the order in which one goes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Malformed, unknown or not ours; never says which (S29).
    Invalid,
    /// It has expired.
    Expired,
    /// Its owner is disabled.
    Disabled,
    /// It was revoked, or its session has ended.
    Revoked,
    /// It holds, but not for all that was asked.
    InsufficientScope,
    /// It holds, but was used too often.
    RateLimited,
    /// It holds for what was asked.
    Valid,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A person, by access token.
    User {
        /// Who.
        user_id: UserId,
        /// In which session.
        session_id: SessionId,
        /// What the token may do now.
        scopes: Scopes,
    },
    /// A program, by API key.
    ApiKey {
        /// The key's owner.
        user_id: UserId,
        /// The key.
        key_id: KeyId,
        /// What the key may do now.
        scopes: Scopes,
    },
}

impl Principal {
    /// The user, or the key's owner.
    pub fn user_id(&self) -> UserId {
        match self {
            Self::User { user_id, .. } | Self::ApiKey { user_id, .. } => *user_id,
        }
    }

    fn scopes(&self) -> &Scopes {
        match self {
            Self::User { scopes, .. } | Self::ApiKey { scopes, .. } => scopes,
        }
    }
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Validation {
    /// What the credential is worth.
    pub status: Status,
    /// Whose it is; only with `Valid`, `InsufficientScope` and `RateLimited`.
    pub principal: Option<Principal>,
    /// When it expires by itself.
    pub expire_time: Option<Time>,
    /// Which of the required scopes it lacks.
    pub missing_scopes: Vec<String>,
    /// With `RateLimited`: how long to wait.
    pub retry_after: Option<Duration>,
    /// Until when a valid answer may be kept.
    pub cacheable_until_time: Option<Time>,
}

impl Validation {
    fn refused(status: Status, expire_time: Option<Time>) -> Self {
        Self {
            status,
            principal: None,
            expire_time,
            missing_scopes: Vec::new(),
            retry_after: None,
            cacheable_until_time: None,
        }
    }
}

impl Domain {
    /// Judges a credential: a bare access token or API key. One that does not hold is an answer, not an error.
    ///
    /// # Errors
    /// When the question cannot be answered, because the database does not answer.
    pub async fn validate(&self, credential: &str, required: &Scopes) -> Result<Validation> {
        if credential.starts_with(api_key::PREFIX) {
            self.validate_key(credential, required).await
        } else {
            self.validate_token(credential, required).await
        }
    }

    async fn validate_token(&self, token: &str, required: &Scopes) -> Result<Validation> {
        let now = self.clock.now();
        let claims = match tokens::verify(&self.keys, &self.settings.parties, token, now) {
            None => return Ok(Validation::refused(Status::Invalid, None)),
            Some(Verdict::Expired(claims)) => {
                return Ok(Validation::refused(Status::Expired, Some(claims.expire_time)));
            }
            Some(Verdict::Valid(claims)) => claims,
        };
        let expire_time = Some(claims.expire_time);
        let scopes = match self.session_state(claims.user_id, claims.session_id).await? {
            SessionState::Alive { owner_scopes } => claims.scopes.intersection(&owner_scopes),
            SessionState::Disabled => return Ok(Validation::refused(Status::Disabled, expire_time)),
            SessionState::Ended => return Ok(Validation::refused(Status::Revoked, expire_time)),
        };
        let principal = Principal::User { user_id: claims.user_id, session_id: claims.session_id, scopes };
        Ok(judge(principal, required, expire_time, now))
    }

    async fn validate_key(&self, secret: &str, required: &Scopes) -> Result<Validation> {
        let now = self.clock.now();
        let Some(digest) = api_key::digest(secret) else {
            return Ok(Validation::refused(Status::Invalid, None));
        };
        let Some((secret, key, owner)) = self.key_state(digest).await? else {
            return Ok(Validation::refused(Status::Invalid, None));
        };
        let over = |end: Option<Time>| end.is_some_and(|end| end <= now);
        let status = if over(key.expire_time) {
            Some(Status::Expired)
        } else if owner.disabled_time.is_some() {
            Some(Status::Disabled)
        } else if key.revoke_time.is_some() || over(secret.expire_time) {
            Some(Status::Revoked)
        } else {
            None
        };
        if let Some(status) = status {
            return Ok(Validation::refused(status, key.expire_time));
        }
        // A rotated secret ends with its grace, or with the key if that is sooner.
        let expire_time = [key.expire_time, secret.expire_time].into_iter().flatten().min();
        let rate_limit = key.rate_limit();
        let scopes = key.scopes.intersection(&owner.scopes);
        let principal = Principal::ApiKey { user_id: key.user_id, key_id: key.id, scopes };
        let mut answer = judge(principal, required, expire_time, now);
        if answer.status == Status::Valid {
            if let Some(limit) = rate_limit {
                // Each use counts, so no answer may be kept.
                answer.cacheable_until_time = None;
                if let Err(retry_after) = self.rate_limits.check(key.id, limit) {
                    answer.status = Status::RateLimited;
                    answer.retry_after = Some(retry_after);
                    return Ok(answer);
                }
            }
            self.usage.record(key.id, now);
        }
        Ok(answer)
    }

    /// Whether a session lives, and what its user may do now.
    async fn session_state(&self, user_id: UserId, session_id: SessionId) -> Result<SessionState> {
        let mut conn = self.store.conn().await?;
        Ok(match sessions::find_owner(&mut conn, user_id, session_id).await? {
            Some((Owner { disabled_time: Some(_), .. }, _)) => SessionState::Disabled,
            Some((owner, Some(_))) => SessionState::Alive { owner_scopes: owner.scopes },
            Some((_, None)) | None => SessionState::Ended,
        })
    }

    /// What is known of a secret, its key and the key's owner.
    async fn key_state(&self, digest: Digest) -> Result<Option<(Secret, ApiKey, Owner)>> {
        // Anybody can make up well-formed keys: they must not crowd the database (S36). It is never closed.
        let _permit = self.key_lookups.acquire().await;
        Ok(api_keys::find_by_secret(&mut self.store.conn().await?, digest).await?)
    }
}

enum SessionState {
    Alive { owner_scopes: Scopes },
    Disabled,
    Ended,
}

/// Of a credential that holds: is it good for what was asked?
fn judge(principal: Principal, required: &Scopes, expire_time: Option<Time>, now: Time) -> Validation {
    let missing_scopes = principal.scopes().missing(required);
    let valid = missing_scopes.is_empty();
    let fresh_until = now + CACHEABLE;
    Validation {
        status: if valid { Status::Valid } else { Status::InsufficientScope },
        principal: Some(principal),
        expire_time,
        missing_scopes,
        retry_after: None,
        cacheable_until_time: valid.then(|| expire_time.map_or(fresh_until, |end| end.min(fresh_until))),
    }
}
