//! Learning what other replicas, and commands beside the service, have changed; and knowing how old that knowledge is.
//!
//! A replica answers by what it knows while that is at most a second old. One that has not looked for longer, because it was
//! stopped or starved, looks first. One whose database is away goes on by what it knows, for `validation.max_staleness`.

use std::time::Duration;

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tracing::Instrument;

use super::{Domain, Error, Result, keyring};
use crate::{
    store::{
        self, Tx,
        changes::{self, Change},
        feed::{Cursor, Entry, Feed, PageEnd},
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
    /// Which server was read.
    server: Option<Time>,
    /// What was read of it.
    from: Cursor,
    /// What was read of any.
    seen: Cursor,
    /// That is another than before: what was known of keys and users may be wrong.
    in_doubt: bool,
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
        let mut away = false;
        loop {
            let tell = if away {
                // Whatever is wanted: a database that comes up is not helped by being asked without a pause.
                sleep(POLL).await;
                false
            } else {
                tokio::select! {
                    () = sleep(POLL) => false,
                    () = self.looking.wanted.notified() => false,
                    () = self.looking.changed.notified() => true,
                    () = reader.notified() => false,
                }
            };
            away = !self.look(&mut reader, tell).await;
        }
    }

    /// Looks at the change feed for the first time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_following(&self) -> Result<(), keyring::LoadError> {
        self.read_changes(&mut *self.reader.lock().await, false).await
    }

    /// Looks once, and says how it went to whoever waits for it.
    async fn look(&self, reader: &mut Reader, tell: bool) -> bool {
        let mut looking = Box::pin(self.read_changes(reader, tell));
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
        match &outcome {
            Ok(()) => self.hear(false, &""),
            Err(error) => self.hear(true, error),
        }
        outcome.is_ok()
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

    /// `tell` says that others have something to read, too.
    async fn read_changes(&self, reader: &mut Reader, tell: bool) -> Result<(), keyring::LoadError> {
        let had_connection = reader.feed.is_some();
        let read = self.read_changes_once(reader, tell).await;
        match read {
            // The connection may be dead, and the database well.
            Err(_) if had_connection => {
                reader.feed = None;
                self.read_changes_once(reader, tell).await
            }
            read => read,
        }
        .inspect_err(|_| reader.feed = None)
    }

    async fn read_changes_once(&self, reader: &mut Reader, tell: bool) -> Result<(), keyring::LoadError> {
        if reader.feed.is_none() {
            let feed = self.store.open_feed().await?;
            if reader.server != Some(feed.server()) {
                // A standby that was promoted may lack the last changes that were seen, and have others in their place. So all
                // is read, and what it says counts.
                reader.from = Cursor::default();
                reader.in_doubt = true;
                reader.server = Some(feed.server());
            }
            reader.feed = Some(feed);
        }
        let Reader { feed: Some(feed), from, seen, in_doubt, untold, restarted, keys_changed, .. } = reader
        else {
            return Ok(());
        };
        let (uptime, as_of) = (Clock::uptime(), self.clock.now());
        let (cursor, now) = in_time(async {
            if tell {
                feed.notify().await?;
            }
            Ok((feed.cursor().await?, feed.conn().now().await?))
        })
        .await?;
        *restarted |= seen.is_ahead_of(&cursor);
        let mut page_end = Some(PageEnd::default());
        while let Some(after) = page_end {
            let (entries, end) = feed.page(from, after).await?;
            *keys_changed |= entries.iter().any(|entry| entry.change == Some(Change::SigningKeysChanged));
            untold.extend(self.revocations.apply(entries));
            page_end = end;
        }
        self.revocations.reached(cursor.position(), now);
        from.clone_from(&cursor);
        *seen = cursor;

        self.read_users(feed, *in_doubt).await?;
        if *keys_changed || *restarted {
            let known = |kid: &str| self.keys().find(kid).cloned();
            let read = keyring::read_again(feed.conn(), &self.master_key, known).await;
            match read {
                Ok(ring) => self.set_keys(ring),
                Err(error @ store::Error::Unavailable(_)) => return Err(error.into()),
                // Not a reason to know nothing else: the keys stay as they were.
                Err(error) => {
                    tracing::error!(cause = ?error, "the signing keys have changed and cannot be read");
                }
            }
            *keys_changed = false;
        }
        self.revocations.known_as_of(uptime, as_of, std::mem::take(untold), std::mem::take(restarted));
        if std::mem::take(in_doubt) {
            // Not before keys can be read again.
            self.revocations.void_records();
        }
        Ok(())
    }

    /// Reads the users that have changed since the last look, or at all.
    async fn read_users(&self, feed: &mut Feed, all: bool) -> Result<(), store::Error> {
        let epoch = self.revocations.epoch();
        let changed = if all { self.revocations.changed_users() } else { self.revocations.unread_users() };
        for ids in changed.chunks(USERS) {
            match users::find_owners(feed.conn(), ids).await {
                Ok(mut owners) => {
                    for id in ids {
                        self.revocations.set_user(*id, epoch, owners.remove(id));
                    }
                }
                Err(error @ store::Error::Unavailable(_)) => return Err(error),
                // One row that cannot be read. Validation reads these users' by themselves then, and refuses that one.
                Err(error) => {
                    tracing::error!(cause = ?error, "users that have changed cannot be read");
                    self.revocations.leave_unread(ids);
                }
            }
        }
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
            // The first that is heard may be of a look from before.
            while self.revocations.age() > FRESH && !recent(&heard.borrow_and_update()) {
                self.looking.wanted.notify_one();
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

    /// Whether the database is known not to answer.
    pub(super) fn is_away(&self) -> bool {
        self.looking.heard.borrow().away
    }

    /// Reads from the database for a validation, unless that is known to be away, or is found to be meanwhile: an answer in vain is
    /// not waited for. In a task of its own, so that a caller who leaves does not cost a connection, which everybody could make
    /// happen.
    pub(super) async fn read_apart<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let mut heard = self.looking.heard.subscribe();
        // What is known being fresh, it was heard from this moment.
        let is_away = |heard: &Heard| heard.away && self.revocations.age() > FRESH;
        if is_away(&heard.borrow_and_update()) {
            return Err(unavailable("it is away"));
        }
        let read = tokio::spawn(read.in_current_span());
        tokio::select! {
            biased;
            gone = heard.wait_for(is_away) => {
                drop(gone);
                Err(unavailable("it is away"))
            }
            read = read => read.map_err(|panic| Error::Internal(Box::new(panic)))?,
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
}

/// What a server that is well answers at once: a connection that has gone silent is given up sooner than a query.
async fn in_time<T>(answer: impl Future<Output = Result<T, store::Error>>) -> Result<T, store::Error> {
    let late = |_| store::Error::Unavailable("the change feed's connection is silent".into());
    timeout(SILENCE, answer).await.map_err(late)?
}

fn unavailable(why: &str) -> Error {
    Error::StorageUnavailable(store::Error::Unavailable(why.to_owned()))
}
