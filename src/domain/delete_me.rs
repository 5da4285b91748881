//! Deleting one's own account.

use super::{Domain, Error, Result, password::lock_verified, tokens::tokens_gone_by};
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
        let deleted = self.store.tx(async |tx| {
            let user = lock_verified(tx, &user).await?;
            let now = tx.now().await?;
            self.end_all_sessions(tx, user.id, None, now).await?;
            self.end_all_keys(tx, user.id, now).await?;
            changes::insert(tx, &[Change::UserChanged(user.id)], now, tokens_gone_by(now)).await?;
            users::delete(tx, user.id).await?;
            Ok::<_, Error>(())
        });
        deleted.await?;
        tracing::info!(user_id = %id, "account deleted");
        Ok(())
    }
}
