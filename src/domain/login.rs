//! Signing in by password.

use super::{Client, Domain, Error, Issued, Result, password::lock_verified};
use crate::{
    crypto::password::Verdict,
    store::users,
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
            // It can wait for another sign-in.
            Verdict::MatchButWeaker => self.passwords.hash(password.into_secret()).await.ok(),
            Verdict::Match | Verdict::NoMatch => None,
        };

        let issued = self.store.tx(async |tx| {
            let user = lock_verified(tx, &user).await?;
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
}
