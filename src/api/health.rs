//! `grpc.health.v1`: whether this replica should be asked. The service, which goes by what `worker` says, and the client
//! for `countersign healthcheck`.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    body::Bytes,
    http::{StatusCode, uri::InvalidUri},
};
use http_body_util::Empty;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{sync::watch, time::timeout};
use tonic::server::NamedService;
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest,
        health_check_response::ServingStatus as Answer,
        health_client::HealthClient,
        health_server::{Health, HealthServer},
    },
    server::{HealthReporter, health_reporter},
};

use super::{
    Admin, AdminServiceServer, Auth, AuthServiceServer, AuthorizationServer, ExtAuthz, KeyServiceServer,
    Keys, tls,
};

/// The whole, and each service by its name.
const SERVICES: [&str; 5] = [
    "",
    <AdminServiceServer<Admin> as NamedService>::NAME,
    <AuthServiceServer<Auth> as NamedService>::NAME,
    <AuthorizationServer<ExtAuthz> as NamedService>::NAME,
    <KeyServiceServer<Keys> as NamedService>::NAME,
];

/// How long [`check`] waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The service. It serves while `ready` is true, and no more when nobody is left to say so.
pub(super) async fn service(mut ready: watch::Receiver<bool>) -> HealthServer<impl Health> {
    let (reporter, service) = health_reporter();
    let now = *ready.borrow_and_update();
    // Before the first call is taken, so that a service's name is never unknown.
    report(&reporter, now).await;
    tokio::spawn(async move {
        while ready.changed().await.is_ok() {
            let now = *ready.borrow_and_update();
            report(&reporter, now).await;
        }
        report(&reporter, false).await;
    });
    service
}

async fn report(reporter: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Asks whoever listens at `address` whether it is ready, over TLS if it is `encrypted`; what its certificate says is not
/// looked at.
///
/// # Errors
/// Why there is no answer, in a few words.
pub async fn check(address: SocketAddr, encrypted: bool) -> Result<bool, String> {
    let scheme = if encrypted { "https" } else { "http" };
    let origin = format!("{scheme}://{address}").parse().map_err(|error: InvalidUri| error.to_string())?;
    let tls = tls::client().map_err(|error| error.to_string())?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http2().build();
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let mut client = HealthClient::with_origin(http, origin);
    match timeout(PATIENCE, client.check(HealthCheckRequest::default())).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().status() == Answer::Serving),
        Ok(Err(status)) => Err(cause(&status)),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// Asks `/readyz` of whoever listens for the operator's tools at `address`.
///
/// # Errors
/// As [`check`].
pub async fn check_readyz(address: SocketAddr) -> Result<bool, String> {
    let uri = format!("http://{address}/readyz").parse().map_err(|error: InvalidUri| error.to_string())?;
    let http = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    match timeout(PATIENCE, http.get(uri)).await {
        Ok(Ok(answer)) => Ok(answer.status() == StatusCode::OK),
        Ok(Err(error)) => Err(cause(&error)),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// The innermost error: "connection refused" rather than "client error".
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_serves_while_somebody_says_so() {
        let (ready, receiver) = watch::channel(false);
        let client = HealthClient::new(service(receiver).await);
        let asked = async |name: &str| {
            let request = HealthCheckRequest { service: name.to_owned() };
            client.clone().check(request).await.map(|answer| answer.into_inner().status())
        };
        for name in SERVICES {
            assert_eq!(asked(name).await.unwrap(), Answer::NotServing, "{name}, before anything is known");
        }
        assert!(asked("nobody").await.is_err());
        let becomes = async |expected: Answer| {
            while asked("countersign.v1.KeyService").await.unwrap() != expected {
                tokio::task::yield_now().await;
            }
        };
        ready.send_replace(true);
        becomes(Answer::Serving).await;
        ready.send_replace(false);
        becomes(Answer::NotServing).await;
        ready.send_replace(true);
        becomes(Answer::Serving).await;
        drop(ready);
        becomes(Answer::NotServing).await;
    }
}
