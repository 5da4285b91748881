//! Who calls, as far as the transport can tell: the presented credential, the address and the user agent.
//!
//! Handlers of every door read it from the same request, so all doors agree. It is read on demand rather than by a layer:
//! the hot path, which needs no caller, then pays nothing for it. Whether the credential is worth anything is
//! `domain::access`'s to say; [`Callers`] asks it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Once},
};

use ipnet::IpNet;
use tonic::{
    Request,
    metadata::{MetadataMap, MetadataValue},
};

use super::{guard::Deadline, server::Peer};
use crate::{
    crypto::api_key,
    domain::{Administrator, Client, Domain, Error, Result, access::SignedIn, validate::Principal},
    types::{Invalid, ip::is_private},
};

/// Tells the handlers of all services who calls. Cheap to clone.
#[derive(Clone)]
pub struct Callers {
    domain: Arc<Domain>,
    proxies: TrustedProxies,
}

impl Callers {
    /// Asks these use cases, and believes these proxies.
    pub fn new(domain: Arc<Domain>, proxies: TrustedProxies) -> Self {
        Self { domain, proxies }
    }

    /// Where the call comes from, and how long it has.
    pub fn client<T>(&self, request: &Request<T>) -> Client {
        let metadata = request.metadata();
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
        // A browser's gRPC-web client cannot set `user-agent`.
        let user_agent =
            ["x-user-agent", "user-agent"].iter().find_map(|name| metadata.get(*name)?.to_str().ok());
        let address = peer.map(|peer| self.proxies.client(peer, metadata));
        let throttled = peer.zip(address).filter(|(peer, address)| self.proxies.tell_apart(*peer, *address));
        let throttled = throttled.map(|(_, address)| address);
        let mut client = Client::new(address, throttled, user_agent.unwrap_or_default());
        client.deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        client
    }

    /// The user whose access token is presented.
    pub async fn user<T>(&self, request: &Request<T>) -> Result<SignedIn> {
        self.domain.authenticate_user(presented(request)?, self.client(request)).await
    }

    /// The administrator whose access token or API key is presented.
    pub async fn administrator<T>(&self, request: &Request<T>) -> Result<Administrator> {
        self.domain.authenticate_administrator(presented(request)?, self.client(request)).await
    }

    /// Whoever presents an access token or an API key.
    pub async fn any<T>(&self, request: &Request<T>) -> Result<Principal> {
        self.domain.authenticate(presented(request)?).await
    }
}

/// Networks whose `x-forwarded-for` is believed (S12).
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// These and no others.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether a client's address is its own. Behind a proxy that is not known to be one, everybody would have the proxy's,
    /// which is likely to be a private one; and behind one that is, whoever it does not tell of (S12).
    fn tell_apart(&self, peer: IpAddr, client: IpAddr) -> bool {
        static WARNED: Once = Once::new();
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return !is_private(peer);
        }
        if is_private(client) && !self.trust(client) {
            WARNED.call_once(|| {
                tracing::warn!(
                    %client,
                    "a trusted proxy asks for a private address: if that is a proxy, too, name it in server.trusted_proxies"
                );
            });
        }
        !self.trust(client)
    }

    /// The client's address: the socket's; or behind trusted proxies the last one in `x-forwarded-for` that is not a
    /// trusted proxy's. What stands to the left of it, its sender may have made up.
    fn client(&self, peer: IpAddr, metadata: &MetadataMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let values: Vec<_> = metadata.get_all("x-forwarded-for").iter().collect();
        // By bytes: what a client sent, and no text at all, stands before what its proxy appended.
        let mut hops =
            values.iter().flat_map(|value| value.as_encoded_bytes().split(|byte| *byte == b',')).rev();
        while self.trust(client) {
            match hops.next().map(parse_hop) {
                Some(Some(hop)) => client = hop.to_canonical(),
                Some(None) | None => break,
            }
        }
        client
    }
}

/// An address; some proxies append a port.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

/// The credential that a call presents, if any.
pub fn presented<T>(request: &Request<T>) -> Result<Option<&str>> {
    let metadata = request.metadata();
    credential(|name| metadata.get_all(name).iter().map(MetadataValue::as_encoded_bytes))
}

/// The credential among headers, if any; `values` are those of a header by its lower-case name. Two are an error, never a
/// choice.
pub fn credential<'a, V>(values: impl Fn(&'static str) -> V) -> Result<Option<&'a str>>
where
    V: Iterator<Item = &'a [u8]>,
{
    let (mut authorization, mut api_key) = (values("authorization"), values("x-api-key"));
    let text = |value| str::from_utf8(value).map_err(|_| Error::InvalidCredential);
    let credential = match (authorization.next(), api_key.next()) {
        (None, None) => return Ok(None),
        (Some(value), None) => text(value).and_then(|value| {
            let (scheme, token) = value.split_once(' ').ok_or(Error::InvalidCredential)?;
            if scheme.eq_ignore_ascii_case("bearer") {
                Ok(token.trim())
            } else {
                Err(Error::InvalidCredential)
            }
        }),
        (None, Some(value)) => text(value).and_then(|key| {
            if key.starts_with(api_key::PREFIX) { Ok(key) } else { Err(Error::InvalidCredential) }
        }),
        (Some(_), Some(_)) => Err(two()),
    };
    if authorization.next().or(api_key.next()).is_some() { Err(two()) } else { credential.map(Some) }
}

fn two() -> Error {
    Error::field("authorization", Invalid::new("present one credential, not two"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn one_credential_in_either_header() {
        let credential = presented::<()>;
        assert!(matches!(credential(&request(&[])), Ok(None)));
        assert!(matches!(credential(&request(&[("authorization", "Bearer t")])), Ok(Some("t"))));
        assert!(matches!(credential(&request(&[("authorization", "bearer ak_1")])), Ok(Some("ak_1"))));
        assert!(matches!(credential(&request(&[("x-api-key", "ak_1")])), Ok(Some("ak_1"))));
        for headers in
            [&[("authorization", "Basic dTpw")][..], &[("authorization", "t")], &[("x-api-key", "t")]]
        {
            assert!(matches!(credential(&request(headers)), Err(Error::InvalidCredential)), "{headers:?}");
        }
        for headers in [
            [("authorization", "Bearer t"), ("x-api-key", "ak_1")],
            [("authorization", "Bearer t"), ("authorization", "Bearer u")],
            [("x-api-key", "ak_1"), ("x-api-key", "ak_1")],
        ] {
            assert!(matches!(credential(&request(&headers)), Err(Error::InvalidField { .. })), "{headers:?}");
        }
        // Where a client's headers arrive as they are.
        for value in [&b"Bearer t\xff"[..], b"\xff", b""] {
            let values = |name| (name == "authorization").then_some(value).into_iter();
            assert!(matches!(super::credential(values), Err(Error::InvalidCredential)), "{value:?}");
        }
    }

    #[test]
    fn forwarded_addresses_count_only_behind_a_trusted_proxy() {
        // S12
        let proxies = TrustedProxies::new(&["10.0.0.0/8".parse().unwrap()]);
        let of = |peer: &str, forwarded: &[&str]| {
            let headers: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
            proxies.client(peer.parse().unwrap(), request(&headers).metadata()).to_string()
        };
        assert_eq!(of("203.0.113.9", &["1.1.1.1"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(of("10.0.0.1", &["6.6.6.6, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(of("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.2.3.4"]), "1.1.1.1");
        assert_eq!(of("10.0.0.1", &["6.6.6.6", "1.1.1.1"]), "1.1.1.1");
        assert_eq!(of("10.0.0.1", &["junk"]), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }
}
