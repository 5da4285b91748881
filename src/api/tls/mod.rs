//! Connections that are encrypted (`server.tls.*`): the handshake, and certificates that are replaced while the service runs.
//! `files` reads them, `names` tells who is who, `blind` is for the client of `countersign healthcheck`.
//!
//! A handshake takes what is in effect when it begins; connections that are open keep what they began with.

mod blind;
mod files;
mod names;

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{net::TcpStream, sync::watch, time::sleep};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    metrics::Metrics,
    preface::{self, Begun},
};
use crate::{
    config::Server,
    types::{Clock, Time},
};
pub use blind::client;
pub use files::Fault;
use files::{Content, Files};

/// How often the files are looked at. Kubernetes brings a changed secret within a minute or two, by swapping a symbolic link
/// somewhere on the way to it: so they are read again, rather than watched.
const EVERY: Duration = Duration::from_secs(2);

/// An encrypted connection.
pub type Stream = Begun<TlsStream<TcpStream>>;

/// What new connections are encrypted with.
#[derive(Clone)]
pub struct Tls(watch::Receiver<Arc<ServerConfig>>);

/// Keeps [`Tls`] up with its files.
pub struct Follower {
    files: Files,
    /// What is in effect.
    served: Content,
    expiry: i64,
    tell: watch::Sender<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files that the configuration names; nothing if it names none.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn load(config: &Server, now: Time) -> Result<Option<(Self, Follower)>, Fault> {
        let tls = &config.tls;
        let Some((cert, key)) = tls.cert.clone().zip(tls.key.clone()) else { return Ok(None) };
        let files = Files { cert, key, client_ca: tls.client_ca.clone() };
        let served = files.read()?;
        let ready = served.parse()?;
        warn_if_expired(ready.expiry, now);
        if config.public_url.starts_with("http:") {
            tracing::warn!(
                "server.public_url begins with http, but server.tls.cert is set: links and the issuer name an address \
                 that does not answer"
            );
        }
        let (tell, current) = watch::channel(ready.config);
        Ok(Some((Self(current), Follower { files, served, expiry: ready.expiry, tell })))
    }

    /// Shakes hands, and waits until the client has said which HTTP it speaks. The name is that of its certificate, which has been
    /// verified if there is one.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<(Stream, Option<Arc<str>>)> {
        let config = self.0.borrow().clone();
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let client = certificates.and_then(|chain| chain.first()).map(|leaf| names::of(leaf));
        Ok((preface::read(stream).await?, client))
    }
}

impl Follower {
    /// Looks for other content until `stop`, and tells `metrics` when the certificate expires. What cannot be used changes
    /// nothing, is warned of once, and is looked at again when it has changed: certificate and key may have been written
    /// one after the other.
    pub async fn run(mut self, metrics: &'static Metrics, clock: Clock, stop: CancellationToken) {
        metrics.set_certificate_expiry(self.expiry);
        let mut looks = Looks::at(Ok(self.served.clone()));
        while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
            // A few kilobytes, nearly always from memory: no thread of their own.
            let Some(read) = looks.news(self.files.read()) else { continue };
            match read.and_then(|content| Ok((content.parse()?, content))) {
                // It was something else for a while.
                Ok((_, content)) if content == self.served => {}
                Ok((ready, content)) => {
                    metrics.set_certificate_expiry(ready.expiry);
                    self.tell.send_replace(ready.config);
                    self.served = content;
                    tracing::info!("server.tls: new connections have the new certificates");
                    warn_if_expired(ready.expiry, clock.now());
                }
                Err(fault) => {
                    tracing::warn!("{}: {}; the certificates from before stay", fault.key, fault.problem);
                }
            }
        }
    }
}

/// What was seen of the files.
struct Looks {
    last: Result<Content, Fault>,
    /// Whether it was told.
    told: bool,
}

impl Looks {
    fn at(known: Result<Content, Fault>) -> Self {
        Self { last: known, told: true }
    }

    /// What is new, once two looks in a row have seen the same: a file that is being written may end where it could end, such
    /// as between two certificates.
    fn news(&mut self, seen: Result<Content, Fault>) -> Option<Result<Content, Fault>> {
        if seen != self.last {
            *self = Self { last: seen, told: false };
            return None;
        }
        (!std::mem::replace(&mut self.told, true)).then(|| self.last.clone())
    }
}

fn warn_if_expired(expiry: i64, now: Time) {
    if expiry <= now.seconds() {
        tracing::warn!("server.tls.cert: the certificate has expired");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_when_two_looks_agree_and_told_once() {
        let whole = || Ok(Content::of("one two"));
        let half = || Ok(Content::of("one"));
        let away = || Err(Fault { key: "server.tls.cert", problem: "away".to_owned() });
        let mut looks = Looks::at(whole());
        // Seen, and what is news then.
        for (number, (seen, news)) in [
            (whole(), None),
            // While it is written.
            (half(), None),
            (Ok(Content::of("one three")), None),
            (Ok(Content::of("one three")), Some(Ok(Content::of("one three")))),
            (Ok(Content::of("one three")), None),
            (away(), None),
            (half(), None),
            (away(), None),
            (away(), Some(away())),
            (away(), None),
            (half(), None),
            (half(), Some(half())),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(looks.news(seen) == news, "look {number}");
        }
    }
}
