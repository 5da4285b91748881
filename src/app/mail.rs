//! From configuration to how mail is sent, and where its links lead.

use super::StartError;
use crate::{
    config::{Config, MailTransport},
    domain::Links,
    mail::{self, Mailer, Transport},
};

/// Who mails are from that nobody is sent.
const SENDER: &str = "Countersign <noreply@localhost>";

/// The way out.
pub fn mailer(config: &Config) -> Result<Mailer, StartError> {
    let mail = &config.mail;
    let transport = match (mail.transport, &mail.smtp_url) {
        (MailTransport::Smtp, Some(url)) => Transport::Smtp { url: url.clone() },
        (MailTransport::File, _) => Transport::File { dir: mail.dir.clone() },
        // With smtp the URL is always there.
        (MailTransport::Log, _) | (MailTransport::Smtp, None) => Transport::Log,
    };
    let settings = mail::Settings {
        transport,
        from: mail.from.clone().unwrap_or_else(|| SENDER.to_owned()),
        site: config.server.public_url.clone(),
        templates_dir: mail.templates_dir.clone(),
    };
    Mailer::new(&settings).map_err(|mail::StartError { key, problem }| StartError::Config { key, problem })
}

/// Warns the operator, at the start of a service, of who could read its mails (S57) and of links that lead nowhere.
pub(super) fn warn(config: &Config, mailer: &Mailer) {
    mailer.warn();
    let (mail, public_url) = (&config.mail, &config.server.public_url);
    let own = [&mail.verify_url, &mail.reset_url, &mail.change_email_url];
    if own.iter().all(|url| url.is_some()) {
        return;
    }
    if !mail.pages {
        tracing::warn!(
            "mail.pages is off, so set mail.verify_url, mail.reset_url and mail.change_email_url: without them links in \
             mails lead nowhere"
        );
    }
    let host = public_url.split_once("://").map_or("", |(_scheme, rest)| rest);
    let local = ["localhost", "127.", "[::1]"].iter().any(|start| host.starts_with(start));
    if local && mail.transport == MailTransport::Smtp {
        tracing::warn!(
            public_url,
            "links in mails lead to the recipient's own machine: set server.public_url"
        );
    }
}

/// The links, by default to the built-in pages.
pub(super) fn links(config: &Config) -> Links {
    let public_url = &config.server.public_url;
    let link = |own: &Option<String>, page: &str| {
        own.clone().unwrap_or_else(|| format!("{public_url}/{page}?token={{token}}"))
    };
    Links {
        verify_email: link(&config.mail.verify_url, "verify-email"),
        reset_password: link(&config.mail.reset_url, "reset-password"),
        change_email: link(&config.mail.change_email_url, "confirm-email-change"),
    }
}
