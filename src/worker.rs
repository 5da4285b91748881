//! What happens without a request. Like a request it enters through `domain`.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{api::Health, domain::Domain};

/// How often it is asked whether the database answers.
const PROBE: Duration = Duration::from_secs(1);
/// How often uses of keys are written.
const WRITE_USAGE: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
pub async fn run(domain: Arc<Domain>, health: Health) {
    tokio::join!(probe(&domain, &health), write_usage(&domain));
}

/// What is still to be done at the end.
pub async fn finish(domain: &Domain) {
    if let Err(error) = domain.write_usage().await {
        tracing::warn!(%error, "the last uses of keys were not written");
    }
}

/// Ready is who can answer: while the database is away, others should be asked.
async fn probe(domain: &Domain, health: &Health) {
    let mut ticks = ticks(PROBE);
    let mut ready = true;
    loop {
        ticks.tick().await;
        let answers = domain.ping().await;
        if answers.is_ok() != ready {
            ready = answers.is_ok();
            match answers {
                Ok(()) => tracing::info!("the database answers again; ready"),
                Err(error) => tracing::warn!(cause = ?error, "the database does not answer; not ready"),
            }
            health.set(ready).await;
        }
    }
}

async fn write_usage(domain: &Domain) {
    let mut ticks = ticks(WRITE_USAGE);
    loop {
        ticks.tick().await;
        if let Err(error) = domain.write_usage().await {
            tracing::warn!(%error, "uses of keys were not written");
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
