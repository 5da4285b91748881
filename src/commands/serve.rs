//! `countersign serve`

use std::{net::SocketAddr, process};

use countersign::{
    app::{self, App},
    config::{Config, LogFormat},
    types::Clock,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, print};
use crate::Exit;

/// What a shell reports of a process that was ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Serves until the first signal, then drains; a second one, or one that comes before it serves, ends it at once.
pub(crate) async fn run(config: &Config) -> Result<Exit, Failure> {
    let (started, stop) = (CancellationToken::new(), CancellationToken::new());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn({
        let (started, stop) = (started.clone(), stop.clone());
        async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if started.is_cancelled() {
                stop.cancel();
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                tracing::warn!("second signal: ending at once");
            }
            process::exit(INTERRUPTED);
        }
    });
    let app = App::build(config, Clock::System).await?;
    let (address, internal) = (app.address()?, app.internal_address()?);
    started.cancel();
    let version = env!("CARGO_PKG_VERSION");
    match internal {
        None => tracing::info!(%address, version, "listening on {address}"),
        Some(internal) => {
            tracing::info!(%address, internal_address = %internal, version, "listening on {address}, and for services on {internal}");
        }
    }
    if config.telemetry.log_format == LogFormat::Text {
        // A courtesy: nobody reads it where standard output is closed.
        let _ = print(&welcome(config, address, internal));
    }
    app.run_until(stop.cancelled()).await;
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// Where it listens, and something to paste.
fn welcome(config: &Config, address: SocketAddr, internal: Option<SocketAddr>) -> String {
    let scheme = if config.server.tls.cert.is_some() { "https" } else { "http" };
    let internal = internal.map_or_else(String::new, |internal| {
        format!("  internal    {scheme}://{internal} (for services and gateways)\n")
    });
    let key = app::generated_master_key(config).map_or_else(String::new, |path| {
        format!("  master key  {} (back it up with the database)\n", path.display())
    });
    format!(
        r#"
Countersign {version}
  listening   {scheme}://{address} (gRPC, gRPC-web and REST)
{internal}  openapi     {scheme}://{address}/openapi.json
{key}
Try it in another terminal:

  curl -s {scheme}://{address}/api/v1/auth/register -H 'content-type: application/json' \
    -d '{{"email": "user@example.com", "password": "securepass", "name": "Alice"}}'
"#,
        version = env!("CARGO_PKG_VERSION"),
    )
}
