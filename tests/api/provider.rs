//! A provider that stands in on this machine, and signing in by it.

use std::sync::Arc;

use countersign::api::pb;
use serde_json::Value;
use tonic::Status;
use url::Url;

use crate::{
    common::Kind,
    idp::{Idp, Signed},
    support::{Server, Setup, bearer},
};

pub const REDIRECT: &str = "https://app.example.com/callback";

/// A service with one provider, by two names.
pub async fn setup(kind: Kind, idp: &Idp) -> Setup {
    configure(Setup::new(kind).await, idp)
}

pub fn configure(mut setup: Setup, idp: &Idp) -> Setup {
    setup = setup.set("OAUTH__REDIRECT_URIS", &format!("{REDIRECT},https://app.example.com/other"));
    for name in ["IDP", "TWIN"] {
        for (key, value) in [
            ("KIND", "oidc"),
            ("ISSUER", idp.issuer.as_str()),
            ("CLIENT_ID", "client"),
            ("CLIENT_SECRET", "the client secret"),
            ("ALLOW_PRIVATE_HOSTS", "true"),
        ] {
            setup = setup.set(&format!("OAUTH__PROVIDERS__{name}__{key}"), value);
        }
    }
    setup
}

pub async fn started(kind: Kind) -> (Server, Arc<Idp>) {
    let idp = Idp::start(false).await;
    (setup(kind, &idp).await.start().await, idp)
}

/// Starts linking an identity to the account of this access token.
pub async fn start_link(server: &Server, token: &str) -> pb::StartOAuthResponse {
    let request = pb::StartLinkRequest { provider: "idp".to_owned(), redirect_uri: REDIRECT.to_owned() };
    server.auth().start_link(bearer(token, request)).await.unwrap().into_inner()
}

/// What completes it.
pub fn linking(started: &pb::StartOAuthResponse) -> pb::CompleteLinkRequest {
    pb::CompleteLinkRequest {
        provider: "idp".to_owned(),
        code: "good".to_owned(),
        redirect_uri: REDIRECT.to_owned(),
        state: started.state.clone(),
        flow_secret: started.flow_secret.clone(),
        iss: None,
    }
}

/// Links the identity of this subject.
pub async fn link(server: &Server, idp: &Idp, token: &str, subject: &str) -> Result<pb::Identity, Status> {
    let started = start_link(server, token).await;
    let mut claims = idp.claims(Some(&nonce(&started)));
    claims["sub"] = subject.into();
    idp.issue(&claims, Signed::Well);
    let request = linking(&started);
    server.auth().complete_link(bearer(token, request)).await.map(tonic::Response::into_inner)
}

/// Starts a sign-in.
pub async fn start(server: &Server) -> pb::StartOAuthResponse {
    let request = pb::StartOAuthRequest { provider: "idp".to_owned(), redirect_uri: REDIRECT.to_owned() };
    server.auth().start_o_auth(request).await.unwrap().into_inner()
}

/// What the nonce in the way there is.
pub fn nonce(started: &pb::StartOAuthResponse) -> String {
    let url = Url::parse(&started.authorization_url).unwrap();
    url.query_pairs().find(|(name, _)| name == "nonce").unwrap().1.into_owned()
}

pub fn returned(started: &pb::StartOAuthResponse) -> pb::CompleteOAuthRequest {
    pb::CompleteOAuthRequest {
        provider: "idp".to_owned(),
        code: "good".to_owned(),
        redirect_uri: REDIRECT.to_owned(),
        state: Some(started.state.clone()),
        flow_secret: Some(started.flow_secret.clone()),
        iss: None,
    }
}

pub async fn complete(
    server: &Server,
    request: pb::CompleteOAuthRequest,
) -> Result<pb::TokenResponse, Status> {
    server.auth().complete_o_auth(request).await.map(tonic::Response::into_inner)
}

/// Signs the person in whom these claims are about.
pub async fn sign_in(
    server: &Server,
    idp: &Idp,
    change: impl FnOnce(&mut Value),
) -> Result<pb::TokenResponse, Status> {
    let started = start(server).await;
    let mut claims = idp.claims(Some(&nonce(&started)));
    change(&mut claims);
    idp.issue(&claims, Signed::Well);
    complete(server, returned(&started)).await
}
