//! `countersign healthcheck`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use countersign::{api::health::check, config::Config};

use super::{Failure, print};
use crate::Exit;

/// Asks `grpc.health.v1` where the configuration says that the service listens.
pub(crate) async fn run(config: &Config) -> Result<Exit, Failure> {
    let address = reachable(config.server.listen);
    match check(address).await {
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
