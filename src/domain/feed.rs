//! Learning what other replicas, and commands beside the service, have changed; and knowing how old that knowledge is.
//!
//! A replica answers by what it knows while that is at most a second old. One that has not looked for longer, because it was
//! stopped or starved, looks first. One whose database is away goes on by what it knows, for `validation.max_staleness`.

use std::time::Duration;

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{Domain, Error, Result, keyring, tokens};
use crate::{
    store::{
        self, Store, Tx,
        changes::{self, Change},
        feed::{Cursor, Entry, Feed},
        users,
    },
    types::{Clock, Time},
};

/// How often the feed is looked at, whether or not somebody says that there is something to see.
const POLL: Duration = Duration::from_millis(250);
/// How old the knowledge may be that is answered by without further ado: a revocation is seen within a second (S34).
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// How long an answer is held up for fresher knowledge.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the database may be silent until it counts as away.
const SILENCE: Duration = Duration::from_secs(1);
/// Users read at once.
const USERS: usize = 500;

/// What is needed to look.
#[derive(Default)]
pub(super) struct Reader {
    feed: Option<Feed>,
    cursor: Cursor,
    /// What was read and not told to those who watch.
    untold: Vec<Entry>,
    /// What was read before is void.
    restarted: bool,
    /// The key ring changed, and has not been read since.
    keys_changed: bool,
}

/// How looking goes.
pub(super) struct Looking {
    /// Somebody here wants it to be done now.
    wanted: Notify,
    /// Something was changed here: the others want to know.
    changed: Notify,
    heard: watch::Sender<Heard>,
}

/// What is known of the database.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// When it was last known whether it answers; by [`Clock::uptime`].
    at: Duration,
    /// Whether it does not.
    away: bool,
}

impl Default for Looking {
    fn default() -> Self {
        Self { wanted: Notify::new(), changed: Notify::new(), heard: watch::Sender::default() }
    }
}

impl Domain {
    /// Writes down what the other replicas must learn. This one knows it as soon as it is committed.
    pub(super) async fn tell(&self, tx: &mut Tx, all: &[Change], now: Time, expire_time: Time) -> Result<()> {
        changes::insert(tx, all, now, expire_time).await?;
        let (revocations, looking) = (self.revocations.clone(), self.looking.clone());
        let all = all.to_vec();
        tx.after_commit(move || {
            revocations.apply_own(&all, expire_time);
            looking.changed.notify_one();
        });
        Ok(())
    }

    /// Looks at the change feed, again and again.
    pub async fn follow_changes(&self) {
        let mut reader = self.reader.lock().await;
        loop {
            let told = tokio::select! {
                () = sleep(POLL) => false,
                () = self.looking.wanted.notified() => false,
                () = self.looking.changed.notified() => true,
                () = reader.notified() => false,
            };
            if told {
                reader.notify().await;
            }
            self.look(&mut reader).await;
        }
    }

