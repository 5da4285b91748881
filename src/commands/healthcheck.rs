//! `countersign healthcheck`

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use countersign::config::Config;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::timeout;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Failure, print};
use crate::Exit;

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `grpc.health.v1` where the configuration says that the service listens.
pub(crate) async fn run(config: &Config) -> Result<Exit, Failure> {
    let address = reachable(config.server.listen);
    let origin =
        format!("http://{address}").parse().map_err(|e| Failure::Usage(format!("server.listen: {e}")))?;
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut client = HealthClient::with_origin(http, origin);
    let answer = match timeout(PATIENCE, client.check(HealthCheckRequest::default())).await {
        Ok(Ok(answer)) => answer.into_inner().status(),
        Ok(Err(status)) => return Err(Failure::Refused(format!("{address}: {}", cause(&status)))),
        Err(_) => return Err(Failure::Refused(format!("{address} does not answer within {PATIENCE:?}"))),
    };
    if answer == ServingStatus::Serving {
        print("ready")
    } else {
        Err(Failure::Refused("not ready".to_owned()))
    }
}

/// The innermost error: "connection refused" rather than "client error".
fn cause(status: &tonic::Status) -> String {
    let mut innermost: &dyn std::error::Error = status;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
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
