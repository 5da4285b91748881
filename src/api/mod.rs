//! The doors: gRPC, gRPC-web and REST on one port, answered by one set of handlers.
//!
//! Owns the protos, the routes, the limits and how errors look. Knows no rules: a handler converts in, authorises, calls
//! `domain` and converts out. Nothing outside this room knows tonic, prost, axum or HTTP.

mod auth_service;
mod caller;
pub mod codec;
mod convert;
mod door;
mod fault;
mod guard;
pub mod health;
mod jwks;
mod key_service;
mod openapi;
mod pages;
pub mod pb;
mod rest;
pub mod server;
pub mod status;
mod streams;
mod watch_revocations;

use std::sync::Arc;

use axum::Router;
use prost_reflect::DescriptorPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, service::Routes};
use tonic_web::GrpcWebLayer;

use self::{
    auth_service::Auth,
    caller::{Callers, TrustedProxies},
    key_service::Keys,
    pb::{auth_service_server::AuthServiceServer, key_service_server::KeyServiceServer},
    server::Limits,
};
use crate::{config::Server, domain::Domain};

/// All doors.
pub struct Doors {
    /// Answers every request.
    pub router: Router,
    /// What a connection to them may take.
    pub limits: Limits,
}

/// The longest question about a service or a symbol, in bytes: it holds a name, which may come back in the answer.
const MAX_NAME_BYTES: usize = 1024;

/// A handler's answer.
type Answer<T> = Result<Response<T>, Status>;

/// Opens the doors to these use cases, and with `pages` the pages where the links in mails lead. `ready` is for the health
/// service: whether calls can be answered. `stop` ends the answers that would not end by themselves.
///
/// # Errors
/// When the embedded descriptors cannot be served: a fault of the build.
pub async fn doors(
    domain: &Arc<Domain>,
    config: &Server,
    pages: bool,
    ready: watch::Receiver<bool>,
    stop: &CancellationToken,
) -> Result<Doors, Box<dyn std::error::Error + Send + Sync>> {
    let limits = Limits::default();
    let pool = DescriptorPool::decode(pb::DESCRIPTORS)?;
    let callers = Callers::new(domain.clone(), TrustedProxies::new(&config.trusted_proxies));
    let auth = Auth::new(domain.clone(), callers.clone(), stop.clone());
    let keys = Keys::new(domain.clone(), callers);
    // From an empty router: tonic's own has a fallback, of which the merged router can have but one.
    let calls = Routes::from(Router::new())
        .add_service(AuthServiceServer::new(auth).max_decoding_message_size(limits.max_message_bytes))
        .add_service(KeyServiceServer::new(keys).max_decoding_message_size(limits.max_message_bytes));
    let health = health::service(ready).await.max_decoding_message_size(MAX_NAME_BYTES);
    let mut streams = Routes::from(Router::new()).add_service(health);
    if config.reflection {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        streams = streams
            .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_NAME_BYTES))
            .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_NAME_BYTES));
    }
    let streams = streams::end_with(stop, streams.into_axum_router());
    let grpc = guard::canonical_errors(calls.into_axum_router().merge(streams));
    // REST calls the gRPC routes in process. gRPC-web wraps these alone: over REST it would refuse HTTP/1.1.
    let calls = rest::routes(&pool, &grpc)?.merge(grpc.layer(GrpcWebLayer::new()));
    let calls = calls.merge(jwks::routes(domain));
    let all = if pages { calls.merge(pages::routes()) } else { calls };
    let app = all.fallback(door::not_found);
    Ok(Doors { router: guard::guard(app, &config.cors_origins, &limits), limits })
}
