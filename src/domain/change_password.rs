//! Changing a password that is known.

use super::{Domain, Error, Result, access::SignedIn, password::lock_verified, password_policy};
use crate::{
    crypto::password::Verdict,
    store::{sessions, users},
    types::{Password, password::PasswordHash},
};

impl Domain {
    /// Sets a new password, which takes the current one (S7), and ends every other session (S21).
    pub async fn change_password(&self, caller: SignedIn, current: Password, new: Password) -> Result<()> {
        let user = self.get_user(caller.user_id).await?;
        let min_length = self.settings.min_password_length;
        password_policy::check("new_password", &new, &user.email, &user.name, min_length)?;
        if self.verify_password(Some(&user), &current).await? == Verdict::NoMatch {
            return Err(Error::WrongEmailOrPassword);
        }
        let hash = PasswordHash::new(self.passwords.hash(new.into_secret()).await?);

        let ended = self.store.tx(async |tx| {
            let user = lock_verified(tx, &user).await?;
            // The session may have ended while the password was hashed.
            sessions::find(tx, caller.session_id).await?.ok_or(Error::CredentialRevoked)?;
            let now = tx.now().await?;
            users::set_password(tx, user.id, &hash, now).await?;
            self.end_all_sessions(tx, user.id, Some(caller.session_id), now).await
        });
        let ended = ended.await?;
        tracing::info!(user_id = %user.id, ended, "password changed");
        Ok(())
    }
}
