//! The transport `smtp`: lettre's connections, kept open for the next mail.
//!
//! Not lettre's pool: that takes a connection back whose use was broken off in the middle, by a time-out for one. The
//! answers on it are one behind then, so that the next mail counts as sent before it is, or becomes part of the last.
//! Here a connection goes back only after its mail was accepted; dropped, it is closed.

use std::{
    error::Error as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lettre::{
    address::Envelope,
    transport::smtp::{
        Error,
        authentication::DEFAULT_MECHANISMS,
        client::{AsyncSmtpConnection, TlsParameters},
    },
};
use tokio::time::timeout;

use super::{
    SendError,
    smtp_url::{Encryption, SmtpUrl},
};

/// For each of the server's addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that was kept may take to show that it is alive. It is a quick answer or a lost connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long after a mail its connection is used again. Servers hang up after a few minutes.
const MAX_IDLE: Duration = Duration::from_mins(1);

/// How many are kept.
const MAX_KEPT: usize = 4;

/// A mail server.
pub(super) struct Smtp {
    url: SmtpUrl,
    tls: Option<TlsParameters>,
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl Smtp {
    /// Readies what a connection needs; makes none yet.
    pub(super) fn new(url: SmtpUrl) -> Result<Self, String> {
        let tls = (url.encryption != Encryption::Never).then(|| tls(&url.host)).transpose()?;
        Ok(Self { url, tls, kept: Mutex::default() })
    }

    /// Warns if what is sent can be read on the way.
    pub(super) fn warn(&self) {
        if self.url.is_open() {
            tracing::warn!(
                host = self.url.host,
                password = self.url.credentials.is_some(),
                "mails to the mail server can be read on the way, the links in them and the password; \
                 let mail.smtp_url begin with smtps:// or end with ?tls=required"
            );
        }
    }

    /// Hands a message to the server.
    pub(super) async fn send(&self, envelope: &Envelope, message: &[u8]) -> Result<(), SendError> {
        let mut connection = match self.take().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.send(envelope, message).await.map_err(because("the mail server did not take it"))?;
        self.keep(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let SmtpUrl { host, port, encryption, credentials, hello } = &self.url;
        let hello = hello.clone().unwrap_or_default();
        let implicit = self.tls.clone().filter(|_| *encryption == Encryption::Implicit);
        let address = (host.as_str(), *port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_TIMEOUT), &hello, implicit, None)
                .await
                .map_err(because("cannot connect to the mail server"))?;
        let upgrade = match encryption {
            Encryption::Never | Encryption::Implicit => false,
            Encryption::Opportunistic => connection.can_starttls(),
            Encryption::StartTls => true,
        };
        if let Some(tls) = self.tls.clone().filter(|_| upgrade) {
            connection
                .starttls(tls, &hello)
                .await
                .map_err(because("cannot encrypt the connection to the mail server"))?;
        }
        if let Some(credentials) = credentials {
            connection
                .auth(DEFAULT_MECHANISMS, credentials)
                .await
                .map_err(because("cannot sign in to the mail server"))?;
        }
        Ok(connection)
    }

    /// A connection that was kept and still lives.
    async fn take(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let Kept { mut connection, since } = self.kept().pop()?;
            if since.elapsed() < MAX_IDLE
                && timeout(PROBE_TIMEOUT, connection.test_connected()).await == Ok(true)
            {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut kept = self.kept();
        kept.retain(|kept| kept.since.elapsed() < MAX_IDLE);
        if kept.len() < MAX_KEPT {
            kept.push(Kept { connection, since: Instant::now() });
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// rustls by ring with the system's certificates, or those of `SSL_CERT_FILE`.
fn tls(host: &str) -> Result<TlsParameters, String> {
    // lettre says nothing of it, and would trust no server.
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        return Err(
            "the system has no root certificates to know the mail server by: install ca-certificates, or \
                    let SSL_CERT_FILE name a file"
                .to_owned(),
        );
    }
    TlsParameters::new(host.to_owned()).map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// What went wrong, for the log (S57). Of what the server says that is the code and the status (RFC 3463): its words often
/// quote the recipient's address, and so do lettre's when they quote an answer that is not one.
fn because(what: &str) -> impl FnOnce(Error) -> SendError {
    move |error| {
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        let reason = match error.status() {
            Some(code) => match source.split(' ').next().filter(|word| is_status(word)) {
                Some(status) => format!("it answered {code} {status}"),
                None => format!("it answered {code}"),
            },
            None if error.is_response() => "it does not answer as a mail server does".to_owned(),
            None => source,
        };
        SendError(format!("{what}: {reason}"))
    }
}

/// Whether this is like `5.1.1`.
fn is_status(word: &str) -> bool {
    let parts: Vec<_> = word.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
