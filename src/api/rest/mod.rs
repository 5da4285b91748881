//! REST: one route for each `google.api.http` annotation of the protos, answered by calling the gRPC router in process, so
//! that a new RPC needs no code here and every caller reaches the same handlers. Limits and content types belong to
//! `guard`, which has read the body by now; credentials to the handlers.

mod binding;
mod dynamic;
mod json;
pub(super) mod query;
#[cfg(test)]
mod tests;

use std::{error::Error, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, header, request::Parts, uri::PathAndQuery},
    response::{IntoResponse, Response},
    routing::{MethodFilter, get, on},
};
use http_body_util::BodyExt;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, SerializeOptions, Value,
};
use tonic::{client::Grpc, metadata::MetadataMap};
use tracing::Instrument;

use self::{binding::Unbound, dynamic::Dynamic, json::Object};
use super::{
    guard::Asked,
    metrics::{Metrics, Rpc},
    openapi,
    pb::ErrorReason,
    seen,
    side::Side,
    status::{Problem, Violation},
};

use crate::telemetry::traces;

pub(super) use self::binding::{Binding, bindings};

const DOCUMENT: &str = "/openapi.json";

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// Headers that speak of the connection or of the body, and so say nothing of the call within.
const NOT_METADATA: [header::HeaderName; 15] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The REST door to `grpc`, and `/openapi.json`: what of it `side` serves. Every RPC of `pool` that has an annotation has a
/// route.
///
/// # Errors
/// When a route cannot be made of an annotation: a fault of the protos.
pub fn routes(
    pool: &DescriptorPool,
    grpc: &Router,
    side: Side,
    metrics: &'static Metrics,
) -> Result<Router, Box<dyn Error + Send + Sync>> {
    let mut router = Router::new();
    if side.serves(DOCUMENT) {
        router = router.route(DOCUMENT, get(async || (JSON, openapi::DOCUMENT)));
    }
    for binding in bindings(pool)?.into_iter().filter(|binding| side.serves(&binding.rpc())) {
        let filter = MethodFilter::try_from(binding.verb.clone())?;
        let path = binding.path.clone();
        let route = Arc::new(Route::new(binding, grpc.clone(), metrics)?);
        router = router.route(&path, on(filter, async move |request: Request| route.answer(request).await));
    }
    Ok(router.method_not_allowed_fallback(async || Problem::from(ErrorReason::MethodNotAllowed)))
}

/// What can be known of a route before a request comes.
struct Route {
    grpc: Router,
    rpc: PathAndQuery,
    counted: &'static Rpc,
    binding: Binding,
    input: MessageDescriptor,
    output: MessageDescriptor,
    path_fields: Vec<FieldDescriptor>,
    mask: Option<FieldDescriptor>,
}

impl Route {
    fn new(
        binding: Binding,
        grpc: Router,
        metrics: &'static Metrics,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (method, input) = (&binding.method, binding.method.input());
        let field = |name| input.get_field_by_name(name).ok_or_else(|| Unbound::from(method));
        Ok(Self {
            grpc,
            counted: metrics.rpc(&binding.rpc()),
            rpc: binding.rpc().parse()?,
            path_fields: binding.path_fields().map(field).collect::<Result<_, _>>()?,
            mask: binding.mask(),
            output: method.output(),
            input,
            binding,
        })
    }

    async fn answer(&self, request: Request) -> Response {
        if let Some(asked) = request.extensions().get::<Asked>() {
            let _ = asked.0.set(self.counted);
        }
        traces::name_route(self.binding.verb.as_str(), &self.binding.path);
        match self.call(request).await {
            Ok(json) => (JSON, json).into_response(),
            Err(problem) => problem.into_response(),
        }
    }

    async fn call(&self, request: Request) -> Result<Vec<u8>, Problem> {
        let (mut parts, body) = request.into_parts();
        let message = self.read(&mut parts, body).await?;
        let metadata = MetadataMap::from_headers(metadata(parts.headers));
        let request = tonic::Request::from_parts(metadata, parts.extensions, message);
        let mut client = Grpc::new(self.grpc.clone());
        let Ok(()) = client.ready().await;
        let rpc = seen::rpc_span(self.counted, "internal");
        let answer = client
            .unary(request, self.rpc.clone(), Dynamic(self.output.clone()))
            .instrument(rpc.clone())
            .await
            .inspect_err(|status| {
                rpc.record("rpc.grpc.status_code", i32::from(status.code()));
            })
            .map_err(|status| Problem::from_status(&status))?;
        rpc.record("rpc.grpc.status_code", 0);
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        let mut json = Vec::new();
        answer
            .into_inner()
            .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
            .map_err(|_| Problem::from(ErrorReason::Internal))?;
        Ok(json)
    }

    /// Makes the RPC's request of the path, and of the query (GET) or the body.
    async fn read(&self, parts: &mut Parts, body: Body) -> Result<DynamicMessage, Problem> {
        // The guard collected it: it is all here.
        let body = body.collect().await.map_err(|_| Problem::from(ErrorReason::Internal))?.to_bytes();
        let body = json::object(&body)?;
        let mut object = query::object(&self.binding, parts.uri.query().unwrap_or_default())?;
        if self.binding.has_body {
            object = body;
        } else if !body.is_empty() {
            return Err(refuse(body.keys(), "there is no body in this call"));
        }

        let taken = |name: &&String| {
            let given = json::field(&self.input, name);
            self.path_fields.iter().chain(&self.mask).any(|field| Some(field) == given.as_ref())
        };
        if object.keys().any(|name| taken(&name)) {
            return Err(refuse(object.keys().filter(taken), "follows from the path or the body"));
        }
        let mask = self.mask.as_ref().map(|mask| (mask, mask_of(mask, &self.input, &object)));
        self.read_path(parts, &mut object).await?;
        let mut message = json::message(&self.input, object)?;
        if let Some((field, mask)) = mask {
            message.set_field(field, mask);
        }
        Ok(message)
    }

    /// Binds the path's parameters. One that is not UTF-8 names nothing.
    async fn read_path(&self, parts: &mut Parts, object: &mut Object) -> Result<(), Problem> {
        if self.path_fields.is_empty() {
            return Ok(());
        }
        let params = RawPathParams::from_request_parts(parts, &())
            .await
            .map_err(|_| Problem::from(ErrorReason::NotFound))?;
        object.extend(params.iter().map(|(name, value)| (name.to_owned(), value.into())));
        Ok(())
    }
}

/// The mask of a PATCH is the set of its body's keys. It is present even when it is empty: then nothing changes, while
/// an absent mask would stand for the fields that are set.
fn mask_of(field: &FieldDescriptor, input: &MessageDescriptor, body: &Object) -> Value {
    let names = body.keys().filter_map(|name| json::field(input, name));
    let paths = names.map(|field| Value::String(field.name().to_owned())).collect();
    let mut mask = Value::default_value_for_field(field);
    if let Some(mask) = mask.as_message_mut() {
        mask.set_field_by_name("paths", Value::List(paths));
    }
    mask
}

/// That these fields are not acceptable, and why.
pub(super) fn refuse(names: impl IntoIterator<Item = impl Into<String>>, why: &str) -> Problem {
    let violation = |name: _| Violation { field: Into::into(name), description: why.to_owned() };
    Problem::invalid(names.into_iter().take(json::MAX_FAULTS).map(violation).collect())
}

fn metadata(mut headers: HeaderMap) -> HeaderMap {
    for name in NOT_METADATA {
        headers.remove(name);
    }
    let of_grpc = headers.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned();
    for name in of_grpc.collect::<Vec<_>>() {
        headers.remove(name);
    }
    headers
}
