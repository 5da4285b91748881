//! Calls to providers (S50): over TLS, to addresses of the internet, without redirects, an answer of at most 1 MiB.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, header::USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::TokioExecutor,
};
use oauth2::AsyncHttpClient;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tower::Service;

use crate::types::ip::is_public;

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no answer. The text is for the log; it holds nothing of what was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct HttpError(String);

/// A client for one provider.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    allow_private_hosts: bool,
}

impl Http {
    /// With `allow_private_hosts` also plain HTTP and addresses of private networks will do.
    pub(super) fn new(allow_private_hosts: bool) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() && !allow_private_hosts {
            return Err("the system has no root certificates to check the provider's by".to_owned());
        }
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(Resolver { allow_private_hosts });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .build(tls.wrap_connector(tcp));
        Ok(Self { client, allow_private_hosts })
    }

    /// Sends a request. A redirect is an answer like another.
    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
        self.check(request.uri())?;
        let (mut parts, body) = request.into_parts();
        // GitHub refuses requests without one.
        parts.headers.insert(USER_AGENT, http::HeaderValue::from_static("countersign"));
        let request = Request::from_parts(parts, Full::from(body));
        let answer = self.client.request(request).await.map_err(|error| HttpError(describe(&error)))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| HttpError(format!("the answer could not be read: {error}")))?;
        Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
    }

    /// An address that stands in the URL itself is not asked for from the resolver.
    fn check(&self, uri: &Uri) -> Result<(), HttpError> {
        if self.allow_private_hosts {
            return Ok(());
        }
        if uri.scheme_str() != Some("https") {
            return Err(HttpError("not an https URL".to_owned()));
        }
        let host = uri.host().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|address| !is_public(address)) {
            return Err(HttpError(PRIVATE.to_owned()));
        }
        Ok(())
    }
}

/// A request's answer, in time to come.
pub(super) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, HttpError>> + Send + 'a>>;

impl<'a> AsyncHttpClient<'a> for Http {
    type Error = HttpError;
    type Future = Answer<'a>;

    fn call(&'a self, request: Request<Vec<u8>>) -> Answer<'a> {
        Box::pin(self.send(request))
    }
}

const PRIVATE: &str = "the host has no address of the internet; allow_private_hosts would allow it";

/// The error with its causes: hyper keeps what helps in them.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The system's resolver, less the addresses that are not of the internet. What it yields is what is connected to, so that
/// a name cannot change its mind in between.
#[derive(Clone)]
struct Resolver {
    allow_private_hosts: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private_hosts = self.allow_private_hosts;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let usable: Vec<_> =
                found.filter(|address| allow_private_hosts || is_public(address.ip())).collect();
            if usable.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, PRIVATE));
            }
            Ok(usable.into_iter())
        })
    }
}
