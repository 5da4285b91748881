//! What the operator may want to know: whether this replica can answer, and the numbers behind it. Read when somebody asks;
//! what has to be counted, its owner counts.

use std::time::Duration;

use tokio::time::timeout;

use super::{Domain, Error, Result};
use crate::{
    crypto::password::HashStats,
    mail::Content,
    store::{self, PoolStats, mails},
    telemetry::tally::Tally,
};

/// How long the database may take to say which mails wait: nobody waits longer for the other numbers.
const PATIENCE: Duration = Duration::from_secs(1);

/// The numbers of this replica.
#[derive(Debug)]
pub struct Stats {
    /// Password hashing.
    pub passwords: HashStats,
    /// Verified access tokens.
    pub tokens: CacheStats,
    /// What is known of API keys.
    pub keys: CacheStats,
    /// Connections to the database.
    pub connections: PoolStats,
    /// How old the knowledge of revocations is; `None` before there is any.
    pub knowledge_age: Option<Duration>,
    /// Ended sessions that are held in memory.
    pub ended_sessions: usize,
    /// Who watches revocations here.
    pub watchers: usize,
    /// What has become of mails, by kind.
    pub mails: Vec<(&'static str, Outcomes)>,
    /// How long the signing key has been signing; `None` when there is none.
    pub signing_key_age: Option<Duration>,
    /// The signing keys.
    pub signing_keys: KeyStats,
}

/// A cache.
#[derive(Debug, Clone, Copy)]
pub struct CacheStats {
    /// Questions that it could answer.
    pub hits: u64,
    /// Questions that it could not.
    pub misses: u64,
    /// What it holds.
    pub entries: usize,
}

/// Tries to send mails.
#[derive(Debug, Clone, Copy)]
pub struct Outcomes {
    /// Accepted by the way out.
    pub sent: u64,
    /// Not accepted; they are tried again.
    pub failed: u64,
    /// Given up.
    pub dead: u64,
}

/// Signing keys by what they are for now.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyStats {
    /// Will sign.
    pub next: usize,
    /// Signs.
    pub signing: usize,
    /// Verifies what it has signed.
    pub retiring: usize,
}

/// What has become of a mail, as it is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum MailOutcome {
    Sent,
    Failed,
    Dead,
}

const OUTCOMES: usize = 3;

/// Mails by kind and outcome.
#[derive(Default)]
pub(super) struct MailTally(Tally<{ Content::KINDS.len() * OUTCOMES }>);

impl MailTally {
    pub(super) fn count(&self, kind: &str, outcome: MailOutcome) {
        if let Some(at) = Content::KINDS.iter().position(|known| *known == kind) {
            self.0.count(at * OUTCOMES + outcome as usize);
        }
    }

    fn read(&self) -> Vec<(&'static str, Outcomes)> {
        let totals = self.0.totals();
        let outcomes = totals.chunks_exact(OUTCOMES).map(|by_outcome| Outcomes {
            sent: by_outcome[MailOutcome::Sent as usize],
            failed: by_outcome[MailOutcome::Failed as usize],
            dead: by_outcome[MailOutcome::Dead as usize],
        });
        Content::KINDS.into_iter().zip(outcomes).collect()
    }
}

/// How often a cache could answer.
#[derive(Debug, Default)]
pub(super) struct CacheTally(Tally<2>);

impl CacheTally {
    pub(super) fn hit(&self) {
        self.0.count(0);
    }

    pub(super) fn miss(&self) {
        self.0.count(1);
    }

    pub(super) fn read(&self, entries: usize) -> CacheStats {
        let [hits, misses] = self.0.totals();
        CacheStats { hits, misses, entries }
    }
}

impl Domain {
    /// Everything that keeps this replica from answering for credentials. Without the database it answers for a while, since
    /// the others have none, either.
    pub fn why_not_ready(&self) -> Vec<&'static str> {
        let old = (!self.is_fresh_enough())
            .then_some("the database has been away for longer than validation.max_staleness");
        let keyless = self.keys().signer(self.clock.now()).is_none().then_some("no signing key");
        old.into_iter().chain(keyless).collect()
    }

    /// The numbers, as far as they are known without asking anybody.
    pub fn stats(&self) -> Stats {
        let now = self.clock.now();
        let age = self.revocations.age();
        let keys = self.keys();
        let signer = keys.signer(now);
        let mut signing_keys = KeyStats::default();
        for key in keys.published(now) {
            match signer {
                Some(signer) if signer.kid == key.kid => signing_keys.signing += 1,
                _ if now < key.not_before_time => signing_keys.next += 1,
                _ => signing_keys.retiring += 1,
            }
        }
        Stats {
            passwords: self.passwords.stats(),
            tokens: self.verified_tokens.stats(),
            keys: self.key_records.stats(),
            connections: self.store.pool_stats(),
            knowledge_age: (age < Duration::MAX).then_some(age),
            ended_sessions: self.revocations.ended_sessions(),
            watchers: self.revocations.watchers(),
            mails: self.mail_tally.read(),
            signing_key_age: signer.map(|key| now.since(key.not_before_time)),
            signing_keys,
        }
    }

    /// How many mails wait, of all replicas, and for how long the oldest has.
    ///
    /// # Errors
    /// When the database does not answer at once.
    pub async fn waiting_mails(&self) -> Result<(u64, Option<Duration>)> {
        if self.is_away() {
            return Err(store::Error::Unavailable("it is away".into()).into());
        }
        let read = async {
            let mut conn = self.store.conn().await?;
            let (count, oldest) = mails::count_waiting(&mut conn).await?;
            let now = conn.now().await?;
            Ok::<_, Error>((u64::try_from(count).unwrap_or_default(), oldest.map(|oldest| now.since(oldest))))
        };
        let late = |_| store::Error::Unavailable("no answer at once".into());
        timeout(PATIENCE, read).await.map_err(late)?
    }
}
