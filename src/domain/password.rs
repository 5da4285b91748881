//! Trying a password: the one step that sign-in, change of password, deletion and change of address share, and where
//! failures are counted (S8–S10).

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::{
    Client, Domain, Error, Result, access::SignedIn, audit::Deed, rate_window::RateWindow, throttle,
};
use crate::{
    crypto::password::{Caller, HashError, PasswordHasher, Verdict},
    store::{
        Store, Tx, password_failures,
        users::{self, Login, User},
    },
    types::{Digest, Invalid, Password, Throttle, UserId, event::Action, password::PasswordHash},
};

/// Tries of one account's password that are in flight at once in this replica, and of one address's (S10).
pub(super) const TRIES_AT_ONCE: usize = 4;

/// An account whose password was tried and right.
pub(super) struct Verified {
    id: UserId,
    /// As it was when the password was compared.
    password_version: i32,
    /// Whether its hash costs less than a new one does (S6).
    pub(super) weaker: bool,
    account: Digest,
    had_failures: bool,
}

impl Domain {
    /// Compares a password with that of the account of an e-mail address, as it is compared. Too many failures before, and
    /// it is not looked at: `TooManyAttempts`. Where there is no such account, or it has no password, all is done alike, and
    /// nothing matches (S7, S9, S15).
    ///
    /// A failure is counted before the next try begins, and also when the caller has gone by then (S10). A try that had to
    /// wait until its caller had gone, or that would come too late for it, is not made: then nothing is counted, and
    /// the answer tells nothing of the password.
    pub(super) async fn try_password(
        &self,
        email: &str,
        password: &Password,
        Try { deed, address, client }: Try<'_>,
    ) -> Result<Verified> {
        let account = throttle::account(email);
        let mut turns = Vec::new();
        // In the call itself, which its deadline ends.
        if let Some(window) = address {
            turns.push(self.address_turns.take(window.key).await);
        }
        turns.push(self.account_turns.take(account).await);
        let attempt = Attempt {
            store: self.store.clone(),
            passwords: self.passwords.clone(),
            throttle: self.settings.throttle.clone(),
            email: email.to_owned(),
            account,
            address,
            password: password.clone(),
            deed,
            client: client.clone(),
            _turns: turns,
        };
        let presence = Arc::new(());
        let caller = Caller { deadline: client.deadline, presence: Some(Arc::downgrade(&presence)) };
        // A task of its own goes on when the caller's call is cancelled.
        let verified = tokio::spawn(attempt.run(caller).in_current_span()).await;
        verified.map_err(|panic| Error::Internal(Box::new(panic)))?
    }

    /// Makes sure that the caller knows the password of their account, where it has one.
    pub(super) async fn confirm_caller(
        &self,
        caller: &SignedIn,
        password: Option<Password>,
        action: Action,
    ) -> Result<Verified> {
        let user = self.get_user(caller.user_id).await?;
        if user.password_hash.is_none() {
            let account = throttle::account(&user.email_normalized);
            let User { id, password_version, .. } = user;
            return Ok(Verified { id, password_version, weaker: false, account, had_failures: false });
        }
        let missing = || Error::field("password", Invalid::new("the account's password is required"));
        self.try_own_password(caller, user, &password.ok_or_else(missing)?, action).await
    }

    /// Compares a password with that of the caller's account.
    pub(super) async fn try_own_password(
        &self,
        caller: &SignedIn,
        user: User,
        password: &Password,
        action: Action,
    ) -> Result<Verified> {
        let deed = caller.did(action).but_failed();
        let tried = Try { deed, address: None, client: &caller.client };
        let verified = self.try_password(&user.email_normalized, password, tried).await?;
        // The address may be another account's by now.
        if verified.id == user.id { Ok(verified) } else { Err(Error::CredentialRevoked) }
    }
}

/// Who tries a password, and what for.
pub(super) struct Try<'a> {
    /// What is written down if it fails.
    pub(super) deed: Deed,
    /// Where failures of the client's address count, too.
    pub(super) address: Option<RateWindow>,
    /// From where.
    pub(super) client: &'a Client,
}

/// All that a try needs, so that it depends on nobody.
struct Attempt {
    store: Store,
    passwords: PasswordHasher,
    throttle: Throttle,
    email: String,
    account: Digest,
    address: Option<RateWindow>,
    password: Password,
    deed: Deed,
    client: Client,
    /// Given back when all is done.
    _turns: Vec<Option<OwnedSemaphorePermit>>,
}

impl Attempt {
    async fn run(self, caller: Caller) -> Result<Verified> {
        let mut conn = self.store.conn().await?;
        let failures = password_failures::find(&mut conn, self.account).await?;
        // Most have none, and the time is a question of its own.
        let account_wait = match failures {
            Some(failures) => self.throttle.wait(failures, conn.now().await?),
            None => None,
        };
        let address_wait = match self.address {
            Some(window) => window.wait(&mut conn).await?,
            None => None,
        };
        let login = users::find_login(&mut conn, &self.email).await?;
        // Nothing is hashed while a connection is held.
        drop(conn);

        let user_id = login.as_ref().map(|login| login.id);
        if let Some(retry_after) = account_wait.max(address_wait) {
            self.deed.to(user_id).log(&self.client);
            return Err(Error::TooManyAttempts { retry_after });
        }
        let verdict = self.compare(caller, login.as_ref()).await?;
        let weaker = match verdict {
            Verdict::Match => false,
            Verdict::MatchButWeaker => true,
            Verdict::NoMatch => return self.fail(user_id).await,
        };
        // Without an account nothing matches.
        let Login { id, password_version, .. } = login.ok_or(Error::WrongEmailOrPassword)?;
        Ok(Verified { id, password_version, weaker, account: self.account, had_failures: failures.is_some() })
    }

    /// A stored hash that is not accepted (S6) matches nothing.
    async fn compare(&self, caller: Caller, login: Option<&Login>) -> Result<Verdict> {
        let stored = login.and_then(|login| login.password_hash.as_ref()).map(PasswordHash::expose);
        match self.passwords.verify(self.password.clone().into_secret(), stored, caller).await {
            Err(HashError::Unsupported) => {
                if let Some(Login { id, .. }) = login {
                    tracing::error!(user_id = %id, "the stored password hash of {id} is not accepted");
                }
                Ok(Verdict::NoMatch)
            }
            verdict => Ok(verdict?),
        }
    }

    /// Counts the failure, in a transaction of its own, which nothing else can roll back (S10).
    async fn fail(&self, user_id: Option<UserId>) -> Result<Verified> {
        let counted = self.store.tx(async |tx| {
            let now = tx.now().await?;
            password_failures::add(tx, self.account, now).await?;
            if let Some(window) = self.address {
                window.count(tx, now).await?;
            }
            self.deed.to(user_id).record(tx, &self.client).await
        });
        counted.await?;
        Err(Error::WrongEmailOrPassword)
    }
}

impl Verified {
    /// Locks the account, if its password is still the one that was tried, and forgets the failures before: of a sign-in and
    /// a change of password at the same time, the change wins.
    pub(super) async fn lock(&self, tx: &mut Tx) -> Result<User> {
        let now = users::lock(tx, self.id).await?;
        let now = now.filter(|now| now.password_version == self.password_version);
        if self.had_failures {
            password_failures::clear(tx, self.account).await?;
        }
        now.ok_or(Error::WrongEmailOrPassword)
    }
}
