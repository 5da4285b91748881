//! The outbox: a mail is written down in the transaction of what caused it, and sent by [`crate::worker`], again and again
//! until it is accepted or too old. Its content is sealed while it waits (S37). What is asked for by address alone is
//! `asked`'s.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Domain, Error, Result, asked::Asked, stats::MailOutcome, throttle::CountedMail};
use crate::{
    crypto::MasterKey,
    mail::{Content, Letter},
    store::{
        Tx,
        mails::{self, Mail},
        one_time_tokens::Purpose,
        users::User,
    },
    types::{Digest, MailId},
};

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
pub(super) enum Payload {
    /// A whole letter, and the token in it, if any.
    Letter(Letter, Option<(Purpose, [u8; 32])>),
    /// Somebody asked for one.
    Asked(Asked),
}

/// What has become of a mail.
enum Sent {
    Accepted,
    /// There is nobody to send it to, or the link in it is void; it is gone.
    Unwanted,
    /// Why not, for the log.
    Not(String),
}

impl Domain {
    /// Writes a mail to an address down.
    pub(super) async fn post(&self, tx: &mut Tx, to: String, content: Content) -> Result<()> {
        let kind = content.kind();
        self.write(tx, kind, &Payload::Letter(Letter { to, content }, None)).await
    }

    /// Writes a mail with a link down, which is not sent once the token in it is void.
    pub(super) async fn post_link(
        &self,
        tx: &mut Tx,
        to: String,
        content: Content,
        (purpose, token): (Purpose, Digest),
    ) -> Result<()> {
        let kind = content.kind();
        self.write(tx, kind, &Payload::Letter(Letter { to, content }, Some((purpose, token.0)))).await
    }

    /// Writes a notice to an account's owner down (S42).
    pub(super) async fn post_notice(&self, tx: &mut Tx, user: &User, content: Content) -> Result<()> {
        let now = tx.now().await?;
        let counted = self.settings.throttle.of_mails(CountedMail::UnprovenNotice, &user.email_normalized);
        if user.email_verified_time.is_some() || counted.admit(tx, now).await? {
            self.post(tx, user.email.clone(), content).await?;
        }
        Ok(())
    }

    pub(super) async fn write(&self, tx: &mut Tx, kind: &str, payload: &Payload) -> Result<()> {
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

    /// Replaces what a claimed mail says.
    pub(super) async fn rewrite(&self, tx: &mut Tx, mail: &Mail, payload: &Payload) -> Result<()> {
        if mails::set_payload(tx, mail, &seal(&self.master_key, mail.id, payload)?).await? {
            return Ok(());
        }
        // The claim ran out, and another replica has the mail.
        Err(Error::Internal("the claim on the mail is over".into()))
    }

    /// Resolves when this replica has written a mail down.
    pub async fn mail_written(&self) {
        self.mail_due.notified().await;
    }

    /// Claims up to `limit` of the mails that are due, for [`Self::deliver`]. Of several replicas that see the same mail one
    /// gets it.
    pub async fn claim_mails(&self, limit: usize) -> Result<Vec<Mail>> {
        loop {
            let mut conn = self.store.conn().await?;
            let now = conn.now().await?;
            let due = mails::list_due(&mut conn, now, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
            drop(conn);
            if due.is_empty() {
                return Ok(due);
            }
            let claimed = self.store.tx(async |tx| {
                let now = tx.now().await?;
                let mut claimed = Vec::new();
                for mail in &due {
                    claimed.extend(mails::claim(tx, mail, now + LEASE).await?);
                }
                Ok::<_, Error>(claimed)
            });
            let claimed = claimed.await?;
            // Another replica was faster with all of these: there may be more.
            if !claimed.is_empty() {
                return Ok(claimed);
            }
        }
    }

    /// Sends a claimed mail, and writes down what has become of it.
    pub async fn deliver(self: Arc<Self>, mail: Mail) {
        // A task of its own: a panic is one mail's failure, not the end of all mail.
        let task = tokio::spawn({
            let (domain, mail) = (Arc::clone(&self), mail.clone());
            async move { domain.send(&mail).await }
        });
        let sent = match task.await {
            Ok(Ok(sent)) => sent,
            Ok(Err(error)) => Sent::Not(format!("{error:?}")),
            Err(panic) => Sent::Not(panic.to_string()),
        };
        let (mail_id, kind, attempts) = (mail.id, mail.kind.as_str(), mail.attempts);
        match &sent {
            Sent::Accepted => self.mail_tally.count(kind, MailOutcome::Sent),
            Sent::Unwanted => {}
            Sent::Not(_) => self.mail_tally.count(kind, MailOutcome::Failed),
        }
        if let Sent::Not(cause) = &sent {
            tracing::warn!(%mail_id, kind, attempts, cause, "mail not sent");
        }
        // Until it is known, another replica may take an accepted mail for unsent when the claim is over. One that was not
        // sent is just that.
        let mut told = false;
        while let Err(error) = self.mark(&mail, &sent).await {
            if !told {
                tracing::warn!(%mail_id, kind, cause = ?error, "the outcome of a mail was not written down");
                told = true;
            }
            if !matches!(sent, Sent::Accepted) {
                return;
            }
            sleep(MARK_RETRY).await;
        }
        if matches!(sent, Sent::Accepted) {
            tracing::info!(%mail_id, kind, attempts, "mail sent");
        }
    }

    async fn send(&self, mail: &Mail) -> Result<Sent> {
        let sealed = mail.payload_sealed.as_deref();
        let letter = match sealed.and_then(|sealed| open(&self.master_key, mail.id, sealed)) {
            None => return Ok(Sent::Not("the mail does not open under the master key".to_owned())),
            Some(Payload::Letter(letter, None)) => letter,
            Some(Payload::Letter(letter, Some((purpose, token)))) => {
                if self.is_void(purpose, Digest(token)).await? {
                    self.store.tx(async |tx| mails::delete(tx, mail.id).await).await?;
                    return Ok(Sent::Unwanted);
                }
                letter
            }
            Some(Payload::Asked(asked)) => match self.answer(mail, asked).await? {
                Some(letter) => letter,
                None => return Ok(Sent::Unwanted),
            },
        };
        let Some(mailer) = &self.mailer else { return Ok(Sent::Not("no mail is sent from here".to_owned())) };
        Ok(match mailer.send(mail.id, &letter, self.clock.now()).await {
            Ok(()) => Sent::Accepted,
            Err(error) => Sent::Not(error.to_string()),
        })
    }

    async fn mark(&self, mail: &Mail, sent: &Sent) -> Result<()> {
        if matches!(sent, Sent::Unwanted) {
            return Ok(());
        }
        let marked = self.store.tx(async |tx| {
            let now = tx.now().await?;
            let last = mail.create_time + MAX_AGE;
            if matches!(sent, Sent::Accepted) {
                mails::delete(tx, mail.id).await?;
            } else if now < last {
                mails::postpone(tx, mail, (now + retry_delay(mail.attempts)).min(last)).await?;
            } else if mails::bury(tx, mail, now).await? {
                let (mail_id, kind, attempts) = (mail.id, mail.kind.clone(), mail.attempts);
                let tally = Arc::clone(&self.mail_tally);
                tx.after_commit(move || {
                    tally.count(&kind, MailOutcome::Dead);
                    tracing::error!(%mail_id, kind, attempts, "mail given up");
                });
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

pub(super) fn purpose(id: MailId) -> String {
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
