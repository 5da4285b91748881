//! Mailed tokens: made, looked at, used up (S37–S39).

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{Domain, Error, Result};
use crate::{
    crypto::{opaque, sha256},
    mail::Link,
    store::{
        Conn, Tx,
        one_time_tokens::{self, OneTimeToken, Purpose},
        users::{self, User},
    },
    types::{Digest, Time},
};

/// Where the links of mails lead, with `{token}` for the token. From configuration, never from a request's `Host` (S40).
#[derive(Debug, Clone)]
pub struct Links {
    /// To where an address is verified.
    pub verify_email: String,
    /// To where a password is reset.
    pub reset_password: String,
    /// To where another address is confirmed.
    pub change_email: String,
}

impl Links {
    fn of(&self, purpose: Purpose) -> &str {
        match purpose {
            Purpose::VerifyEmail => &self.verify_email,
            Purpose::ResetPassword => &self.reset_password,
            Purpose::ChangeEmail => &self.change_email,
        }
    }
}

/// How long a token lives (S38), and the same in words.
const fn lifetime(purpose: Purpose) -> (Duration, &'static str) {
    match purpose {
        Purpose::VerifyEmail | Purpose::ChangeEmail => (Duration::from_hours(24), "24 hours"),
        Purpose::ResetPassword => (Duration::from_mins(30), "30 minutes"),
    }
}

impl Domain {
    /// Makes a token that is to be mailed to `email`: the link with it, and its digest. An older one for the same purpose is
    /// void (S39). The transaction holds the user's row.
    pub(super) async fn new_link(
        &self,
        tx: &mut Tx,
        user: &User,
        purpose: Purpose,
        email: &str,
    ) -> Result<(Link, Digest)> {
        let token = opaque::new_one_time_token();
        let (lifetime, valid_for) = lifetime(purpose);
        let now = tx.now().await?;
        let row = OneTimeToken {
            digest: sha256(token.expose_secret()),
            user_id: user.id,
            email: email.to_owned(),
            create_time: now,
            expire_time: now + lifetime,
        };
        one_time_tokens::insert(tx, purpose, &row).await?;
        let link = self.settings.links.of(purpose).replace("{token}", token.expose_secret());
        Ok((Link { link, valid_for: valid_for.to_owned() }, row.digest))
    }

    /// Whether a token was used or voided.
    pub(super) async fn is_void(&self, purpose: Purpose, token: Digest) -> Result<bool> {
        Ok(one_time_tokens::find(&mut self.store.conn().await?, purpose, token).await?.is_none())
    }

    /// Uses a token up, and locks the account that it is for.
    pub(super) async fn take_token(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        text: &str,
    ) -> Result<(User, OneTimeToken)> {
        let token = find(tx, purpose, text).await?;
        let user = users::lock(tx, token.user_id).await?.ok_or(Error::OneTimeTokenInvalid)?;
        let now = tx.now().await?;
        // Looked at once more: it may have been used, or voided, while the account was locked.
        if !is_good(purpose, &token, &user, now) || !one_time_tokens::take(tx, token.digest).await? {
            return Err(Error::OneTimeTokenInvalid);
        }
        Ok((user, token))
    }

    /// The account that a token is for, which it does not use up.
    pub(super) async fn peek_token(&self, purpose: Purpose, text: &str) -> Result<User> {
        let mut conn = self.store.conn().await?;
        let token = find(&mut conn, purpose, text).await?;
        let user = users::find(&mut conn, token.user_id).await?.ok_or(Error::OneTimeTokenInvalid)?;
        let now = conn.now().await?;
        if is_good(purpose, &token, &user, now) { Ok(user) } else { Err(Error::OneTimeTokenInvalid) }
    }
}

async fn find(conn: &mut Conn, purpose: Purpose, text: &str) -> Result<OneTimeToken> {
    let digest = opaque::one_time_token_digest(text).ok_or(Error::OneTimeTokenInvalid)?;
    one_time_tokens::find(conn, purpose, digest).await?.ok_or(Error::OneTimeTokenInvalid)
}

/// Expiry is checked here, at use (S38), and that the address is still the account's (S37).
fn is_good(purpose: Purpose, token: &OneTimeToken, user: &User, now: Time) -> bool {
    let address_holds = purpose == Purpose::ChangeEmail || token.email == user.email;
    now < token.expire_time && address_holds && user.disabled_time.is_none()
}
