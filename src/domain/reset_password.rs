//! Getting back in without the password: a mailed link sets a new one. Also how an account without a password gets one.

use super::{
    Client, Domain, Error, Result,
    asked::Wanted,
    audit::{Deed, note_refusal},
    password_policy, throttle,
};
use crate::{
    mail::{Change, Content},
    store::{
        identities,
        one_time_tokens::{self, Purpose},
        password_failures, users,
    },
    types::{Email, Password, event::Action, password::PasswordHash},
};

impl Domain {
    /// Asks for a link. The answer and its time do not tell whether the address has an account (S14, S15), and locking does
    /// not stand in its way (S11).
    #[tracing::instrument(skip_all)]
    pub async fn forgot_password(&self, email: &Email, client: &Client) -> Result<()> {
        self.ask_for_mail(Wanted::ResetPassword, email.normalized(), client).await
    }

    /// Sets a new password by a mailed token, ends every session (S21) and signs nobody in (S41). Where it is the first proof
    /// that the address is the owner's, all that was made before goes: whoever made it may have been somebody else.
    #[tracing::instrument(skip_all)]
    pub async fn reset_password(&self, token: &str, new: Password, client: &Client) -> Result<()> {
        let user = self.peek_token(Purpose::ResetPassword, token).await;
        let user = note_refusal(user, Action::ResetPassword, client)?;
        let min_length = self.settings.min_password_length;
        password_policy::check("new_password", &new, &user.email, &user.name, min_length)?;
        let hash = PasswordHash::new(self.passwords.hash(new.into_secret(), client.deadline).await?);

        let reset = self.store.tx(async |tx| {
            let (user, _token) = self.take_token(tx, Purpose::ResetPassword, token).await?;
            let now = tx.now().await?;
            self.end_all_sessions(tx, user.id, None, now).await?;
            if user.email_verified_time.is_none() {
                self.end_all_keys(tx, user.id, now).await?;
                identities::delete_all(tx, user.id).await?;
                users::set_email_verified(tx, user.id, now).await?.ok_or(Error::OneTimeTokenInvalid)?;
            }
            users::set_password(tx, user.id, &hash, now).await?;
            password_failures::clear(tx, throttle::account(&user.email_normalized)).await?;
            one_time_tokens::void(tx, user.id, &[Purpose::VerifyEmail, Purpose::ChangeEmail]).await?;
            let content = match user.password_hash {
                Some(_) => Content::PasswordChanged,
                None => Content::SignInMethodChanged(Change { change: "A password was added.".to_owned() }),
            };
            self.post_notice(tx, &user, content).await?;
            Deed::done(Action::ResetPassword).to(user.id).record(tx, client).await
        });
        note_refusal(reset.await, Action::ResetPassword, client)
    }
}
