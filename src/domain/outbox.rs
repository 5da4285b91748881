//! The outbox: a mail is written down in the transaction of what caused it, and sent by [`crate::worker`], again and again
//! until it is accepted or too old. Its content is sealed while it waits (S37).

use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Client, Domain, Error, Result, audit::Deed, throttle::CountedMail};
use crate::{
    crypto::MasterKey,
    mail::{Content, Letter},
    store::{
        Tx,
        mails::{self, Mail},
        one_time_tokens::Purpose,
        users,
    },
    types::{MailId, event::Action},
};

/// Mails that are claimed, and sent, at once.
const AT_ONCE: i64 = 8;
/// How long a claim holds: longer than sending may take, and asking the database before and after.
const LEASE: Duration = Duration::from_mins(2);
/// How long after the first try comes the second; each further wait is twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// How old a mail may be when it is tried for the last time.
const MAX_AGE: Duration = Duration::from_hours(24);
/// How long to wait for a database that does not take note of a delivery.
const MARK_RETRY: Duration = Duration::from_secs(1);

/// What is sealed of a mail that waits.
#[derive(Serialize, Deserialize)]
enum Payload {
    /// A whole letter.
    Letter(Letter),
    /// Somebody asked for a mail to an address. Whether it has an account is looked up when the mail is sent, so that asking
    /// costs the same either way (S15).
    Asked { what: Asked, email: String, client: Client },
}

/// What can be asked for by whoever knows an address.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Asked {
    VerifyEmail,
    ResetPassword,
}

/// What has become of a mail.
enum Sent {
    Accepted,
    /// There is nobody to send it to.
    Unwanted,
    /// Why not, for the log.
    Not(String),
}

impl Domain {
    /// Writes a mail to an address down.
    pub(super) async fn post(&self, tx: &mut Tx, to: String, content: Content) -> Result<()> {
        let kind = content.kind();
        self.write(tx, kind, &Payload::Letter(Letter { to, content })).await
    }

    /// Writes down that somebody asked for a mail to an address, as it is compared, unless there were too many (S13).
    pub(super) async fn ask_for_mail(&self, what: Asked, email: &str, client: &Client) -> Result<()> {
        let (counted, kind) = match what {
            Asked::VerifyEmail => (CountedMail::VerifyEmail, "verify_email"),
            Asked::ResetPassword => (CountedMail::ResetPassword, "reset_password"),
        };
        let payload = Payload::Asked { what, email: email.to_owned(), client: client.clone() };
        let asked = self.store.tx(async |tx| {
            let now = tx.now().await?;
            if self.settings.throttle.of_mails(counted, email).admit(tx, now).await? {
                self.write(tx, kind, &payload).await?;
            }
            Ok(())
        });
        asked.await
    }

    async fn write(&self, tx: &mut Tx, kind: &str, payload: &Payload) -> Result<()> {
        let now = tx.now().await?;
        let id = MailId::generate(now);
        let mail = Mail {
            id,
            kind: kind.to_owned(),
            payload_sealed: Some(seal(&self.master_key, id, payload)?),
            attempts: 0,
            create_time: now,
            due_time: now,
            dead_time: None,
        };
        mails::insert(tx, &mail).await?;
        let due = self.mail_due.clone();
        tx.after_commit(move || due.notify_one());
        Ok(())
    }

    /// Resolves when this replica has written a mail down.
    pub async fn mail_written(&self) {
        self.mail_due.notified().await;
    }

    /// Sends what is due, and says whether there may be more.
    pub async fn deliver_mails(&self) -> Result<bool> {
        let mut conn = self.store.conn().await?;
        let now = conn.now().await?;
        let due = mails::list_due(&mut conn, now, AT_ONCE).await?;
        drop(conn);
        if due.is_empty() {
            return Ok(false);
        }
        let claimed = self.claim(&due).await?;
        join_all(claimed.into_iter().map(|mail| self.deliver(mail))).await;
        // Also when another replica was faster with these.
        Ok(due.len() == usize::try_from(AT_ONCE).unwrap_or_default())
    }

    /// Of several replicas that see the same mail one gets it.
    async fn claim(&self, due: &[Mail]) -> Result<Vec<Mail>> {
        let claimed = self.store.tx(async |tx| {
            let now = tx.now().await?;
            let mut claimed = Vec::new();
            for mail in due {
                claimed.extend(mails::claim(tx, mail, now + LEASE).await?);
            }
            Ok(claimed)
        });
        claimed.await
    }

