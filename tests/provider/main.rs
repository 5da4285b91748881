//! Identity providers, met as stand-ins on this machine that speak the real ones' shapes, and lie on demand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod github;
#[path = "../common/idp.rs"]
mod idp;
mod oidc;
mod outside;

use countersign::provider::{Kind, Provider, Settings};

/// Where people are led back to.
pub(crate) const REDIRECT: &str = "https://app.example.com/callback";

/// A provider that may be on this machine.
pub(crate) fn provider(kind: Kind) -> Provider {
    Provider::new(settings(kind, true)).unwrap()
}

/// As an operator would have them.
pub(crate) fn settings(kind: Kind, allow_private_hosts: bool) -> Settings {
    Settings {
        kind,
        client_id: "client".to_owned(),
        client_secret: "the client secret".into(),
        scopes: Vec::new(),
        allow_private_hosts,
    }
}
