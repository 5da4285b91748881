//! Logs, to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Telemetry};

/// Whatever is configured: the driver writes every parameter of a query into its debug log, password hashes included
/// (S57), and anybody can make h2 warn as often as they like.
const QUIET: [&str; 2] = ["tokio_postgres=info", "h2=error"];

/// Begins to log. Only the first call has an effect.
pub fn init(config: &Telemetry) {
    let mut filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    for quiet in QUIET.iter().filter_map(|directive| directive.parse().ok()) {
        filter = filter.add_directive(quiet);
    }
    let mut builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // On a terminal it is for NO_COLOR to say.
    if !io::stderr().is_terminal() {
        builder = builder.with_ansi(false);
    }
    // An error means that logging was set up before, as in a test.
    let _ = match config.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
