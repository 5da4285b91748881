//! Changing a password that is known.

use super::{Domain, Error, Result, access::Session, password_policy, sessions};
use crate::{
    crypto::password::Verdict,
    store::{self, users},
    types::{Email, Password, password::PasswordHash},
};

impl Domain {
    /// Sets a new password, which takes the current one (S7), and ends every other session (S21).
    pub async fn change_password(&self, caller: Session, current: Password, new: Password) -> Result<()> {
        let user = self.get_user(caller.user_id).await?;
        let email = Email::parse(&user.email).map_err(|invalid| Error::Internal(Box::new(invalid)))?;
        password_policy::check("new_password", &new, &email, &user.name, self.settings.min_password_length)?;
        if self.verify_password(Some(&user), &current).await? == Verdict::NoMatch {
            return Err(Error::WrongEmailOrPassword);
        }
        let hash = PasswordHash::new(self.passwords.hash(new.into_secret()).await?);

        let ended = self.store.tx(async |tx| {
            let user = self.still(tx, &user).await?;
            // The session may have ended while the password was hashed.
            store::sessions::find(tx, caller.session_id).await?.ok_or(Error::CredentialRevoked)?;
            let now = tx.now().await?;
            users::set_password(tx, user.id, &hash, now).await?;
            sessions::end_all(self, tx, user.id, Some(caller.session_id), now).await
        });
        let ended = ended.await?;
        tracing::info!(user_id = %user.id, ended, "password changed");
        Ok(())
    }
}