    async fn deliver(&self, mail: Mail) {
        let sent = self.send(&mail).await.unwrap_or_else(|error| Sent::Not(error.to_string()));
        let (mail_id, kind, attempts) = (mail.id, mail.kind.as_str(), mail.attempts);
        if let Sent::Not(cause) = &sent {
            tracing::warn!(%mail_id, kind, attempts, cause, "mail not sent");
        }
        // As long as nobody else takes the mail for unsent.
        let until = Instant::now() + LEASE;
        while let Err(error) = self.mark(&mail, &sent).await {
            tracing::warn!(%mail_id, kind, cause = ?error, "the outcome of a mail was not written down");
            if Instant::now() + MARK_RETRY > until {
                return;
            }
            sleep(MARK_RETRY).await;
        }
        if matches!(sent, Sent::Accepted) {
            tracing::info!(%mail_id, kind, attempts, "mail sent");
        }
    }

    async fn send(&self, mail: &Mail) -> Result<Sent> {
        let payload =
            mail.payload_sealed.as_deref().and_then(|sealed| open(&self.master_key, mail.id, sealed));
        let letter = match payload {
            None => return Ok(Sent::Not("the mail does not open under the master key".to_owned())),
            Some(Payload::Letter(letter)) => letter,
            Some(Payload::Asked { what, email, client }) => {
                match self.answer(mail, what, &email, &client).await? {
                    Some(letter) => letter,
                    None => return Ok(Sent::Unwanted),
                }
            }
        };
        Ok(match self.mailer.send(mail.id, &letter, self.clock.now()).await {
            Ok(()) => Sent::Accepted,
            Err(error) => Sent::Not(error.to_string()),
        })
    }

    /// The letter to who asked for it, if the address has an account that it is for. From now on the mail is that letter.
    async fn answer(&self, mail: &Mail, what: Asked, email: &str, client: &Client) -> Result<Option<Letter>> {
        let letter = self.store.tx(async |tx| {
            let Some(found) = users::find_by_email(tx, email).await? else { return Ok(None) };
            let Some(user) = users::lock(tx, found.id).await? else { return Ok(None) };
            let wanted = match what {
                Asked::VerifyEmail => user.email_verified_time.is_none(),
                Asked::ResetPassword => true,
            };
            if !wanted || user.disabled_time.is_some() || user.email_normalized != email {
                return Ok(None);
            }
            let (purpose, action) = match what {
                Asked::VerifyEmail => (Purpose::VerifyEmail, Action::RequestVerification),
                Asked::ResetPassword => (Purpose::ResetPassword, Action::RequestPasswordReset),
            };
            let link = self.new_link(tx, &user, purpose, &user.email).await?;
            let content = match what {
                Asked::VerifyEmail => Content::VerifyEmail(link),
                Asked::ResetPassword => Content::ResetPassword(link),
            };
            let letter = Letter { to: user.email, content };
            let sealed = seal(&self.master_key, mail.id, &Payload::Letter(letter.clone()))?;
            if !mails::set_payload(tx, mail, &sealed).await? {
                // The claim ran out, and another replica has the mail.
                return Err(Error::Internal("the claim on the mail is over".into()));
            }
            Deed::done(action).to(user.id).record(tx, client).await?;
            Ok(Some(letter))
        });
        letter.await
    }

    /// Writes down what has become of a mail.
    async fn mark(&self, mail: &Mail, sent: &Sent) -> Result<()> {
        let marked = self.store.tx(async |tx| {
            let now = tx.now().await?;
            let last = mail.create_time + MAX_AGE;
            match sent {
                Sent::Accepted | Sent::Unwanted => {
                    mails::delete(tx, mail.id).await?;
                }
                Sent::Not(_) if now < last => {
                    mails::postpone(tx, mail, (now + retry_delay(mail.attempts)).min(last)).await?;
                }
                Sent::Not(_) => {
                    if mails::bury(tx, mail, now).await? {
                        let (mail_id, kind, attempts) = (mail.id, mail.kind.clone(), mail.attempts);
                        tx.after_commit(move || tracing::error!(%mail_id, kind, attempts, "mail given up"));
                    }
                }
            }
            Ok(())
        });
        marked.await
    }
}

/// How long to wait after the `attempts`-th try.
fn retry_delay(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or_default();
    FIRST_RETRY.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
}

fn purpose(id: MailId) -> String {
    format!("mail:{id}")
}

fn seal(master_key: &MasterKey, id: MailId, payload: &Payload) -> Result<String> {
    let json = serde_json::to_vec(payload).map_err(|error| Error::Internal(Box::new(error)))?;
    Ok(master_key.seal(&purpose(id), &json)?)
}

fn open(master_key: &MasterKey, id: MailId, sealed: &str) -> Option<Payload> {
    serde_json::from_slice(&master_key.open(&purpose(id), sealed)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_before_another_try_doubles_from_five_seconds() {
        for (attempts, seconds) in [(1, 5), (2, 10), (3, 20), (14, 40_960)] {
            assert_eq!(retry_delay(attempts).as_secs(), seconds);
        }
        assert!(retry_delay(i32::MAX) > MAX_AGE);
    }
}
