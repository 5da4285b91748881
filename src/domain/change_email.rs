//! Giving an account another e-mail address: asked for by who knows the password, confirmed by who reads the new mailbox.

use super::{
    Client, Domain, Error, Result,
    access::SignedIn,
    audit::{Deed, note_refusal},
    throttle::{self, CountedMail},
};
use crate::{
    mail::{Content, NewAddress},
    store::{
        self,
        one_time_tokens::{self, Purpose},
        password_failures, sessions,
        users::{self, User},
    },
    types::{Email, Invalid, Password, event::Action},
};

impl Domain {
    /// Mails a link to the new address and a notice to the old. Takes the password where the account has one. Too many mails
    /// to the new address, and none is sent, which voids nothing (S13).
    #[tracing::instrument(skip_all)]
    pub async fn request_email_change(
        &self,
        caller: &SignedIn,
        new: &Email,
        password: Option<Password>,
    ) -> Result<()> {
        // That an address is taken is told here as by a registration, and counts like it (S12).
        let asked = Box::pin(self.ask_for_change(caller, new, password));
        let refused = caller.did(Action::RequestEmailChange).but_failed();
        self.limit_probing(refused, &caller.client, asked).await
    }

    async fn ask_for_change(&self, caller: &SignedIn, new: &Email, password: Option<Password>) -> Result<()> {
        let verified = self.confirm_caller(caller, password, Action::RequestEmailChange).await?;
        let deed = caller.did(Action::RequestEmailChange);
        // That it was refused has to be committed, so within the transaction it is no error.
        let requested = self.store.tx(async |tx| {
            let user = verified.lock(tx).await?;
            // The session may have ended while the password was compared.
            sessions::lock(tx, caller.user_id, caller.session_id).await?.ok_or(Error::CredentialRevoked)?;
            let now = tx.now().await?;
            if user.email_normalized == new.normalized() {
                return Err(Error::field("new_email", Invalid::new("this is the account's address already")));
            }
            if users::find_by_email(tx, new.normalized()).await?.is_some() {
                deed.but_failed().record(tx, &caller.client).await?;
                return Ok(Err(Error::EmailAlreadyRegistered));
            }
            let mails = self.settings.throttle.of_mails(CountedMail::ChangeEmail, new.normalized());
            if !mails.admit(tx, now).await? {
                deed.but_failed().record(tx, &caller.client).await?;
                return Ok(Ok(()));
            }
            let (link, token) = self.new_link(tx, &user, Purpose::ChangeEmail, new.as_given()).await?;
            let content = Content::ConfirmEmailChange(link);
            self.post_link(tx, new.as_given().to_owned(), content, (Purpose::ChangeEmail, token)).await?;
            let notice = NewAddress { new_email: new.as_given().to_owned() };
            self.post_notice(tx, &user, Content::EmailChangeRequested(notice)).await?;
            deed.record(tx, &caller.client).await?;
            Ok::<_, Error>(Ok(()))
        });
        requested.await?
    }

    /// Gives the account its new address, which the mailed token proves. What was mailed to the old one is void (S39).
    #[tracing::instrument(skip_all)]
    pub async fn confirm_email_change(&self, token: &str, client: &Client) -> Result<User> {
        let changed = self.store.tx(async |tx| {
            let (before, token) = self.take_token(tx, Purpose::ChangeEmail, token).await?;
            let new = Email::parse(&token.email).map_err(|_| Error::OneTimeTokenInvalid)?;
            let now = tx.now().await?;
            let user = match users::set_email(tx, before.id, &new, now).await {
                Err(store::Error::Conflict) => return Err(Error::EmailAlreadyRegistered),
                user => user?.ok_or(Error::OneTimeTokenInvalid)?,
            };
            one_time_tokens::void(tx, user.id, &[Purpose::VerifyEmail, Purpose::ResetPassword]).await?;
            // Whoever guessed at the address before guessed at no account.
            password_failures::clear(tx, throttle::account(new.normalized())).await?;
            let notice = NewAddress { new_email: user.email.clone() };
            self.post_notice(tx, &before, Content::EmailChanged(notice)).await?;
            Deed::done(Action::ChangeEmail).to(user.id).record(tx, client).await?;
            Ok(user)
        });
        note_refusal(changed.await, Action::ChangeEmail, client)
    }
}
