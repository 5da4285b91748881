//! Logs, to standard error; and what numbers are counted with (`tally`).

pub mod tally;

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{LogFormat, Telemetry};

/// The most that these may log, whatever is configured: the driver writes every parameter of a query into its debug log,
/// password hashes included (S57), and anybody can make h2 warn as often as they like.
const AT_MOST: [(&str, Level); 2] = [("tokio_postgres", Level::INFO), ("h2", Level::ERROR)];

/// Begins to log. Only the first call has an effect.
pub fn init(config: &Telemetry) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let mut lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    // On a terminal it is for NO_COLOR to say.
    if !io::stderr().is_terminal() {
        lines = lines.with_ansi(false);
    }
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Text => Box::new(lines.with_target(false)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
    };
    // An error means that logging was set up before, as in a test.
    let _ = tracing_subscriber::registry().with(lines).with(filter_fn(may_be_logged)).with(filter).try_init();
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let limit = AT_MOST.iter().find(|(module, _)| {
        metadata.target().strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    limit.is_none_or(|(_, most)| metadata.level() <= most)
}
