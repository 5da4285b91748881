//! Deleting one's own account.

use super::{Domain, Error, Result, keys, sessions};
use crate::{
    crypto::password::Verdict,
    store::{
        changes::{self, Change},
        users,
    },
    types::{Invalid, Password, UserId},
};

impl Domain {
    /// Deletes the account with its sessions and keys. Takes the password where the account has one.
    pub async fn delete_user(&self, id: UserId, password: Option<Password>) -> Result<()> {
        let user = self.get_user(id).await?;
        if user.password_hash.is_some() {
            let missing = || Error::field("password", Invalid::new("the account's password is required"));
            let password = password.ok_or_else(missing)?;
            if self.verify_password(Some(&user), &password).await? == Verdict::NoMatch {
                return Err(Error::WrongEmailOrPassword);
            }
        }
        let mut tx = self.store.begin().await?;
        let user = self.still(&mut tx, &user).await?;
        let now = tx.now().await?;
        sessions::end_all(self, &mut tx, user.id, None, now).await?;
        keys::end_all(&mut tx, user.id, now).await?;
        changes::insert(&mut tx, Change::UserChanged(user.id), now, self.tokens_gone_by(now)).await?;
        users::delete(&mut tx, user.id).await?;
        tx.commit().await?;
        tracing::info!(user_id = %id, "account deleted");
        Ok(())
    }
}
