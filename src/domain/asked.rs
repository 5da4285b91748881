//! Mails that are asked for by an address alone. Asking costs the same whether or not the address has an account, and so
//! looks nothing up (S15): who it is for is found out when the mail is sent.

use serde::{Deserialize, Serialize};

use super::{Client, Domain, Result, audit::Deed, outbox::Payload, throttle::CountedMail};
use crate::{
    mail::{Content, Letter, Link},
    store::{
        Tx,
        mails::{self, Mail},
        one_time_tokens::{self, Purpose},
        users::{self, User},
    },
    types::{Digest, event::Action},
};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wanted {
    VerifyEmail,
    ResetPassword,
}

/// That it was asked for, while the mail waits.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    wanted: Wanted,
    /// The address as it is compared.
    email: String,
    /// By whom.
    client: Client,
    /// The letter, once there is one, and the digest of the token in it.
    letter: Option<(Letter, [u8; 32])>,
}

impl Wanted {
    const fn kind(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
        }
    }

    const fn purpose(self) -> Purpose {
        match self {
            Self::VerifyEmail => Purpose::VerifyEmail,
            Self::ResetPassword => Purpose::ResetPassword,
        }
    }

    const fn action(self) -> Action {
        match self {
            Self::VerifyEmail => Action::RequestVerification,
            Self::ResetPassword => Action::RequestPasswordReset,
        }
    }

    const fn counted(self) -> CountedMail {
        match self {
            Self::VerifyEmail => CountedMail::VerifyEmail,
            Self::ResetPassword => CountedMail::ResetPassword,
        }
    }

    fn is_for(self, user: &User) -> bool {
        let needed = match self {
            Self::VerifyEmail => user.email_verified_time.is_none(),
            Self::ResetPassword => true,
        };
        needed && user.disabled_time.is_none()
    }

    const fn content(self, link: Link) -> Content {
        match self {
            Self::VerifyEmail => Content::VerifyEmail(link),
            Self::ResetPassword => Content::ResetPassword(link),
        }
    }
}

impl Domain {
    /// Writes down that somebody asked, unless there were too many (S13).
    pub(super) async fn ask_for_mail(&self, wanted: Wanted, email: &str, client: &Client) -> Result<()> {
        let asked = Asked { wanted, email: email.to_owned(), client: client.clone(), letter: None };
        let written = self.store.tx(async |tx| {
            let now = tx.now().await?;
            if self.settings.throttle.of_asks(wanted.counted(), email).admit(tx, now).await? {
                return self.write(tx, wanted.kind(), &Payload::Asked(asked)).await;
            }
            let client = client.clone();
            tx.after_commit(move || Deed::failed(wanted.action()).log(&client));
            Ok(())
        });
        written.await
    }

    /// The letter to who asked, if there is somebody whom it is for; if not, the mail goes.
    pub(super) async fn answer(&self, mail: &Mail, asked: Asked) -> Result<Option<Letter>> {
        let answered = self.store.tx(async |tx| {
            let letter = self.letter(tx, mail, asked).await?;
            if letter.is_none() {
                mails::delete(tx, mail.id).await?;
            }
            Ok(letter)
        });
        answered.await
    }

    async fn letter(&self, tx: &mut Tx, mail: &Mail, asked: Asked) -> Result<Option<Letter>> {
        let Asked { wanted, email, client, letter } = asked;
        let Some(user) = lock_by_email(tx, &email).await?.filter(|user| wanted.is_for(user)) else {
            // Of an account that was proven, or shut, while its mail waited, the first try has told.
            if letter.is_none() {
                tx.after_commit(move || Deed::failed(wanted.action()).log(&client));
            }
            return Ok(None);
        };
        let now = tx.now().await?;
        if let Some((letter, token)) = letter {
            match one_time_tokens::find(tx, wanted.purpose(), Digest(token)).await? {
                Some(token) if now < token.expire_time => return Ok(Some(letter)),
                // The mail waited for longer than its link lives.
                Some(_expired) => {}
                // It was voided: by a newer request, whose mail goes out as well, or by a change of what it is for (S39).
                None => return Ok(None),
            }
        } else {
            // What was asked for is limited already; a registration has mailed one of this kind, too.
            let mails = self.settings.throttle.of_mails(wanted.counted(), &email);
            // By the time of asking, as it is for those who ask.
            if !mails.admit(tx, mail.create_time).await? {
                Deed::failed(wanted.action()).to(user.id).record(tx, &client).await?;
                return Ok(None);
            }
            Deed::done(wanted.action()).to(user.id).record(tx, &client).await?;
        }
        let (link, token) = self.new_link(tx, &user, wanted.purpose(), &user.email).await?;
        let letter = Letter { to: user.email, content: wanted.content(link) };
        // From now on the mail says this, whoever sends it.
        let answered = Asked { wanted, email, client, letter: Some((letter.clone(), token.0)) };
        self.rewrite(tx, mail, &Payload::Asked(answered)).await?;
        Ok(Some(letter))
    }
}

async fn lock_by_email(tx: &mut Tx, email: &str) -> Result<Option<User>> {
    let Some(found) = users::find_by_email(tx, email).await? else { return Ok(None) };
    let user = users::lock(tx, found.id).await?;
    // It may have got another address meanwhile.
    Ok(user.filter(|user| user.email_normalized == email))
}
