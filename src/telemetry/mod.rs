//! Logs, to standard error; traces, to a collector (`traces`); what a request is called in both (`request`); and what numbers
//! are counted with (`tally`).

pub mod request;
pub mod tally;
pub mod traces;

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

use crate::config::{LogFormat, Telemetry};
use traces::Traces;

/// The most that these may log, whatever is configured: the driver writes every parameter of a query into its debug log,
/// password hashes included (S57), and anybody can make h2 warn as often as they like.
const AT_MOST: [(&str, Level); 2] = [("tokio_postgres", Level::INFO), ("h2", Level::ERROR)];

/// Begins to log, and to trace where a collector is configured. Only the first call has an effect. To be called within the
/// runtime, which traces are sent by.
///
/// # Errors
/// Why traces cannot be sent to where they are to go.
pub fn init(config: &Telemetry) -> Result<Traces, String> {
    let (traces, layer) = Traces::start(config)?;
    // An error means that logging was set up before, as in a test.
    let _ = subscriber(config, layer).try_init();
    Ok(traces)
}

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What nobody wants has to be off where it would be made: h2 alone has a dozen spans for each call. So each layer has a filter
/// that knows the most it lets pass, and a layer that is not there is not in the list: as `None` it would want everything.
fn subscriber(config: &Telemetry, traces: Option<AnyLayer>) -> impl Subscriber + Send + Sync {
    let level = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let with_traces = traces.is_some();
    // Spans are no lines, but tell which request a line belongs to, at whatever level lines are written.
    let spans = filter_fn(move |metadata| is_context(metadata, with_traces));
    let events = filter_fn(|metadata| !metadata.is_span() && may_be_logged(metadata));
    let events = events.with_max_level_hint(LevelFilter::TRACE);
    let filter = spans.with_max_level_hint(LevelFilter::INFO).or(level.and(events));
    let lines: AnyLayer = Box::new(lines(config.log_format).with_filter(filter));
    registry().with([Some(lines), traces].into_iter().flatten().collect::<Vec<_>>())
}

fn lines(format: LogFormat) -> AnyLayer {
    match format {
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
            // On a terminal it is for NO_COLOR to say.
            Box::new(if io::stderr().is_terminal() { lines } else { lines.with_ansi(false) })
        }
        LogFormat::Json => {
            let lines = json_subscriber::fmt::layer().with_writer(io::stderr).flatten_event(true);
            let mut lines = lines.with_current_span(false).with_span_list(false);
            lines.inner_layer_mut().add_multiple_dynamic_fields(|event, context, line| {
                let mut spans = context.event_scope(event).into_iter().flatten();
                let known = spans.find_map(|span| span.extensions().get::<request::Known>().cloned());
                for (name, value) in known.iter().flat_map(request::Known::fields) {
                    // It fails where the line cannot be written at all.
                    let _ = line.write_field(name, value);
                }
            });
            Box::new(lines)
        }
    }
}

fn is_context(metadata: &Metadata<'_>, with_traces: bool) -> bool {
    metadata.is_span() && (metadata.target() == request::TARGET || with_traces && traces::is_ours(metadata))
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let limit = AT_MOST.iter().find(|(module, _)| {
        metadata.target().strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    limit.is_none_or(|(_, most)| metadata.level() <= most)
}

#[cfg(test)]
mod tests {
    use tracing::{span_enabled, subscriber::with_default};

    use super::*;

    fn config(log_level: &str) -> Telemetry {
        Telemetry {
            log_format: LogFormat::Json,
            log_level: log_level.to_owned(),
            otlp_endpoint: None,
            trace_ratio: 1.0,
        }
    }

    #[test]
    fn what_nobody_wants_is_off_where_it_would_be_made() {
        let default = subscriber(&config("info"), None);
        assert_eq!(default.max_level_hint(), Some(LevelFilter::INFO));
        for subscriber in [default, subscriber(&config("info,countersign=trace"), None)] {
            with_default(subscriber, || {
                assert!(!span_enabled!(target: "h2", Level::DEBUG));
                assert!(!span_enabled!(target: "countersign::domain", Level::INFO));
                assert!(span_enabled!(target: request::TARGET, Level::ERROR));
            });
        }
    }
}
