//! Registering: an account and its first session.

use super::{Client, Domain, Error, Issued, Result, password_policy};
use crate::{
    store::{
        self,
        users::{self, User},
    },
    types::{DisplayName, Email, Password, UserId, password::PasswordHash},
};

/// What an account is made of.
#[derive(Debug)]
pub struct Registration {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: Password,
    /// The display name; may be empty.
    pub name: DisplayName,
}

impl Domain {
    /// Registers a person, where registration is open, and signs them in.
    pub async fn register(&self, registration: Registration, client: &Client) -> Result<Issued> {
        if !self.settings.registration_open {
            return Err(Error::RegistrationClosed);
        }
        let new = self.new_account(registration).await?;
        let issued = self.store.tx(async |tx| {
            insert(tx, &new).await?;
            self.open_session(tx, new, client).await
        });
        let issued = issued.await?;
        tracing::info!(user_id = %issued.user.id, "registered");
        Ok(issued)
    }

    /// Makes an account on the operator's behalf, whether or not registration is open.
    pub async fn create_user(&self, registration: Registration) -> Result<User> {
        let new = self.new_account(registration).await?;
        self.store.tx(async |tx| insert(tx, &new).await).await?;
        Ok(new)
    }

    async fn new_account(&self, registration: Registration) -> Result<User> {
        let Registration { email, password, name } = registration;
        password_policy::check(
            "password",
            &password,
            &email,
            name.as_str(),
            self.settings.min_password_length,
        )?;
        // Hashing is dear: not for an address that is taken. Who wins a race is decided by the database.
        if users::find_by_email(&mut self.store.conn().await?, &email).await?.is_some() {
            return Err(Error::EmailAlreadyRegistered);
        }
        let hash = PasswordHash::new(self.passwords.hash(password.into_secret()).await?);
        let now = self.clock.now();
        Ok(User {
            id: UserId::generate(now),
            email: email.as_given().to_owned(),
            email_normalized: email.normalized().to_owned(),
            email_verified_time: None,
            name: name.as_str().to_owned(),
            password_hash: Some(hash),
            password_version: 1,
            scopes: self.settings.default_scopes.clone(),
            disabled_time: None,
            create_time: now,
            update_time: now,
        })
    }
}

async fn insert(conn: &mut store::Conn, user: &User) -> Result<()> {
    users::insert(conn, user).await.map_err(|error| match error {
        store::Error::Conflict => Error::EmailAlreadyRegistered,
        error => error.into(),
    })
}
