//! Issuing: a session, its refresh token and an access token. Register, Login and Refresh end here.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{Client, Domain, Error, Result, audit::Deed};
use crate::{
    crypto::{
        jwt, opaque, sha256,
        tokens::{self, Claims},
    },
    store::{
        Tx,
        refresh_tokens::{self, RefreshToken},
        sessions::{self, Session},
        users::User,
    },
    types::{Digest, SessionId, Time, TokenFormat, TokenId, event::Action},
};

/// At most this many live sessions a user; the oldest gives way.
const MAX_SESSIONS: i64 = 100;

/// The longest `tokens.access_ttl` that the configuration allows.
pub const MAX_ACCESS_TTL: Duration = Duration::from_hours(24);
/// How far replicas' clocks may lie apart.
pub(super) const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// What a sign-in, a registration or a refresh yields.
#[derive(Debug)]
pub struct Issued {
    /// PASETO v4.public or a JWT, as `tokens.format` says.
    pub access_token: SecretString,
    /// Whole seconds until it expires.
    pub expires_in: i32,
    /// Continues the session, once.
    pub refresh_token: SecretString,
    /// Whose.
    pub user: User,
}

impl Domain {
    /// Opens a session for a user whose row this transaction holds, and issues its first tokens.
    pub(super) async fn open_session(
        &self,
        tx: &mut Tx,
        user: User,
        action: Action,
        client: &Client,
    ) -> Result<Issued> {
        let now = tx.now().await?;
        self.end_oldest_sessions(tx, user.id, MAX_SESSIONS - 1, now).await?;
        let session = Session {
            id: SessionId::generate(now),
            user_id: user.id,
            create_time: now,
            last_used_time: now,
            expire_time: self.session_expire_time(now, now),
            ip_address: client.ip_address(),
            user_agent: client.user_agent().to_owned(),
        };
        sessions::insert(tx, &session).await?;
        Deed::done(action).to(user.id).session(session.id).record_at(tx, client, now).await?;
        let token = opaque::new_refresh_token();
        keep_refresh_token(tx, session.id, &token, None, now).await?;
        self.issue(user, &session, token, now)
    }

    /// When a session that is used now ends: the sooner of its idle and its absolute limit (S20).
    pub(super) fn session_expire_time(&self, create_time: Time, now: Time) -> Time {
        (create_time + self.settings.refresh_ttl).min(now + self.settings.refresh_idle)
    }

    /// An access token for a session, with what its user may do now. It never outlives the session.
    pub(super) fn issue(
        &self,
        user: User,
        session: &Session,
        refresh_token: SecretString,
        now: Time,
    ) -> Result<Issued> {
        let expire_time = tokens::whole_seconds((now + self.settings.access_ttl).min(session.expire_time));
        let claims = Claims {
            user_id: user.id,
            session_id: session.id,
            token_id: TokenId::generate(now),
            scopes: Arc::new(user.scopes.clone()),
            expire_time,
        };
        let keys = self.keys();
        let key = keys
            .signer(now)
            .ok_or_else(|| Error::Internal("no signing key is in force; is the clock right?".into()))?;
        let sign = match self.settings.token_format {
            TokenFormat::Paseto => tokens::sign,
            TokenFormat::Jwt => jwt::sign,
        };
        let access_token = sign(key, &self.settings.parties, &claims, now)?.into();
        let expires_in = i32::try_from(expire_time.seconds() - now.seconds()).unwrap_or(i32::MAX);
        Ok(Issued { access_token, expires_in, refresh_token, user })
    }
}

/// Stores a refresh token, as its digest (S16).
pub(super) async fn keep_refresh_token(
    tx: &mut Tx,
    session_id: SessionId,
    token: &SecretString,
    predecessor: Option<Digest>,
    now: Time,
) -> Result<()> {
    let row = RefreshToken {
        digest: sha256(token.expose_secret()),
        session_id,
        predecessor,
        create_time: now,
        used_time: None,
        successor_sealed: None,
    };
    Ok(refresh_tokens::insert(tx, &row).await?)
}

/// When every access token that was issued until `now` has expired, by any replica's clock, and whatever
/// `tokens.access_ttl` was when it was issued.
pub(super) fn tokens_gone_by(now: Time) -> Time {
    now + MAX_ACCESS_TTL + CLOCK_SKEW
}
