//! Registering: an account and its first session.

use std::time::Instant;

use super::{
    Client, Domain, Error, Issued, Result,
    audit::{Deed, note_refusal},
    password_policy, throttle,
};
use crate::{
    store::{
        self, Tx, password_failures,
        users::{self, User},
    },
    types::{DisplayName, Email, Password, event::Action, password::PasswordHash},
};

/// What an account is made of.
#[derive(Debug)]
pub struct NewAccount {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: Password,
    /// The display name; may be empty.
    pub name: DisplayName,
}

/// What a registration yields.
#[derive(Debug)]
pub enum Registered {
    /// The account's first session.
    SignedIn(Issued),
    /// An account whose address has to be proven before its owner may sign in.
    Unverified(User),
}

impl Domain {
    /// Registers a person, where registration is open, mails a link to prove the address with, and signs them in if that
    /// need not be proven first.
    #[tracing::instrument(skip_all)]
    pub async fn register(&self, new: NewAccount, client: &Client) -> Result<Registered> {
        // Boxed, since it is large.
        let registering = Box::pin(async {
            let registered = self.make_account(&new, client).await;
            note_refusal(registered, Action::Register, client)
        });
        self.limit_probing(Deed::failed(Action::Register), client, registering).await
    }

    /// Makes an account on the operator's behalf, whether or not registration is open. The operator vouches for the address, as
    /// for the password: no stranger had a hand in either, so there is nothing that a later proof would have to undo (S21, S46).
    #[tracing::instrument(skip_all)]
    pub async fn create_user(&self, new: NewAccount) -> Result<User> {
        let hash = self.hash_for(&new, None).await?;
        let made = self.store.tx(async |tx| {
            let user = self.insert_account(tx, &new, hash, true).await?;
            Deed::done(Action::Register).to(user.id).record(tx, &Client::default()).await?;
            Ok(user)
        });
        made.await
    }

    async fn make_account(&self, new: &NewAccount, client: &Client) -> Result<Registered> {
        if !self.settings.registration_open {
            return Err(Error::RegistrationClosed);
        }
        let hash = self.hash_for(new, client.deadline).await?;
        let registered = self.store.tx(async |tx| {
            let user = self.insert_account(tx, new, hash, false).await?;
            self.post_verification(tx, &user).await?;
            if self.settings.require_verified_email {
                Deed::done(Action::Register).to(user.id).record(tx, client).await?;
                return Ok(Registered::Unverified(user));
            }
            self.open_session(tx, user, Action::Register, client).await.map(Registered::SignedIn)
        });
        registered.await
    }

    /// The hash of an acceptable password for an address that is free, as far as can be told before the transaction.
    async fn hash_for(&self, new: &NewAccount, deadline: Option<Instant>) -> Result<PasswordHash> {
        let NewAccount { email, password, name } = new;
        let min_length = self.settings.min_password_length;
        password_policy::check("password", password, email.as_given(), name.as_str(), min_length)?;
        // Hashing is dear: not for an address that is taken. Who wins a race is decided by the database.
        if users::find_by_email(&mut self.store.conn().await?, email.normalized()).await?.is_some() {
            return Err(Error::EmailAlreadyRegistered);
        }
        Ok(PasswordHash::new(self.passwords.hash(password.clone().into_secret(), deadline).await?))
    }

    async fn insert_account(
        &self,
        tx: &mut Tx,
        new: &NewAccount,
        hash: PasswordHash,
        verified: bool,
    ) -> Result<User> {
        let now = tx.now().await?;
        let scopes = self.settings.default_scopes.clone();
        let account = User::new(Some(&new.email), new.name.as_str(), scopes, now);
        let user =
            User { password_hash: Some(hash), email_verified_time: verified.then_some(now), ..account };
        match users::insert(tx, &user).await {
            Ok(()) => {}
            Err(store::Error::Conflict) => return Err(Error::EmailAlreadyRegistered),
            Err(error) => return Err(error.into()),
        }
        // Whoever guessed at the address before guessed at no account.
        password_failures::clear(tx, throttle::account(&user.email_normalized)).await?;
        Ok(user)
    }
}
