//! The doors: gRPC, gRPC-web and REST on one port, answered by one set of handlers; or on two, when `server.internal_listen`
//! takes what services ask off the public one.
//!
//! Owns the protos, the routes, the limits and how errors look. Knows no rules: a handler converts in, authorises, calls
//! `domain` and converts out. Nothing outside this room knows tonic, prost, axum or HTTP.

mod admin_service;
mod auth_service;
mod caller;
pub mod codec;
mod convert;
mod door;
mod ext_authz;
pub mod fast_lane;
mod fault;
mod forward_auth;
mod gateway;
mod guard;
pub mod health;
mod jwks;
mod key_service;
pub mod metrics;
mod openapi;
mod operator;
mod pages;
pub mod pb;
mod places;
mod preface;
mod rest;
mod seen;
pub mod server;
mod side;
pub mod status;
mod streams;
pub mod tls;
mod watch_revocations;

use std::sync::Arc;

use axum::Router;
use prost_reflect::DescriptorPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, service::Routes};
use tonic_web::GrpcWebLayer;

use self::{
    admin_service::Admin,
    auth_service::Auth,
    caller::{Callers, TrustedProxies},
    ext_authz::ExtAuthz,
    fast_lane::App,
    key_service::Keys,
    metrics::Metrics,
    pb::{
        admin_service_server::AdminServiceServer, auth_service_server::AuthServiceServer,
        envoy::service::auth::v3::authorization_server::AuthorizationServer,
        key_service_server::KeyServiceServer,
    },
    server::Limits,
    side::Side,
};
use crate::{config::Server, domain::Domain};

/// All doors.
pub struct Doors {
    /// Answers every request, or all but those that the internal one answers.
    pub public: App,
    /// Answers what comes to `server.internal_listen`, when that is set.
    pub internal: Option<App>,
    /// What a connection to them may take.
    pub limits: Limits,
    /// Answers what the operator's tools ask, at `server.metrics_listen`.
    pub operator: App,
    /// What a connection to that one may take.
    pub operator_limits: Limits,
    /// The numbers of all of them.
    pub metrics: &'static Metrics,
}

/// The longest question about a service or a symbol, in bytes: it holds a name, which may come back in the answer.
const MAX_NAME_BYTES: usize = 1024;

/// A handler's answer.
type Answer<T> = Result<Response<T>, Status>;

/// Opens the doors to these use cases, and with `pages` the pages where the links in mails lead. `ready` is for the health
/// service: whether calls can be answered. `leaving` is cancelled when the service begins to go away, `stop` when the answers
/// have to end that would not end by themselves.
///
/// # Errors
/// When the embedded descriptors cannot be served: a fault of the build.
pub async fn doors(
    domain: &Arc<Domain>,
    config: &Server,
    pages: bool,
    ready: watch::Receiver<bool>,
    leaving: &CancellationToken,
    stop: &CancellationToken,
) -> Result<Doors, Box<dyn std::error::Error + Send + Sync>> {
    let listeners = 1 + u64::from(config.internal_listen.is_some());
    let limits = Limits { listeners, ..Limits::default() };
    let pool = DescriptorPool::decode(pb::DESCRIPTORS)?;
    let metrics = Metrics::start(&pool);
    let callers = Callers::new(domain.clone(), TrustedProxies::new(&config.trusted_proxies));
    let auth = Auth::new(domain.clone(), callers.clone(), metrics, stop.clone());
    let keys = Keys::new(domain.clone(), callers.clone());
    let admin = Admin::new(domain.clone(), callers);
    let envoy = ExtAuthz::new(domain.clone());
    // From an empty router: tonic's own has a fallback, of which the merged router can have but one.
    let auth = AuthServiceServer::new(auth).max_decoding_message_size(limits.max_message_bytes);
    let calls = Routes::from(Router::new())
        .add_service(auth.clone())
        .add_service(KeyServiceServer::new(keys).max_decoding_message_size(limits.max_message_bytes))
        .add_service(AdminServiceServer::new(admin).max_decoding_message_size(limits.max_message_bytes))
        .add_service(AuthorizationServer::new(envoy).max_decoding_message_size(ext_authz::MAX_BYTES))
        .into_axum_router();
    let health = health::service(ready).await.max_decoding_message_size(MAX_NAME_BYTES);
    let app = |side: Side| -> Result<App, Box<dyn std::error::Error + Send + Sync>> {
        let mut streams = Routes::from(Router::new()).add_service(health.clone());
        if config.reflection {
            streams = streams
                .add_service(reflection(side, &pool).build_v1()?.max_decoding_message_size(MAX_NAME_BYTES))
                .add_service(
                    reflection(side, &pool).build_v1alpha()?.max_decoding_message_size(MAX_NAME_BYTES),
                );
        }
        let streams = streams::end_with(stop, streams.into_axum_router());
        let grpc = guard::canonical_errors(calls.clone().merge(streams));
        // REST calls the gRPC routes in process. gRPC-web wraps these alone: over REST it would refuse HTTP/1.1.
        let mut all =
            rest::routes(&pool, &grpc, side, metrics)?.merge(side.only(grpc.layer(GrpcWebLayer::new())));
        if side.serves(forward_auth::PATH) {
            all = all.merge(forward_auth::routes(domain.clone()));
        }
        if side != Side::Internal {
            all = all.merge(jwks::routes(domain));
            if pages {
                all = all.merge(pages::routes());
            }
        }
        // Services and gateways are no pages of a browser.
        let cors_origins = if side == Side::Internal { &[][..] } else { &config.cors_origins };
        let router = guard::guard(all.fallback(door::not_found), cors_origins, &limits, metrics);
        let has_fast_lane = side.serves(fast_lane::PATH);
        let fast = has_fast_lane.then(|| auth.clone());
        Ok(App::new(router, fast, limits, metrics))
    };
    let (public, internal) = match config.internal_listen {
        None => (app(Side::Both)?, None),
        Some(_) => (app(Side::Public)?, Some(app(Side::Internal)?)),
    };
    let operator = operator::routes(domain, metrics, leaving).into();
    let operator_limits = operator::limits(limits);
    Ok(Doors { public, internal, limits, operator, operator_limits, metrics })
}

/// Tells of the services that this side serves.
fn reflection(side: Side, pool: &DescriptorPool) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    if side == Side::Both {
        return builder;
    }
    let services = side.services(pool).chain(["grpc.health.v1.Health".to_owned()]);
    services.fold(builder, tonic_reflection::server::Builder::with_service_name)
}
