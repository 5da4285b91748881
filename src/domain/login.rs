//! Signing in by password.

use super::{Client, Domain, Error, Issued, Result};
use crate::{
    crypto::password::{HashError, Verdict},
    store::users::{self, User},
    types::{Email, Password, password::PasswordHash},
};

impl Domain {
    /// Signs a person in. Unknown, password-less and disabled accounts answer alike to a wrong password, and in the same
    /// time (S14, S15); only the right one is told that the account is disabled.
    pub async fn login(&self, email: &Email, password: Password, client: &Client) -> Result<Issued> {
        let found = users::find_by_email(&mut self.store.conn().await?, email).await?;
        let verdict = self.verify_password(found.as_ref(), &password).await?;
        let (Some(user), true) = (found, verdict != Verdict::NoMatch) else {
            return Err(Error::WrongEmailOrPassword);
        };
        // Before the transaction: nothing is hashed while a connection is held.
        let stronger = match verdict {
            Verdict::MatchButWeaker => Some(self.passwords.hash(password.into_secret()).await?),
            Verdict::Match | Verdict::NoMatch => None,
        };

        let issued = self.store.tx(async |tx| {
            let user = self.still(tx, &user).await?;
            if user.disabled_time.is_some() {
                return Err(Error::AccountDisabled);
            }
            if let Some(stronger) = stronger {
                users::rehash_password(tx, user.id, &PasswordHash::new(stronger)).await?;
            }
            self.open_session(tx, user, client).await
        });
        let issued = issued.await?;
        tracing::info!(user_id = %issued.user.id, "signed in");
        Ok(issued)
    }

    /// Compares a password with an account's. Where there is no account, or it has no password, as much is computed and
    /// nothing matches (S7, S15). A stored hash that is not accepted (S6) matches nothing either.
    pub(super) async fn verify_password(&self, user: Option<&User>, password: &Password) -> Result<Verdict> {
        let stored = user.and_then(|user| user.password_hash.as_ref()).map(PasswordHash::expose);
        match self.passwords.verify(password.clone().into_secret(), stored).await {
            Err(HashError::Unsupported) => {
                let user_id = user.map(|user| user.id);
                tracing::error!(?user_id, "the stored password hash of {user_id:?} is not accepted");
                Ok(Verdict::NoMatch)
            }
            verdict => Ok(verdict?),
        }
    }

    /// Locks the account whose password was verified before the transaction began, if it is still the same: of a sign-in
    /// and a change of password at the same time, the change wins.
    pub(super) async fn still(&self, tx: &mut crate::store::Tx, verified: &User) -> Result<User> {
        users::lock(tx, verified.id)
            .await?
            .filter(|now| now.password_version == verified.password_version)
            .ok_or(Error::WrongEmailOrPassword)
    }
}
