//! The accept loop: what a connection may cost, and how all of them end. Neither axum's server nor tonic's sets every
//! limit of S60. It knows nothing of calls (those are `guard`'s); `app` runs it, once for each listener.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::http::{HeaderValue, Request, header::STRICT_TRANSPORT_SECURITY};
use futures_util::FutureExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{fast_lane::App, preface, tls::Tls};

/// For a year, a browser that has been here over TLS does not come without (S55, RFC 6797). Only this name: what else there is
/// in the domain is not ours.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The connection that a request came by, in its extensions.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address at its other end.
    pub address: SocketAddr,
    /// Cancelled when it has reached its age, so that an answer which never ends by itself ends properly before it is cut.
    /// Shared as it is: to clone a token takes a lock.
    pub old: Arc<CancellationToken>,
    /// What its certificate calls it, which `server.tls.client_ca` vouches for: for the log, and to no other end.
    pub client: Option<Arc<str>>,
}

/// What a connection and a call may take (S60). They are not configuration: nobody has needed other values.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a message, on every door.
    pub max_message_bytes: usize,
    /// Bytes of a request's headers. HTTP/1.1 reads into a buffer of this size, which may not be below 8 KiB.
    pub max_header_bytes: u32,
    /// Calls at once on one HTTP/2 connection; more are refused.
    pub max_concurrent_streams: u32,
    /// From a request's headers to its answer's.
    pub request_timeout: Duration,
    /// From a connection's start to the bytes that tell which HTTP is spoken, which over TLS are encrypted ones: the handshake is
    /// within.
    pub first_byte_timeout: Duration,
    /// From then, or from the answer before, to the end of an HTTP/1.1 request's headers. So it is also how long such
    /// a connection may be idle: longer than the minute for which proxies keep one to use it again.
    pub header_read_timeout: Duration,
    /// How long an HTTP/2 connection may be silent before it is pinged.
    pub keep_alive_interval: Duration,
    /// How long a ping may go unanswered.
    pub keep_alive_timeout: Duration,
    /// How old a connection may grow, give or take a tenth. Then it takes no new calls, streams end, and it is cut after
    /// `request_timeout`, by when its last call is over. This spreads clients over new replicas and ends what answers
    /// pings forever.
    pub max_connection_age: Duration,
    /// Connections at once. Services and proxies send many calls over few of these, so it is far above need, and
    /// so many idle ones still fit a small container's memory.
    pub max_connections: usize,
    /// How many listeners share the process's file descriptors.
    pub listeners: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 * 1024,
            max_header_bytes: 16 * 1024,
            max_concurrent_streams: 128,
            request_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(75),
            keep_alive_interval: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_mins(10),
            max_connections: 10_000,
            listeners: 1,
        }
    }
}

/// Serves `app` until `shutdown` resolves. Then no new connection is taken, each open one is told to go away, and calls
/// that are under way have `drain` to finish. With `tls` every connection is encrypted. Returns how many connections had to be cut.
pub async fn serve(
    listener: TcpListener,
    app: impl Into<App>,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> usize {
    let room = room(&limits);
    let stop = CancellationToken::new();
    let server = Arc::new(Server { http: http(&limits), app: app.into(), tls, limits, stop });
    let mut shutdown = pin!(shutdown);
    let mut open = JoinSet::new();
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) if open.len() < room => {
                full = false;
                let server = Arc::clone(&server);
                open.spawn(server.connection(socket, peer));
            }
            // Closed at once rather than left waiting in the kernel's queue, where a client believes that it is
            // connected and waits for its deadline: so it can go to another replica.
            Ok(_) if full => {}
            Ok(_) => {
                full = true;
                tracing::warn!(connections = room, "as many connections as there may be; closing new ones");
            }
            // The peer left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // No descriptors, say. It may pass, so it never ends the loop.
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(Duration::from_millis(500)).await;
            }
        }
    }
    drop(listener);
    server.stop.cancel();
    let _ = timeout(drain, async { while open.join_next().await.is_some() {} }).await;
    let cut = open.len();
    open.shutdown().await;
    cut
}

/// How many connections there is room for: each is a file descriptor, and the database needs some too. The soft limit is
/// raised as far as it may be: it is 1024 nearly everywhere, for the sake of programs that call `select`.
fn room(limits: &Limits) -> usize {
    let wanted = limits.max_connections;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised =
        current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let files = if raised { maximum } else { current };
    let files = files.and_then(|files| usize::try_from(files / limits.listeners).ok());
    let room = files.map_or(wanted, |files| wanted.min(files / 4 * 3));
    if room < wanted {
        tracing::warn!(connections = room, "the limit of open files leaves room for few connections");
    }
    room
}

/// HTTP/1.1, and HTTP/2 by prior knowledge.
fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(limits.max_header_bytes as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_bytes)
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout);
    http
}

/// What the connections share.
struct Server {
    http: auto::Builder<TokioExecutor>,
    app: App,
    tls: Option<Tls>,
    limits: Limits,
    stop: CancellationToken,
}

impl Server {
    async fn connection(self: Arc<Self>, socket: TcpStream, address: SocketAddr) {
        // Without it an answer waits up to 40 ms for the acknowledgement of the packet before.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, peer = %address, "TCP_NODELAY");
        }
        let peer = Peer { address, old: Arc::default(), client: None };
        match &self.tls {
            None => {
                if let Some(()) = self.begin(address, preface::peek(&socket)).await {
                    self.talk(socket, peer).await;
                }
            }
            // Boxed, since it is large, and most services have none.
            Some(tls) => {
                Box::pin(async {
                    if let Some((stream, client)) = self.begin(address, tls.accept(socket)).await {
                        self.talk(stream, Peer { client, ..peer }).await;
                    }
                })
                .await;
            }
        }
    }

    /// The part of a connection of which too much may not be waited for.
    async fn begin<T>(&self, peer: SocketAddr, first: impl Future<Output = io::Result<T>>) -> Option<T> {
        let first = timeout(self.limits.first_byte_timeout, first);
        match self.stop.run_until_cancelled(first).await? {
            Ok(Ok(begun)) => Some(begun),
            Ok(Err(error)) => {
                tracing::debug!(%error, %peer, "connection");
                None
            }
            Err(_) => None,
        }
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
        let _connected = self.app.connected();
        let address = peer.address;
        let encrypted = self.tls.is_some();
        let service = service_fn(|request: Request<Incoming>| {
            self.app.answer(request, &peer).map(move |mut answer| {
                if encrypted {
                    answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS);
                }
                Ok::<_, Infallible>(answer)
            })
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        // The port stands in for chance, so that clients that came together do not come back together.
        let age = self.limits.max_connection_age * (90 + u32::from(address.port()) % 21) / 100;
        let ended = tokio::select! {
            // `stop` first, so that an HTTP/1.1 answer after it says that the connection closes.
            biased;
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                // `serve` says for how long.
                connection.await
            }
            () = sleep(age) => {
                peer.old.cancel();
                connection.as_mut().graceful_shutdown();
                timeout(self.limits.request_timeout, connection).await.unwrap_or(Ok(()))
            }
            ended = connection.as_mut() => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(error, peer = %address, "connection");
        }
    }
}

#[cfg(test)]
mod tests;
