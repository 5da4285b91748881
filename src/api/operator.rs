//! What an operator's tools ask: `/metrics`, `/livez` and `/readyz`, on a listener of their own (`server.metrics_listen`) and
//! nowhere else. No answer waits for the database for longer than [`super::metrics`] allows.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{
        HeaderName, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    routing::get,
};
use tokio_util::sync::CancellationToken;

use super::{
    metrics::{self, Metrics},
    server::Limits,
};
use crate::domain::Domain;

const METRICS: &str = "/metrics";
const LIVE: &str = "/livez";
const READY: &str = "/readyz";

/// Said while the service goes away, which the domain does not know of.
const DRAINING: &str = "draining";

/// The headers of an answer of this content type.
const fn headers(content_type: &'static str) -> [(HeaderName, &'static str); 3] {
    [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")]
}

const TEXT: [(HeaderName, &str); 3] = headers("text/plain; charset=utf-8");
const METRICS_TEXT: [(HeaderName, &str); 3] = headers(metrics::CONTENT_TYPE);

/// What a connection may take: few come, and they ask little.
pub fn limits(limits: Limits) -> Limits {
    Limits {
        max_header_bytes: 8 * 1024,
        max_concurrent_streams: 16,
        first_byte_timeout: Duration::from_secs(5),
        header_read_timeout: Duration::from_secs(5),
        // Whoever reaches this listener shares it with the probes that keep the process from being restarted.
        max_connection_age: Duration::from_mins(1),
        max_connections: 256,
        ..limits
    }
}

/// The routes. `leaving` is cancelled as soon as the service begins to go away.
pub fn routes(domain: &Arc<Domain>, metrics: &'static Metrics, leaving: &CancellationToken) -> Router {
    let whether = Whether { domain: domain.clone(), leaving: leaving.clone() };
    let ready = {
        let whether = whether.clone();
        async move || match whether.why_not().as_slice() {
            [] => (StatusCode::OK, TEXT, "ready\n".to_owned()),
            reasons => (StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n"),
        }
    };
    let scrape = async move || {
        let is_ready = whether.why_not().is_empty();
        (METRICS_TEXT, metrics.page(&whether.domain, is_ready).await)
    };
    Router::new()
        .route(LIVE, get(async move || (TEXT, "live\n")))
        .route(READY, get(ready))
        .route(METRICS, get(scrape))
}

/// Whether this replica should be asked.
#[derive(Clone)]
struct Whether {
    domain: Arc<Domain>,
    leaving: CancellationToken,
}

impl Whether {
    /// Everything that keeps it from being ready.
    fn why_not(&self) -> Vec<&'static str> {
        let leaving = self.leaving.is_cancelled().then_some(DRAINING);
        leaving.into_iter().chain(self.domain.why_not_ready()).collect()
    }
}
