//! Changing a password that is known.

use super::{Domain, Error, Result, access::SignedIn, password_policy};
use crate::{
    mail::Content,
    store::{
        one_time_tokens::{self, Purpose},
        sessions, users,
    },
    types::{Password, event::Action, password::PasswordHash},
};

impl Domain {
    /// Sets a new password, which takes the current one (S7), ends every other session (S21), voids what was mailed before
    /// (S39) and tells the owner (S42).
    #[tracing::instrument(skip_all)]
    pub async fn change_password(&self, caller: &SignedIn, current: Password, new: Password) -> Result<()> {
        let user = self.get_user(caller.user_id).await?;
        let min_length = self.settings.min_password_length;
        password_policy::check("new_password", &new, &user.email, &user.name, min_length)?;
        let verified = self.try_own_password(caller, user, &current, Action::ChangePassword).await?;
        let hash = PasswordHash::new(self.passwords.hash(new.into_secret(), caller.client.deadline).await?);

        let changed = self.store.tx(async |tx| {
            let user = verified.lock(tx).await?;
            // The session may have ended while the password was hashed.
            sessions::lock(tx, caller.user_id, caller.session_id).await?.ok_or(Error::CredentialRevoked)?;
            let now = tx.now().await?;
            users::set_password(tx, user.id, &hash, now).await?;
            one_time_tokens::void(tx, user.id, &[Purpose::ResetPassword, Purpose::ChangeEmail]).await?;
            self.end_all_sessions(tx, user.id, Some(caller.session_id), now).await?;
            self.post_notice(tx, &user, Content::PasswordChanged).await?;
            caller.did(Action::ChangePassword).record(tx, &caller.client).await
        });
        changed.await
    }
}
