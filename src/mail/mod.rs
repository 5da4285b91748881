//! Mail: from what it says to a message that has left the house.
//!
//! Owns the templates, how a message is put together and the ways out. Knows no database and no rules: which mail is due,
//! and when to try again, is `domain`'s. Nothing outside this room knows lettre or minijinja.

mod file;
mod letter;
mod log;
mod message;
mod smtp;
mod smtp_url;
mod templates;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use crate::types::{Invalid, MailId, Time};

use file::Directory;
pub use letter::{Change, Content, Letter, Link, NewAddress};
use message::Sender;
use smtp::Smtp;
use smtp_url::SmtpUrl;
use templates::Templates;

/// How long sending one mail may take in all. Long: a mail server may look the sender up before it greets.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What the operator says about mail.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How mails leave.
    pub transport: Transport,
    /// Who they are from: a mailbox as in RFC 5322, `Example <no-reply@example.com>`.
    pub from: String,
    /// `server.public_url`: what the templates call the service.
    pub site: String,
    /// Where the operator's own templates are.
    pub templates_dir: Option<PathBuf>,
}

/// How mails leave.
#[derive(Debug, Clone)]
pub enum Transport {
    /// To standard output, links included: for a laptop.
    Log,
    /// One file a mail.
    File {
        /// Where; it is made if need be.
        dir: PathBuf,
    },
    /// To a mail server.
    Smtp {
        /// Where, how and as whom: `smtp://user:password@host:587?tls=required`.
        url: SecretString,
    },
}

/// Why no mail can be sent with these settings. One line, for the operator, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct StartError {
    /// The configuration key.
    pub key: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

/// Why a mail was not sent, for the log: no address, nothing of what it says, no secret (S57).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SendError(String);

/// Sends mails.
pub struct Mailer {
    templates: Templates,
    sender: Sender,
    site: String,
    way: Way,
    time_limit: Duration,
}

/// A [`Transport`] that is ready.
enum Way {
    Log,
    File(Directory),
    Smtp(Box<Smtp>),
}

impl Mailer {
    /// Reads and tries the templates and readies the transport, so that what is wrong with them shows now and not in mails
    /// that are never sent. The mail server is not asked yet: it may be away for a while.
    pub fn new(settings: &Settings) -> Result<Self, StartError> {
        let fault = |key| move |problem| StartError { key, problem };
        let sender = Sender::parse(&settings.from).map_err(|Invalid(problem)| fault("mail.from")(problem))?;
        let templates = Templates::load(settings.templates_dir.as_deref(), &settings.site)
            .map_err(fault("mail.templates_dir"))?;
        let way = match &settings.transport {
            Transport::Log => Way::Log,
            Transport::File { dir } => Way::File(Directory::open(dir).map_err(fault("mail.dir"))?),
            Transport::Smtp { url } => {
                let smtp = SmtpUrl::parse(url.expose_secret())
                    .map_err(|Invalid(problem)| problem)
                    .and_then(Smtp::new)
                    .map_err(fault("mail.smtp_url"))?;
                Way::Smtp(Box::new(smtp))
            }
        };
        Ok(Self { templates, sender, site: settings.site.clone(), way, time_limit: TIME_LIMIT })
    }

    /// Warns the operator, at the start of a service, of who could read its mails (S57).
    pub fn warn(&self) {
        match &self.way {
            Way::Log => {
                tracing::warn!("mail.transport is `log`: mails are printed, with the one-time links in them");
            }
            Way::File(_) => {}
            Way::Smtp(smtp) => smtp.warn(),
        }
    }

    /// Sends one mail, within 30 seconds. A mail of the same id is the same message: its Message-ID does not change.
    ///
    /// # Errors
    /// It is not known to have left. After a time-out it may have all the same.
    pub async fn send(&self, id: MailId, letter: &Letter, now: Time) -> Result<(), SendError> {
        let words = self.templates.render(letter, &self.site)?;
        let message = self.sender.compose(id, &letter.to, &words, now)?;
        let sent = async {
            match &self.way {
                Way::Log => log::print(&letter.to, &words),
                Way::File(directory) => directory.write(id, &message.formatted()),
                Way::Smtp(smtp) => smtp.send(message.envelope(), &message.formatted()).await,
            }
        };
        let late = |_| SendError(format!("not sent within {:?}", self.time_limit));
        tokio::time::timeout(self.time_limit, sent).await.map_err(late)?
    }
}
