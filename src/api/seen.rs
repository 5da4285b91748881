//! A request as the operator sees it: its id, its trace, and the line that says how it ended. Made by `guard` for every request,
//! and by `fast_lane` for those that ask for it.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use opentelemetry::propagation::Extractor;
use tonic::Code;
use tracing::{Instrument, Level, Span, field::Empty, info_span};

use super::metrics::{Rpc, UnderWay, code_of, name_of};
use crate::{
    telemetry::{request, traces},
    types::random,
};

/// The header that names a request: the caller's, else one of ours; the answer has it, too.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: &str = "traceparent";

const TRACESTATE: &str = "tracestate";

/// The longest id that is taken from a caller.
const MAX_ID: usize = 128;

/// Bytes of a `tracestate`. It goes with every span, of which many are sent at once; so one that is longer than what has to
/// be passed on (W3C Trace Context, 3.3.1.5) is not taken.
const MAX_TRACESTATE: usize = 512;

/// Methods that are called by their name. Of the rest, which are whatever a client makes up, OpenTelemetry has a name for all.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];

/// What a request is seen as.
pub struct Seen {
    id: HeaderValue,
    client: Option<Arc<str>>,
    request: Span,
    server: Span,
}

/// Where a request came in.
pub enum Entrance<'a> {
    /// As a call of this RPC.
    Grpc(&'a Rpc),
    /// As a call of this one, of which there are so many that no trace begins with it.
    Validation(&'a Rpc),
    /// Over plain HTTP; the route is not known yet.
    Http(&'a Method),
}

impl Seen {
    /// Looks at a request's headers. `client` is what the certificate of its connection calls it.
    pub fn begin(headers: &HeaderMap, entrance: &Entrance<'_>, client: Option<Arc<str>>) -> Self {
        let id = headers.get(REQUEST_ID).filter(|id| is_sane(id)).cloned().unwrap_or_else(new_id);
        let text = id.to_str().unwrap_or_default();
        let request = request::span(text);
        let server = request.in_scope(|| match entrance {
            Entrance::Grpc(rpc) | Entrance::Validation(rpc) => rpc_span(rpc, "server"),
            Entrance::Http(method) => http_span(method),
        });
        let may_begin = !matches!(entrance, Entrance::Validation(_));
        if let Some(ids) = traces::adopt(&server, &Headers(headers), may_begin) {
            request::join(&request, text, ids);
        }
        Self { id, client, request, server }
    }

    /// Runs a call as part of it.
    pub async fn run<F: Future>(&self, call: F) -> F::Output {
        call.instrument(self.server.clone()).instrument(self.request.clone()).await
    }

    /// Notes how it was answered: on the answer, in the trace, in the log and in the numbers.
    pub fn end<B>(self, answer: &mut Response<B>, under_way: UnderWay) {
        let (code, status) = (code_of(answer), answer.status().as_u16());
        self.server.record("rpc.grpc.status_code", i32::from(code));
        // Signed: of an unsigned one a text would be made.
        self.server.record("http.response.status_code", i64::from(status));
        if matches!(
            code,
            Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss
        ) {
            self.server.record("otel.status_code", "ERROR");
        }
        let (rpc, took_ms) = (&*under_way.rpc.label, under_way.took().as_secs_f64() * 1000.0);
        let client = self.client.as_deref();
        self.request.in_scope(|| match code {
            // Faults of ours. That the database is away, or slow, would be told with every call: `worker` tells it once.
            Code::Unknown | Code::Internal | Code::DataLoss => {
                tracing::warn!(rpc, code = name_of(code), status, took_ms, client, "answered");
            }
            _ => tracing::debug!(rpc, code = name_of(code), status, took_ms, client, "answered"),
        });
        answer.headers_mut().insert(REQUEST_ID, self.id);
        under_way.end(code);
    }
}

/// The span of a request over plain HTTP. Its name is another once its route is known.
fn http_span(method: &Method) -> Span {
    let known = METHODS.contains(method);
    info_span!(
        "http",
        otel.name = if known { method.as_str() } else { "HTTP" },
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = if known { method.as_str() } else { "_OTHER" },
        http.route = Empty,
        http.response.status_code = Empty,
    )
}

/// The span of a call of this RPC, which is not counted as one of a background task's.
pub fn rpc_span(rpc: &Rpc, kind: &'static str) -> Span {
    // Of what is none of the RPCs that are counted there is only the label.
    let (service, slash, method) =
        if rpc.method.is_empty() { ("", "", &rpc.label) } else { (&*rpc.service, "/", &rpc.method) };
    info_span!(
        "rpc",
        otel.name = format_args!("{service}{slash}{method}"),
        otel.kind = kind,
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = &*rpc.service,
        rpc.method = &*rpc.method,
        rpc.grpc.status_code = Empty,
    )
}

/// Whether a request on the fast lane is to be seen: it brings an id, is part of a trace, or has a client whose name is to be
/// written.
pub fn is_wanted(headers: &HeaderMap, client: Option<&str>) -> bool {
    headers.contains_key(REQUEST_ID)
        || traces::is_on() && headers.contains_key(TRACEPARENT) && traces::is_wanted(&Headers(headers))
        || client.is_some() && tracing::enabled!(Level::DEBUG)
}

/// Whether an id can be written anywhere without a second thought.
fn is_sane(id: &HeaderValue) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new_id() -> HeaderValue {
    let id = format!("{:032x}", u128::from_be_bytes(random::bytes()));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
}

/// Headers, for who reads traces' contexts from them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        (key != TRACESTATE || value.len() <= MAX_TRACESTATE).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_caller_is_taken_if_it_is_short_and_visible() {
        let id_of = |given: &'static [u8]| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(given).unwrap())]);
            Seen::begin(&headers, &Entrance::Http(&Method::GET), None).id
        };
        assert_eq!(id_of(b"a-1"), "a-1");
        assert_eq!(id_of(&[b'x'; 128]).len(), 128);
        for given in [&b""[..], b"two words", b"\xc3\xbc", &[b'x'; 129]] {
            let made = id_of(given);
            assert!(made.len() == 32 && made != given, "{made:?}");
        }
    }

    #[test]
    fn a_tracestate_is_taken_if_it_is_short() {
        let state = |value: &str| {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(TRACESTATE), value.parse().unwrap())]);
            Headers(&headers).get(TRACESTATE).map(str::len)
        };
        assert_eq!(state(&format!("a={}", "x".repeat(510))), Some(512));
        assert_eq!(state(&format!("a={}", "x".repeat(511))), None);
        // Nothing else is that short.
        let headers = HeaderMap::from_iter([(REQUEST_ID, "x".repeat(513).parse().unwrap())]);
        assert!(Headers(&headers).get(REQUEST_ID.as_str()).is_some());
    }
}
