//! What a call must satisfy before a handler sees it, and what every answer carries: content types (S52), CORS (S53),
//! response headers (S55), the size and time of a call (S60), canonical errors and caught panics (S64). What a
//! connection may take is `server`'s. `api::doors` wraps the merged router in [`guard`] and the gRPC one in
//! [`canonical_errors`].

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
        header::{
            ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, RETRY_AFTER,
            WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
        request::Parts,
    },
    response::Response,
    routing::Route,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tower::{Service, ServiceBuilder, layer::layer_fn, util::MapResponseLayer};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{
    door::{Door, content_type, is_grpc_path},
    fast_lane,
    metrics::{Metrics, Rpc},
    pb::ErrorReason as Reason,
    seen::{self, Entrance, Seen},
    server::{Limits, Peer},
    status::Problem,
};

/// How much of a refused body is read and forgotten. An HTTP/1.1 connection that is closed with data unread is reset,
/// and then the caller never sees why it was refused.
const FORGOTTEN: usize = 4 * 1024 * 1024;

/// When a call is over, in the extensions of each request: what cannot be done by then need not be begun (S61). REST passes
/// it on to the gRPC call within.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub std::time::Instant);

/// Which RPC was asked for over REST, in the extensions of each request: its route knows it, and tells.
#[derive(Clone, Default)]
pub struct Asked(pub Arc<OnceLock<&'static Rpc>>);

/// Wraps the merged router of all doors, once its fallback is set. The layers, outermost first:
///
/// 1. `nosniff`, on whatever the others answer.
/// 2. CORS, so that a preflight, which has no content type and no credential, is answered before anything is asked of
///    it, and so that a page may read the refusals of what follows.
/// 3. The checks of `Guard`, which know the door and so give a panic, a deadline and a refusal its form.
pub fn guard(app: Router, cors_origins: &[String], limits: &Limits, metrics: &'static Metrics) -> Router {
    let limits = *limits;
    let layers = ServiceBuilder::new()
        .layer(MapResponseLayer::new(nosniff))
        .option_layer(cors(cors_origins))
        .layer(layer_fn(move |inner| Guard { inner, limits, metrics }));
    app.layer(layers)
}

/// Wraps the gRPC router, inside of gRPC-web: an error that tonic made itself tells of internals and carries no
/// `ErrorInfo`, so it is put in our words (S64).
pub fn canonical_errors(grpc: Router) -> Router {
    grpc.layer(MapResponseLayer::new(|response: Response| {
        canonical_error(response.headers()).unwrap_or(response)
    }))
}

/// What to answer instead, if these are the headers of an error that tonic made itself.
pub fn canonical_error(headers: &HeaderMap) -> Option<Response> {
    if !headers.contains_key(Status::GRPC_STATUS) || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let status = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)?;
    Some(Problem::canonical(status).into_http())
}

/// What the headers of every answer to a call hold (S55).
pub fn mark_private(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn nosniff(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// CORS for exactly these origins (S53), and none at all without any. Without credentials: there are no cookies here.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins = origins.to_vec();
    let listed =
        move |origin: &HeaderValue, _: &Parts| origins.iter().any(|listed| listed.as_bytes() == origin);
    let name = HeaderName::from_static;
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(listed))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            name("x-api-key"),
            name("x-grpc-web"),
            name("x-user-agent"),
            name("grpc-timeout"),
            name("traceparent"),
            name("tracestate"),
            seen::REQUEST_ID,
        ])
        .expose_headers([
            RETRY_AFTER,
            WWW_AUTHENTICATE,
            name("grpc-status"),
            name("grpc-message"),
            name("grpc-status-details-bin"),
            seen::REQUEST_ID,
        ])
        .max_age(Duration::from_hours(2));
    Some(layer)
}

/// One service instead of a layer each: they share the door, and the hot path pays for one future.
#[derive(Clone)]
struct Guard {
    inner: Route,
    limits: Limits,
    metrics: &'static Metrics,
}

