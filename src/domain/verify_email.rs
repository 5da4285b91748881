//! Proving that an e-mail address is its account's owner's.

use super::{
    Client, Domain, Error, Result,
    asked::Wanted,
    audit::{Deed, note_refusal},
    throttle::CountedMail,
};
use crate::{
    mail::Content,
    store::{
        Tx,
        one_time_tokens::Purpose,
        users::{self, User},
    },
    types::{Email, event::Action},
};

impl Domain {
    /// Proves the address, by a mailed token.
    #[tracing::instrument(skip_all)]
    pub async fn verify_email(&self, token: &str, client: &Client) -> Result<User> {
        let verified = self.store.tx(async |tx| {
            let (user, _token) = self.take_token(tx, Purpose::VerifyEmail, token).await?;
            let now = tx.now().await?;
            let user =
                users::set_email_verified(tx, user.id, now).await?.ok_or(Error::OneTimeTokenInvalid)?;
            Deed::done(Action::VerifyEmail).to(user.id).record(tx, client).await?;
            Ok(user)
        });
        note_refusal(verified.await, Action::VerifyEmail, client)
    }

    /// Asks for another link. The answer and its time do not tell whether the address has an account (S14, S15).
    #[tracing::instrument(skip_all)]
    pub async fn resend_verification(&self, email: &Email, client: &Client) -> Result<()> {
        self.ask_for_mail(Wanted::VerifyEmail, email.normalized(), client).await
    }

    /// Mails the link to a new account.
    pub(super) async fn post_verification(&self, tx: &mut Tx, user: &User) -> Result<()> {
        let now = tx.now().await?;
        let mails = self.settings.throttle.of_mails(CountedMail::VerifyEmail, &user.email_normalized);
        if mails.admit(tx, now).await? {
            let (link, token) = self.new_link(tx, user, Purpose::VerifyEmail, &user.email).await?;
            let content = Content::VerifyEmail(link);
            self.post_link(tx, user.email.clone(), content, (Purpose::VerifyEmail, token)).await?;
        }
        Ok(())
    }
}