    /// Looks at the change feed for the first time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_following(&self) -> Result<(), keyring::LoadError> {
        self.read_changes(&mut *self.reader.lock().await).await
    }

    /// Looks once, and says how it went to whoever waits for it.
    async fn look(&self, reader: &mut Reader) {
        let mut looking = Box::pin(self.read_changes(reader));
        let mut silent = Duration::ZERO;
        let outcome = loop {
            let began = Clock::uptime();
            if let Ok(outcome) = timeout(PATIENCE, &mut looking).await {
                break outcome;
            }
            // Unless it was this process that was held up: then the answer may be here.
            if Clock::uptime().saturating_sub(began) < PATIENCE * 2 {
                silent += PATIENCE;
                // Whoever waits is told that there is no answer yet.
                self.hear(silent >= SILENCE, &"it does not answer");
            }
        };
        match outcome {
            Ok(()) => self.hear(false, &""),
            Err(error) => self.hear(true, &error),
        }
    }

    fn hear(&self, away: bool, why: &dyn std::fmt::Display) {
        let at = Clock::uptime();
        let before = self.looking.heard.send_replace(Heard { at, away });
        let patience = self.settings.max_staleness;
        match (before.away, away) {
            (false, true) => tracing::warn!(
                cause = %why,
                "the database is away: tokens, and keys that are known, are answered from memory for {patience:?}"
            ),
            (true, false) => tracing::info!("the database is back"),
            _ => {}
        }
    }

    async fn read_changes(&self, reader: &mut Reader) -> Result<(), keyring::LoadError> {
        let had_connection = reader.feed.is_some();
        let read = self.read_changes_once(reader).await;
        match read {
            // The connection may be dead, and the database well.
            Err(_) if had_connection => {
                reader.feed = None;
                self.read_changes_once(reader).await
            }
            read => read,
        }
        .inspect_err(|_| reader.feed = None)
    }

    async fn read_changes_once(&self, reader: &mut Reader) -> Result<(), keyring::LoadError> {
        let Reader { feed, cursor, untold, restarted, keys_changed } = reader;
        let feed = connected(feed, &self.store).await?;
        let (uptime, now) = (Clock::uptime(), self.clock.now());
        let batch = feed.read(cursor, now - tokens::CLOCK_SKEW).await?;
        self.revocations.apply(&batch.entries, batch.restarted, cursor.position(), now);
        *restarted |= batch.restarted;
        *keys_changed |= batch.restarted
            || batch.entries.iter().any(|entry| entry.change == Some(Change::SigningKeysChanged));
        untold.extend(batch.entries);

        let epoch = self.revocations.epoch();
        for ids in self.revocations.unread_users().chunks(USERS) {
            let mut owners = users::find_owners(feed.conn(), ids).await?;
            for id in ids {
                self.revocations.set_user(*id, epoch, owners.remove(id));
            }
        }
        if *keys_changed {
            let ring = keyring::read(feed.conn(), &self.master_key).await?;
            self.set_keys(ring);
            *keys_changed = false;
        }
        self.revocations.known_as_of(uptime, now, std::mem::take(untold), std::mem::take(restarted));
        Ok(())
    }

    /// Makes sure that what is known is recent enough to answer by.
    ///
    /// # Errors
    /// `StorageUnavailable` when it is older than `validation.max_staleness`.
    pub(super) async fn catch_up(&self) -> Result<()> {
        if self.revocations.age() <= FRESH { Ok(()) } else { self.catch_up_first().await }
    }

    #[cold]
    async fn catch_up_first(&self) -> Result<()> {
        let mut heard = self.looking.heard.subscribe();
        let recent = |heard: &Heard| Clock::uptime().saturating_sub(heard.at) <= FRESH;
        let looked = async {
            self.looking.wanted.notify_one();
            // The first that is heard may be of a look from before.
            while self.revocations.age() > FRESH && !recent(&heard.borrow_and_update()) {
                if heard.changed().await.is_err() {
                    break;
                }
            }
        };
        // In vain: then by what is known.
        let _ = timeout(PATIENCE, looked).await;
        if self.is_fresh_enough() {
            Ok(())
        } else {
            Err(unavailable("what is known of revocations is too old"))
        }
    }

    /// Waits a moment until this position has been reached, if it has not been: another replica may be ahead.
    pub(super) async fn catch_up_to(&self, position: i64) {
        let mut heard = self.looking.heard.subscribe();
        let reached = async {
            while self.revocations.position() < position {
                self.looking.wanted.notify_one();
                if heard.changed().await.is_err() {
                    break;
                }
            }
        };
        // In vain: then it is of another database.
        let _ = timeout(PATIENCE, reached).await;
    }

    /// Whether credentials can be answered: what is known is not older than `validation.max_staleness`.
    pub fn is_fresh_enough(&self) -> bool {
        self.revocations.age() <= self.settings.max_staleness
    }

    /// Reads from the database, unless it is known to be away, or is found to be meanwhile: an answer in vain is not waited
    /// for.
    pub(super) async fn unless_away<T>(&self, read: impl Future<Output = Result<T>>) -> Result<T> {
        let mut heard = self.looking.heard.subscribe();
        tokio::select! {
            biased;
            gone = heard.wait_for(|heard| heard.away) => {
                drop(gone);
                Err(unavailable("it is away"))
            }
            read = read => read,
        }
    }
}

impl Reader {
    /// Waits for another replica's word; for ever when that cannot come.
    async fn notified(&mut self) {
        match &mut self.feed {
            None => std::future::pending().await,
            Some(feed) => {
                if feed.notified().await.is_err() {
                    // The next look connects anew, at once.
                    self.feed = None;
                }
            }
        }
    }

    /// Sends word to the other replicas. They look in any case: it only makes them look sooner.
    async fn notify(&mut self) {
        if let Some(feed) = &mut self.feed
            && feed.notify().await.is_err()
        {
            self.feed = None;
        }
    }
}

async fn connected<'a>(feed: &'a mut Option<Feed>, store: &Store) -> Result<&'a mut Feed, store::Error> {
    let open = match feed.take() {
        Some(open) => open,
        None => store.open_feed().await?,
    };
    Ok(feed.insert(open))
}

fn unavailable(why: &str) -> Error {
    Error::StorageUnavailable(store::Error::Unavailable(why.to_owned()))
}
