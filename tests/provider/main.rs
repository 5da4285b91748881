//! Identity providers, met as stand-ins on this machine that speak the real ones' shapes, and lie on demand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod github;
mod oidc;
mod outside;

use std::net::SocketAddr;

use axum::Router;
use countersign::provider::{Kind, Provider, Settings};
use tokio::net::TcpListener;

pub const REDIRECT: &str = "https://app.example.com/callback";

/// A provider that may be on this machine.
pub fn provider(kind: Kind) -> Provider {
    Provider::new(settings(kind, true)).unwrap()
}

pub fn settings(kind: Kind, allow_private_hosts: bool) -> Settings {
    Settings {
        kind,
        client_id: "client".to_owned(),
        client_secret: "the client secret".into(),
        scopes: Vec::new(),
        allow_private_hosts,
    }
}

/// A port to serve on, before it is known what.
pub async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves until the test ends.
#[expect(clippy::disallowed_methods, reason = "a stand-in needs no limits")]
pub fn serve(listener: TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}
