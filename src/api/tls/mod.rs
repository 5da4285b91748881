//! Connections that are encrypted (`server.tls.*`): the handshake, and certificates that are replaced while the service runs.
//! `files` reads them, `names` tells who is who, `blind` is for the client of `countersign healthcheck`.
//!
//! A handshake takes what is in effect when it begins; connections that are open keep what they began with.

mod blind;
mod files;
mod names;

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    sync::watch,
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
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

/// An encrypted connection. It has been read from once, into the buffer.
pub type Stream = BufReader<TlsStream<TcpStream>>;

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

    /// Shakes hands, and waits until the client has said something. The name is that of its certificate, which has been
    /// verified if there is one.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<(Stream, Option<Arc<str>>)> {
        let config = self.0.borrow().clone();
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let client = certificates.and_then(|chain| chain.first()).map(|leaf| names::of(leaf));
        // No more than HTTP/2's preface: whoever reads on reads into a buffer of its own.
        let mut stream = BufReader::with_capacity(24, stream);
        if stream.fill_buf().await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((stream, client))
    }
}

impl Follower {
    /// Looks for other content until `stop`, and tells `metrics` when the certificate expires. What cannot be used changes
    /// nothing, is warned of once, and is looked at again when it has changed: certificate and key may have been written
    /// one after the other.
    pub async fn run(mut self, metrics: &'static Metrics, clock: Clock, stop: CancellationToken) {
        metrics.set_certificate_expiry(self.expiry);
        let mut refused = None;
        while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
            // A few kilobytes, nearly always from memory: no thread of their own.
            let read = self.files.read();
            if read.as_ref() == Ok(&self.served) {
                refused = None;
                continue;
            }
            if refused.as_ref() == Some(&read) {
                continue;
            }
            match read.clone().and_then(|content| Ok((content.parse()?, content))) {
                Ok((ready, content)) => {
                    metrics.set_certificate_expiry(ready.expiry);
                    self.tell.send_replace(ready.config);
                    self.served = content;
                    refused = None;
                    tracing::info!("server.tls: new connections have the new certificates");
                    warn_if_expired(ready.expiry, clock.now());
                }
                Err(fault) => {
                    tracing::warn!("{}: {}; the certificates from before stay", fault.key, fault.problem);
                    refused = Some(read);
                }
            }
        }
    }
}

fn warn_if_expired(expiry: i64, now: Time) {
    if expiry <= now.seconds() {
        tracing::warn!("server.tls.cert: the certificate has expired");
    }
}
