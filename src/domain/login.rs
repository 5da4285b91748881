//! Signing in by password.

use super::{Client, Domain, Error, Issued, Result, audit::Deed, password::Try};
use crate::{
    store::users::{self, User},
    types::{Email, Password, event::Action, password::PasswordHash},
};

impl Domain {
    /// Signs a person in. Unknown, password-less and disabled accounts answer alike to a wrong password, and in the same
    /// time (S14, S15); only the right one is told what else stands in the way.
    #[tracing::instrument(skip_all)]
    pub async fn login(&self, email: &Email, password: Password, client: &Client) -> Result<Issued> {
        let failed = Deed::failed(Action::SignIn);
        let address = self.settings.throttle.of_address(client);
        let tried = Try { deed: failed, address, client };
        let verified = self.try_password(email.normalized(), &password, tried).await?;
        // Before the transaction: nothing is hashed while a connection is held. It can wait for another sign-in.
        let stronger = if verified.weaker {
            self.passwords.hash(password.into_secret(), client.deadline).await.ok()
        } else {
            None
        };
        // That it was refused has to be committed, so within the transaction it is no error.
        let answer = self.store.tx(async |tx| {
            let user = verified.lock(tx).await?;
            if let Some(stronger) = stronger {
                users::rehash_password(tx, user.id, &PasswordHash::new(stronger)).await?;
            }
            match self.refusal(&user) {
                Some(refusal) => {
                    failed.to(user.id).record(tx, client).await?;
                    Ok(Err(refusal))
                }
                None => self.open_session(tx, user, Action::SignIn, client).await.map(Ok),
            }
        });
        answer.await?
    }

    /// What keeps the owner of an account from signing in, who has shown to be it.
    pub(super) fn refusal(&self, user: &User) -> Option<Error> {
        if user.disabled_time.is_some() {
            Some(Error::AccountDisabled)
        } else if self.settings.require_verified_email && user.email_verified_time.is_none() {
            Some(Error::EmailNotVerified)
        } else {
            None
        }
    }
}
