//! What happens without a request. Like a request it enters through `domain`.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::domain::Domain;

/// How often it is asked whether the database answers, and how long it may take to.
const PROBE: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often what is over is removed.
const SWEEP: Duration = Duration::from_mins(1);

/// How often mails are looked for that another replica has written, or that are due again.
const MAIL_POLL: Duration = Duration::from_secs(1);

/// How often uses of keys are written, and successors of refresh tokens forgotten; and how long the last time may take.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
const LAST_TIMEOUT: Duration = Duration::from_secs(5);

/// Says whether the service is ready until `stopping`. Then `ready` is dropped: who is going away is not.
pub async fn watch_readiness(domain: Arc<Domain>, ready: watch::Sender<bool>, stopping: CancellationToken) {
    stopping.run_until_cancelled(probe(&domain, &ready)).await;
}

/// Writes down and forgets what can wait, until `stopped`, and then a last time. A database that hangs does not hold the
/// exit up.
pub async fn keep_house(domain: Arc<Domain>, stopped: CancellationToken) {
    let work = async {
        let mut ticks = ticks(HOUSEKEEPING);
        while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
            tidy(&domain).await;
        }
        tidy(&domain).await;
    };
    let late = async {
        stopped.cancelled().await;
        sleep(LAST_TIMEOUT).await;
    };
    tokio::select! {
        () = work => {}
        () = late => tracing::warn!("the last uses of keys were not written: the database does not answer"),
    }
}

/// Sends mails until `stopped`: at once those that this replica has written, soon those that others have, or that are due
/// again. What is being sent then has some seconds to be accepted.
pub async fn deliver_mails(domain: Arc<Domain>, stopped: CancellationToken) {
    let work = async {
        let mut ticks = ticks(MAIL_POLL);
        let mut failing = false;
        loop {
            let next = async {
                tokio::select! { _ = ticks.tick() => {}, () = domain.mail_written() => {} }
            };
            if stopped.run_until_cancelled(next).await.is_none() {
                return;
            }
            while let Some(round) = unless(&stopped, domain.deliver_mails()).await {
                // Once for each time that the database goes away.
                match &round {
                    Err(error) if !failing => tracing::warn!(cause = ?error, "mails are not read"),
                    _ => {}
                }
                failing = round.is_err();
                if !matches!(round, Ok(true)) {
                    break;
                }
            }
        }
    };
    let late = async {
        stopped.cancelled().await;
        sleep(LAST_TIMEOUT).await;
    };
    tokio::select! { () = work => {}, () = late => {} }
}

/// Does it, unless `stopped` already.
async fn unless<T>(stopped: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    if stopped.is_cancelled() { None } else { Some(work.await) }
}

/// Removes what is over, until `stopped`.
pub async fn sweep(domain: Arc<Domain>, stopped: CancellationToken) {
    let mut ticks = ticks(SWEEP);
    while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
        // What is under way when the service stops is rolled back, and done by the next.
        match stopped.run_until_cancelled(domain.sweep()).await {
            Some(Ok(0)) | None => {}
            Some(Ok(rows)) => tracing::debug!(rows, "swept"),
            Some(Err(error)) => tracing::warn!(cause = ?error, "not all that is over was swept"),
        }
    }
}

async fn tidy(domain: &Domain) {
    if let Err(error) = domain.write_usage().await {
        tracing::warn!(cause = ?error, "uses of keys were not written");
    }
    if let Err(error) = domain.forget_successors().await {
        tracing::warn!(cause = ?error, "used refresh tokens' successors were not forgotten");
    }
}

/// Ready is who can answer: while the database is away, others should be asked.
async fn probe(domain: &Domain, ready: &watch::Sender<bool>) {
    let mut ticks = ticks(PROBE);
    let mut told = None;
    loop {
        ticks.tick().await;
        let answer = timeout(PROBE_TIMEOUT, domain.ping()).await;
        let answers = matches!(answer, Ok(Ok(())));
        if told.replace(answers) == Some(answers) {
            continue;
        }
        match answer {
            Ok(Ok(())) => tracing::info!("ready"),
            Ok(Err(error)) => tracing::warn!(cause = ?error, "not ready: the database does not answer"),
            Err(_) => tracing::warn!("not ready: the database does not answer within {PROBE_TIMEOUT:?}"),
        }
        ready.send_replace(answers);
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
