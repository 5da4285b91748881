//! What happens without a request. Like a request it enters through `domain`.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Domain, SealedValues},
    types::random,
};

/// How often it is asked whether credentials can be answered for.
const PROBE: Duration = Duration::from_millis(250);

/// How often what is over is removed.
const SWEEP: Duration = Duration::from_mins(1);

/// How often, about, it is asked whether the next signing key is to be made. By so much a rotation may be late; and until it is
/// time, the question costs nothing, since memory answers it.
const ROTATE: Duration = Duration::from_mins(1);

/// How often it is looked for what is sealed under an earlier master key.
const REWRAP: Duration = Duration::from_mins(1);

/// How often mails are looked for that another replica has written, or that are due again.
const MAIL_POLL: Duration = Duration::from_secs(1);

/// Mails that are sent at once.
const MAILS_AT_ONCE: usize = 8;

/// How often uses of keys are written, and successors of refresh tokens forgotten; and how long the last time may take.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
const LAST_TIMEOUT: Duration = Duration::from_secs(5);

/// Learns what other replicas change, until `stopped`: while calls are under way.
pub async fn follow_changes(domain: Arc<Domain>, stopped: CancellationToken) {
    stopped.run_until_cancelled(domain.follow_changes()).await;
}

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

/// Sends mails until `draining`: at once those that this replica has written, soon those that others have, or that are due
/// again. What is being sent then may take until `drain_timeout`: cut off it may be sent twice.
pub async fn deliver_mails(domain: Arc<Domain>, draining: CancellationToken, drain_timeout: Duration) {
    let mut sending = JoinSet::new();
    let mut ticks = ticks(MAIL_POLL);
    let mut failing = false;
    loop {
        tokio::select! {
            () = draining.cancelled() => break,
            _ = ticks.tick() => {}
            () = domain.mail_written() => {}
            // There is room for one more.
            Some(_) = sending.join_next() => {}
        }
        let claimed = match MAILS_AT_ONCE - sending.len() {
            0 => continue,
            room => domain.claim_mails(room).await,
        };
        // Once for each time that the database goes away.
        if let (Err(error), false) = (&claimed, failing) {
            tracing::warn!(cause = ?error, "mails are not read");
        }
        failing = claimed.is_err();
        for mail in claimed.unwrap_or_default() {
            sending.spawn(Arc::clone(&domain).deliver(mail));
        }
    }
    if timeout(drain_timeout, sending.join_all()).await.is_err() {
        tracing::warn!("mails were cut off after server.drain_timeout; they will be sent again");
    }
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

/// Makes the next signing key when it is time, until `stopped`. At some moment of each minute, so that replicas that have started
/// together do not all ask at once; of those that do, one makes it.
pub async fn rotate_keys(domain: Arc<Domain>, stopped: CancellationToken) {
    let mut wait = ROTATE.mul_f64(fraction());
    while stopped.run_until_cancelled(sleep(wait)).await.is_some() {
        if let Some(Err(error)) = stopped.run_until_cancelled(domain.rotate_signing_key_if_due()).await {
            tracing::warn!(cause = ?error, "whether a signing key is to be made is not known");
        }
        wait = ROTATE.mul_f64(0.5 + fraction());
    }
}

/// Seals what is sealed under a master key before the present one anew, until `stopped`: at the start, and again and again, since
/// a replica with another present key may still run. What it finds is told when it is of another kind than before, so whoever waits
/// for the old key to be needed no more asks (`countersign master-key check`).
pub async fn rewrap(domain: Arc<Domain>, stopped: CancellationToken) {
    if !domain.has_previous_master_keys() {
        return;
    }
    let (mut ticks, mut told) = (ticks(REWRAP), None);
    while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
        let found = match stopped.run_until_cancelled(domain.rewrap()).await {
            None => return,
            Some(Err(error)) => {
                tracing::warn!(cause = ?error, "not all was sealed anew under secrets.master_key");
                continue;
            }
            Some(Ok(found)) => found,
        };
        let news = (found.previous > 0, found.unknown > 0);
        if told.replace(news) == Some(news) {
            continue;
        }
        let SealedValues { previous, unknown, .. } = found;
        if unknown > 0 {
            tracing::error!(unknown, "sealed under a master key that is not configured");
        } else {
            tracing::info!(
                sealed_anew = previous,
                "everything is sealed under secrets.master_key: once no replica has another one as that, \
                 `countersign master-key check` tells whether secrets.previous_master_keys may be emptied"
            );
        }
    }
}

/// Anything from 0 to 1.
fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(random::bytes())) / f64::from(u32::MAX)
}

async fn tidy(domain: &Domain) {
    if let Err(error) = domain.write_usage().await {
        tracing::warn!(cause = ?error, "uses of keys were not written");
    }
    if let Err(error) = domain.forget_successors().await {
        tracing::warn!(cause = ?error, "used refresh tokens' successors were not forgotten");
    }
}

/// Ready is who can answer for credentials: also for a while without the database, since the others have none, either.
async fn probe(domain: &Domain, ready: &watch::Sender<bool>) {
    let mut ticks = ticks(PROBE);
    let mut told = None;
    loop {
        ticks.tick().await;
        let reasons = domain.why_not_ready();
        let answers = reasons.is_empty();
        if told.replace(answers) == Some(answers) {
            continue;
        }
        if answers {
            tracing::info!("ready");
        } else {
            tracing::warn!("not ready: {}", reasons.join(", "));
        }
        ready.send_replace(answers);
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
