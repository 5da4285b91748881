//! Comparing a password with an account's: a step that sign-in, change of password and deletion share.

use super::{Domain, Error, Result};
use crate::{
    crypto::password::{HashError, Verdict},
    store::{
        Tx,
        users::{self, User},
    },
    types::{Password, password::PasswordHash},
};

impl Domain {
    /// Compares a password with an account's. Where there is no account, or it has no password, as much is computed and
    /// nothing matches (S7, S15). A stored hash that is not accepted (S6) matches nothing either.
    pub(super) async fn verify_password(&self, user: Option<&User>, password: &Password) -> Result<Verdict> {
        let stored = user.and_then(|user| user.password_hash.as_ref()).map(PasswordHash::expose);
        match self.passwords.verify(password.clone().into_secret(), stored).await {
            Err(HashError::Unsupported) => {
                if let Some(User { id, .. }) = user {
                    tracing::error!(user_id = %id, "the stored password hash of {id} is not accepted");
                }
                Ok(Verdict::NoMatch)
            }
            verdict => Ok(verdict?),
        }
    }
}

/// Locks an account, if its password is still the one that was verified before the transaction began: of a sign-in and a
/// change of password at the same time, the change wins.
pub(super) async fn lock_verified(tx: &mut Tx, verified: &User) -> Result<User> {
    let now = users::lock(tx, verified.id).await?;
    now.filter(|now| now.password_version == verified.password_version).ok_or(Error::WrongEmailOrPassword)
}
