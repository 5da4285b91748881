//! Traces, by OTLP over gRPC, where a collector is configured: spans that `api`, `domain` and `store` make with `tracing`'s
//! macros. Without a collector nobody takes them, and so they are not made.
//!
//! Spans are collected in a bounded queue and sent by a thread of their own. When the collector is away they are lost, and the
//! log says so once. What happens in a span is not sent with it: log lines stay in the log.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData},
};
use tracing::{Metadata, Span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn};

use super::AnyLayer;
use crate::config::Telemetry;

/// How long the collector may take to accept what it is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last of it may take, when the process ends.
const LAST: Duration = Duration::from_secs(3);
/// Spans that wait to be sent at most; more are dropped.
const WAITING: usize = 8192;

static ON: AtomicBool = AtomicBool::new(false);

/// Whether traces are sent anywhere.
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// The sending of traces.
#[derive(Default)]
pub struct Traces(Option<SdkTracerProvider>);

/// What a span is called outside.
#[derive(Debug, Clone)]
pub struct Ids {
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub span: String,
}

impl Traces {
    /// Readies the sending, and the layer that makes traces of spans, if a collector is configured.
    pub(super) fn start(config: &Telemetry) -> Result<(Self, Option<AnyLayer>), String> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok((Self::default(), None)) };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(PATIENCE)
            // The next batch is the next try.
            .with_retry_policy(RetryPolicy::disabled());
        let exporter = if endpoint.starts_with("https:") {
            exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots())
        } else {
            exporter
        };
        let exporter = exporter.build().map_err(|error| format!("telemetry.otlp_endpoint: {error}"))?;
        let queue = BatchConfigBuilder::default().with_max_queue_size(WAITING).build();
        let exporter = Exporter { inner: exporter, failing: Mutex::new(false) };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(queue).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.trace_ratio))))
            .with_resource(
                Resource::builder()
                    .with_service_name("countersign")
                    .with_attribute(opentelemetry::KeyValue::new(
                        "service.version",
                        env!("CARGO_PKG_VERSION"),
                    ))
                    .build(),
            )
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("countersign"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(
                filter_fn(|metadata| metadata.is_span() && is_ours(metadata) && !is_log_only(metadata))
                    .with_max_level_hint(LevelFilter::INFO),
            );
        ON.store(true, Relaxed);
        Ok((Self(Some(provider)), Some(Box::new(layer))))
    }

    /// Sends what waits, within a few seconds.
    pub fn finish(self) {
        if let Some(provider) = self.0 {
            // What cannot be sent now is lost; that the collector is away was logged.
            let _ = provider.shutdown_with_timeout(LAST);
        }
    }
}

/// Whether this is a span of ours, up to the level that traces are made of.
pub(super) fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("countersign") && *metadata.level() <= LevelFilter::INFO
}

fn is_log_only(metadata: &Metadata<'_>) -> bool {
    metadata.target() == super::request::TARGET
}

/// Makes `span` part of the trace that its caller's headers name (W3C Trace Context), if they do, else where it `may_begin` one
/// the root of another, and says what it is called. `None` where it is not traced. To be called before the span is entered.
pub fn adopt(span: &Span, headers: &dyn Extractor, may_begin: bool) -> Option<Ids> {
    if span.is_disabled() || !is_on() {
        return None;
    }
    let parent = TraceContextPropagator::new().extract(headers);
    let parent = if parent.has_active_span() { Some(parent) } else { (!may_begin).then(untraced) };
    if let Some(parent) = parent {
        // It fails where nobody traces.
        let _ = span.set_parent(parent);
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    let ids = || Ids { trace: context.trace_id().to_string(), span: context.span_id().to_string() };
    context.is_sampled().then(ids)
}

/// A parent that is not kept, so that nothing below it is. It is called anything but nothing, which would be no parent.
fn untraced() -> Context {
    let (trace, span) = (TraceId::from(1_u128), SpanId::from(1_u64));
    let parent = SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, true, TraceState::NONE);
    Context::new().with_remote_span_context(parent)
}

/// Says which route the span that runs now has turned out to be of.
pub fn name_route(method: &str, route: &str) {
    if is_on() {
        let span = Span::current();
        span.record("http.route", route);
        // By name `record` would change nothing: the span has begun.
        span.context().span().update_name(format!("{method} {route}"));
    }
}

/// Whether these headers want their request to be traced.
pub fn is_wanted(headers: &dyn Extractor) -> bool {
    let parent = TraceContextPropagator::new().extract(headers);
    parent.span().span_context().is_sampled()
}

/// The exporter, which tells when the collector goes away and when it is back.
#[derive(Debug)]
struct Exporter {
    inner: SpanExporter,
    failing: Mutex<bool>,
}

impl opentelemetry_sdk::trace::SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.inner.export(batch).await;
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match (std::mem::replace(&mut *failing, outcome.is_err()), &outcome) {
            (false, Err(cause)) => {
                tracing::warn!(%cause, "traces are lost: the collector does not take them");
            }
            (true, Ok(())) => tracing::info!("the collector takes traces again"),
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
