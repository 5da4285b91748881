//! What happens without a request. Like a request it enters through `domain`.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{api::Health, domain::Domain};

/// How often it is asked whether the database answers.
const PROBE: Duration = Duration::from_secs(1);
/// How often uses of keys are written, and successors of refresh tokens forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Says how the service is until `stopping`, then that it is going away.
pub async fn watch_health(domain: Arc<Domain>, health: Health, stopping: CancellationToken) {
    stopping.run_until_cancelled(probe(&domain, &health)).await;
    health.set(false).await;
}

/// Writes down and forgets what can wait, until `stopped`, and then a last time.
pub async fn keep_house(domain: Arc<Domain>, stopped: CancellationToken) {
    let mut ticks = ticks(HOUSEKEEPING);
    let mut last = false;
    while !last {
        last = stopped.run_until_cancelled(ticks.tick()).await.is_none();
        if let Err(error) = domain.write_usage().await {
            tracing::warn!(cause = ?error, "uses of keys were not written");
        }
        if let Err(error) = domain.forget_successors().await {
            tracing::warn!(cause = ?error, "used refresh tokens' successors were not forgotten");
        }
    }
}

/// Ready is who can answer: while the database is away, others should be asked.
async fn probe(domain: &Domain, health: &Health) {
    let mut ticks = ticks(PROBE);
    let mut ready = None;
    loop {
        ticks.tick().await;
        let answers = domain.ping().await;
        if ready == Some(answers.is_ok()) {
            continue;
        }
        match &answers {
            Ok(()) => tracing::info!("ready"),
            Err(error) => tracing::warn!(cause = ?error, "not ready: the database does not answer"),
        }
        ready = Some(answers.is_ok());
        health.set(answers.is_ok()).await;
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
