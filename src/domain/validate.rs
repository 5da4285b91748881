//! The question that every other service asks: whose credential is this, and what may it do?
//!
//! Nothing here reads the database when the credential is known (`verified_tokens`, `key_records`) and the knowledge of
//! revocations is fresh (`feed`): then no future on this path waits.

use std::{sync::Arc, time::Duration};

use super::{Domain, Result, feed::FRESH, revocations::Session};
use crate::{
    crypto::{api_key, tokens::Claims},
    store::{Store, sessions, users::Owner},
    types::{KeyId, Scopes, SessionId, Time, UserId},
};

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
        scopes: Arc<Scopes>,
    },
    /// A program, by API key.
    ApiKey {
        /// The key's owner.
        user_id: UserId,
        /// The key.
        key_id: KeyId,
        /// What the key may do now.
        scopes: Arc<Scopes>,
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
        let Some(token) = self.verify_token(token, now) else {
            return Ok(Validation::refused(Status::Invalid, None));
        };
        let Claims { user_id, session_id, expire_time, .. } = token.claims;
        if expire_time <= now {
            return Ok(Validation::refused(Status::Expired, Some(expire_time)));
        }
        self.catch_up().await?;
        let known = match self.revocations.session(user_id, session_id, now) {
            Session::Unknown => self.look_up_session(user_id, session_id, now).await?,
            known => known,
        };
        let scopes = match known {
            Session::Alive => Arc::clone(&token.claims.scopes),
            Session::Limited(scopes) => Arc::new(token.claims.scopes.intersection(&scopes)),
            Session::Disabled => return Ok(Validation::refused(Status::Disabled, Some(expire_time))),
            Session::Ended | Session::Unknown => {
                return Ok(Validation::refused(Status::Revoked, Some(expire_time)));
            }
        };
        Ok(self.judge(Principal::User { user_id, session_id, scopes }, required, Some(expire_time)))
    }

    async fn validate_key(&self, secret: &str, required: &Scopes) -> Result<Validation> {
        let Some(digest) = api_key::digest(secret) else {
            return Ok(Validation::refused(Status::Invalid, None));
        };
        self.catch_up().await?;
        let Some(key) = self.key_record(digest).await? else {
            return Ok(Validation::refused(Status::Invalid, None));
        };
        let now = self.clock.now();
        let over = |end: Option<Time>| end.is_some_and(|end| end <= now);
        let status = if over(key.expire_time) {
            Some(Status::Expired)
        } else if key.owner_disabled {
            Some(Status::Disabled)
        } else if key.revoked || over(key.secret_expire_time) {
            Some(Status::Revoked)
        } else {
            None
        };
        if let Some(status) = status {
            return Ok(Validation::refused(status, key.expire_time));
        }
        // A rotated secret ends with its grace, or with the key if that is sooner.
        let expire_time = [key.expire_time, key.secret_expire_time].into_iter().flatten().min();
        let scopes = Arc::clone(&key.scopes);
        let principal = Principal::ApiKey { user_id: key.user_id, key_id: key.key_id, scopes };
        let mut answer = self.judge(principal, required, expire_time);
        if answer.status == Status::Valid {
            if let Some(limit) = key.rate_limit {
                // Each use counts, so no answer may be kept.
                answer.cacheable_until_time = None;
                if let Err(retry_after) = self.rate_limits.check(key.key_id, limit) {
                    answer.status = Status::RateLimited;
                    answer.retry_after = Some(retry_after);
                    return Ok(answer);
                }
            }
            self.usage.record(&key, now);
        }
        Ok(answer)
    }

    /// What only the database knows of a session, no older than the knowledge of what was revoked.
    async fn look_up_session(&self, user_id: UserId, session_id: SessionId, now: Time) -> Result<Session> {
        let read = self.read_apart(read_session(self.store.clone(), user_id, session_id)).await?;
        // It may have taken long, and what came meanwhile may be about this session.
        self.catch_up().await?;
        Ok(match self.revocations.session(user_id, session_id, now) {
            Session::Unknown | Session::Alive => read,
            known => known,
        })
    }

    /// Whether a session lives and what its user may do now, as the database has it.
    pub(super) async fn read_session(&self, user_id: UserId, session_id: SessionId) -> Result<Session> {
        read_session(self.store.clone(), user_id, session_id).await
    }

    /// Of a credential that holds: is it good for what was asked?
    fn judge(&self, principal: Principal, required: &Scopes, expire_time: Option<Time>) -> Validation {
        let missing_scopes = principal.scopes().missing(required);
        let valid = missing_scopes.is_empty();
        let fresh_until = self.revocations.as_of() + FRESH;
        Validation {
            status: if valid { Status::Valid } else { Status::InsufficientScope },
            principal: Some(principal),
            expire_time,
            missing_scopes,
            retry_after: None,
            cacheable_until_time: valid.then(|| expire_time.map_or(fresh_until, |end| end.min(fresh_until))),
        }
    }
}

async fn read_session(store: Store, user_id: UserId, session_id: SessionId) -> Result<Session> {
    let mut conn = store.conn().await?;
    Ok(match sessions::find_owner(&mut conn, user_id, session_id).await? {
        Some((Owner { disabled_time: Some(_), .. }, _)) => Session::Disabled,
        Some((owner, Some(_))) => Session::Limited(Arc::new(owner.scopes)),
        Some((_, None)) | None => Session::Ended,
    })
}
