//! Logs, to standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Telemetry};

/// Begins to log. Only the first call has an effect.
pub fn init(config: &Telemetry) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error means that logging was set up before, as in a test.
    let _ = match config.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
