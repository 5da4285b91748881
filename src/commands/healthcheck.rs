//! `countersign healthcheck`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use countersign::{
    api::health::{check, check_readyz},
    config::Config,
};

use super::{Failure, print};
use crate::Exit;

/// Asks `grpc.health.v1` where the configuration says that the service listens. Where only clients with a certificate are let
/// in, which it has not, it asks the listener for the operator's tools.
pub(crate) async fn run(config: &Config) -> Result<Exit, Failure> {
    let (server, tls) = (&config.server, &config.server.tls);
    let (address, answer) = if tls.client_ca.is_none() {
        let address = reachable(server.listen);
        (address, check(address, tls.cert.is_some()).await)
    } else if let Some(metrics) = server.metrics_listen {
        let address = reachable(metrics);
        (address, check_readyz(address).await)
    } else {
        let text = "with server.tls.client_ca, server.metrics_listen is asked, and it is off";
        return Err(Failure::Refused(text.to_owned()));
    };
    match answer {
        Ok(true) => print("ready"),
        Ok(false) => Err(Failure::Refused("not ready".to_owned())),
        Err(cause) => Err(Failure::Refused(format!("{address}: {cause}"))),
    }
}

/// A service that listens everywhere is reached here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