impl Service<Request> for Guard {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (limits, metrics) = (self.limits, self.metrics);
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            let door = Door::of(&request);
            let path = request.uri().path();
            let mut under_way = metrics.rpc(path).begin();
            let entrance = match door {
                Door::Grpc(_) if path == fast_lane::PATH => Entrance::Validation(under_way.rpc),
                Door::Grpc(_) => Entrance::Grpc(under_way.rpc),
                Door::Rest => Entrance::Http(request.method()),
            };
            let client = request.extensions().get::<Peer>().and_then(|peer| peer.client.clone());
            let seen = Seen::begin(request.headers(), &entrance, client);
            let private = is_grpc_path(path) || path.starts_with("/api/");
            let asked = Asked::default();
            request.extensions_mut().insert(asked.clone());
            let outcome = match patience(request.headers(), limits.request_timeout) {
                Err(problem) => Err(problem),
                Ok(patience) => {
                    let deadline = Instant::now() + patience;
                    request.extensions_mut().insert(Deadline(deadline.into_std()));
                    let call = async {
                        let request = admit(request, door, limits.max_message_bytes).await?;
                        catch(async { inner.call(request).await }).await
                    };
                    let answer = timeout_at(deadline, seen.run(call)).await;
                    answer.unwrap_or_else(|_| Err(Reason::DeadlineExceeded.into()))
                }
            };
            let mut response = match outcome {
                Ok(Ok(response)) => response,
                Err(problem) => {
                    let mut response = door.answer(problem);
                    // RFC 9110, 15.5.6. Of REST paths the router says it; only gRPC's are refused here.
                    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                    }
                    response
                }
            };
            if let Some(rpc) = asked.0.get() {
                under_way.rpc = rpc;
            }
            seen.end(&mut response, under_way);
            if private {
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            Ok(response)
        })
    }
}

/// Lets a request pass that is of a served content type (S52) and size (S60). A body is read here, so that it is never
/// longer than a message, and an HTTP/1.1 connection is never closed over what tonic did not care to read; but over
/// HTTP/2 gRPC's is left to tonic, which looks at a frame's length first.
async fn admit(request: Request, door: Door, message: usize) -> Result<Request, Problem> {
    let (mut parts, mut body) = request.into_parts();
    let longest = door.body_bytes(message);
    if let Err(problem) = fits(&parts, &body, door, longest) {
        forget(&parts, body).await;
        return Err(problem);
    }
    if let Door::Grpc(name) = door {
        // tonic-web compares it byte for byte.
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(name));
        if parts.version == Version::HTTP_2 {
            return Ok(Request::from_parts(parts, body));
        }
    }
    let bytes = match Limited::new(&mut body, longest).collect().await {
        Ok(read) => read.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            forget(&parts, body).await;
            return Err(Reason::TooLarge.into());
        }
        Err(_) => return Err(Problem::new(Reason::InvalidField, "the body could not be read")),
    };
    if !bytes.is_empty() && !parts.headers.contains_key(CONTENT_TYPE) {
        return Err(not_json());
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// What the head of a request already tells.
fn fits(parts: &Parts, body: &Body, door: Door, longest: usize) -> Result<(), Problem> {
    if is_grpc_path(parts.uri.path()) {
        if parts.method != Method::POST {
            return Err(Reason::MethodNotAllowed.into());
        }
        if door == Door::Rest {
            let text = "send application/grpc over HTTP/2, or application/grpc-web";
            return Err(Problem::new(Reason::UnsupportedMediaType, text));
        }
    } else if !body.is_end_stream() {
        // Some clients name a type with every call, whether or not it has a body, and gateways ask with the headers of a
        // request whose body they keep.
        if parts.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(Problem::new(
                Reason::UnsupportedMediaType,
                "send the body without a content encoding",
            ));
        }
        if content_type(&parts.headers).is_some_and(|given| !given.eq_ignore_ascii_case("application/json")) {
            return Err(not_json());
        }
    }
    if body.size_hint().lower() > longest as u64 {
        return Err(Reason::TooLarge.into());
    }
    Ok(())
}

fn not_json() -> Problem {
    Problem::new(Reason::UnsupportedMediaType, "send application/json")
}

/// Reads a refused body to its end, see [`FORGOTTEN`]. A caller that expects `100 Continue` has not sent it yet.
async fn forget(parts: &Parts, body: Body) {
    if !parts.headers.contains_key(EXPECT) {
        let mut body = Limited::new(body, FORGOTTEN);
        while let Some(Ok(_)) = body.frame().await {}
    }
}

/// How long the caller and we are willing to wait: `grpc-timeout` is at most eight digits and a unit.
pub fn patience(headers: &HeaderMap, most: Duration) -> Result<Duration, Problem> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(most) };
    value.to_str().ok().and_then(parse_timeout).map(|asked| asked.min(most)).ok_or_else(|| {
        Problem::new(Reason::InvalidField, "grpc-timeout is at most eight digits and one of H M S m u n")
    })
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_hours(amount),
        "M" => Duration::from_mins(amount),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// A panic ends the one call that it happened in (S64). tower-http's layer cannot do it: its answer does not know the door.
pub async fn catch<F: Future>(call: F) -> Result<F::Output, Problem> {
    let mut call = pin!(call);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => {
            tracing::error!(panic = text_of(&*panic), "a call panicked");
            Poll::Ready(Err(Reason::Internal.into()))
        }
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref().copied()).unwrap_or("?")
}

#[cfg(test)]
mod tests;
