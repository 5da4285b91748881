//! What happens without a request. Like a request it enters through `domain`.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{self, Domain, SealedValues},
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
        let (mut ticks, mut untidy) = (ticks(HOUSEKEEPING), Untidy::default());
        while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
            untidy.tidy(&domain).await;
        }
        untidy.tidy(&domain).await;
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
    let mut unread = Complaint::default();
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
        for mail in unread.about("mails are not read", claimed).unwrap_or_default() {
            sending.spawn(Arc::clone(&domain).deliver(mail));
        }
    }
    if timeout(drain_timeout, sending.join_all()).await.is_err() {
        tracing::warn!("mails were cut off after server.drain_timeout; they will be sent again");
    }
}

/// Removes what is over, until `stopped`.
pub async fn sweep(domain: Arc<Domain>, stopped: CancellationToken) {
    let (mut ticks, mut unswept) = (ticks(SWEEP), Complaint::default());
    while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
        // What is under way when the service stops is rolled back, and done by the next.
        let Some(swept) = stopped.run_until_cancelled(domain.sweep()).await else { return };
        if let Some(rows @ 1..) = unswept.about("not all that is over was swept", swept) {
            tracing::debug!(rows, "swept");
        }
    }
}

/// Makes the next signing key when it is time, until `stopped`. At some moment of each minute, so that replicas that have started
/// together do not all ask at once; of those that do, one makes it.
pub async fn rotate_keys(domain: Arc<Domain>, stopped: CancellationToken) {
    let (mut wait, mut unknown) = (ROTATE.mul_f64(fraction()), Complaint::default());
    while stopped.run_until_cancelled(sleep(wait)).await.is_some() {
        let rotated = stopped.run_until_cancelled(domain.rotate_signing_key_if_due()).await;
        let Some(rotated) = rotated else { return };
        unknown.about("whether a signing key is to be made is not known", rotated);
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
    let (mut ticks, mut told, mut unsealed) = (ticks(REWRAP), None, Complaint::default());
    while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(found) = stopped.run_until_cancelled(domain.rewrap()).await else { return };
        let Some(found) = unsealed.about("not all was sealed anew under secrets.master_key", found) else {
            continue;
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

/// What fails again and again is told once for each time that it begins to: while the database is away, say.
#[derive(Debug, Default)]
struct Complaint {
    failing: bool,
}

impl Complaint {
    /// What came of it, told if it failed and did not before.
    fn about<T>(&mut self, what: &str, done: domain::Result<T>) -> Option<T> {
        if let (Err(error), false) = (&done, self.failing) {
            tracing::warn!(cause = ?error, "{what}");
        }
        self.failing = done.is_err();
        done.ok()
    }
}

/// What the house is kept of, and what went wrong with it the last time.
#[derive(Debug, Default)]
struct Untidy {
    usage: Complaint,
    successors: Complaint,
}

impl Untidy {
    async fn tidy(&mut self, domain: &Domain) {
        self.usage.about("uses of keys were not written", domain.write_usage().await);
        self.successors
            .about("used refresh tokens' successors were not forgotten", domain.forget_successors().await);
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tracing::{Event, Subscriber, subscriber::with_default};
    use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry};

    use super::*;

    /// Counts the lines of the log.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_fails_again_and_again_is_told_once_each_time_that_it_begins_to() {
        let (lines, mut complaint) = (Lines::default(), Complaint::default());
        let fail = || Err(domain::Error::NotFound("thing"));
        with_default(registry().with(lines.clone()), || {
            for (done, told) in [(fail(), 1), (fail(), 1), (Ok(7), 1), (fail(), 2), (fail(), 2)] {
                let expected = done.as_ref().ok().copied();
                assert_eq!(complaint.about("it failed", done), expected);
                assert_eq!(lines.0.load(Ordering::Relaxed), told);
            }
        });
    }
}
