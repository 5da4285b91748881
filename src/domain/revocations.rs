//! What this replica knows of credentials that have ended or changed, and how old that knowledge is.
//!
//! An access token is good unless its session or user is named here: so everything is held until no token from before can
//! be left, by each row's own expiry. What was read of an API key is good unless the key or its owner changed since: for that
//! each change is numbered (`epoch`), and who reads a record notes the number first. `feed` fills this; validation reads it,
//! under a lock that is never held across an await.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::broadcast;

use crate::{
    store::{changes::Change, feed::Entry, users::Owner},
    types::{Clock, KeyId, Scopes, SessionId, Time, UserId},
};

/// Ended sessions that are held at most (S62). What would be more is looked up in the database.
const MAX_SESSIONS: usize = 1_000_000;
/// Changed users, and changed keys, that are held at most.
const MAX_OTHERS: usize = 100_000;
/// How often what has expired is let go.
const SWEEP: Duration = Duration::from_mins(10);
/// Messages that a watcher may be behind by.
const MAX_BEHIND: usize = 1024;
/// How often it is told that there is no news: looks come much faster when much is changed, of which this replica may have
/// known already, and would crowd out what a watcher is behind by.
const SILENCE: Duration = Duration::from_secs(1);
/// Where a change stands that was made here and has not been read back yet.
const UNREAD_POSITION: i64 = i64::MAX;

/// The knowledge of one replica.
pub(super) struct Revocations {
    state: RwLock<State>,
    /// When the database was asked for what is known, in microseconds of [`Clock::uptime`]; 0 before the first time.
    as_of_uptime: AtomicU64,
    /// The same moment, in microseconds since 1970.
    as_of: AtomicI64,
    news: broadcast::Sender<Arc<News>>,
    /// When something was last told, in microseconds of [`Clock::uptime`].
    told: AtomicU64,
}

/// What the last look at the change feed brought.
#[derive(Debug, Clone)]
pub struct News {
    /// Whether what was known before is void.
    pub restarted: bool,
    /// What is new.
    pub entries: Vec<Entry>,
    /// Everything before it was told.
    pub position: i64,
    /// Everything that was acknowledged until then was told.
    pub as_of: Time,
}

#[derive(Default)]
struct State {
    sessions: HashMap<SessionId, Told>,
    users: HashMap<UserId, (Told, UserState)>,
    unread: HashSet<UserId>,
    keys: HashMap<KeyId, Told>,
    signing_keys: Option<Told>,
    /// How many changes were applied.
    epoch: u64,
    /// What was read before this change is not to be used any more, whatever it is of.
    floor: u64,
    /// Until when there may be ended sessions or changed users that found no place.
    overfull_until: Option<Time>,
    /// Everything before it has been read.
    position: i64,
    /// Keys' changes before it may be forgotten.
    keys_forgotten: i64,
    swept: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    position: i64,
    expire_time: Time,
    epoch: u64,
}

/// What a changed user may do now.
#[derive(Debug, Clone)]
enum UserState {
    /// Not read yet.
    Unread,
    Disabled,
    Deleted,
    Active(Arc<Scopes>),
}

/// What is known of a session, without asking the database.
#[derive(Debug, Clone)]
pub(super) enum Session {
    /// It lives, and its user may do what its tokens say.
    Alive,
    /// It lives, and its user may do this.
    Limited(Arc<Scopes>),
    /// It has ended.
    Ended,
    /// Its user is disabled.
    Disabled,
    /// Only the database knows.
    Unknown,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            as_of_uptime: AtomicU64::new(0),
            as_of: AtomicI64::new(0),
            news: broadcast::Sender::new(MAX_BEHIND),
            told: AtomicU64::new(0),
        }
    }
}

impl Revocations {
    /// How old the knowledge is. `MAX` before there is any.
    pub(super) fn age(&self) -> Duration {
        match self.as_of_uptime.load(Ordering::Acquire) {
            0 => Duration::MAX,
            as_of => Clock::uptime().saturating_sub(Duration::from_micros(as_of)),
        }
    }

    /// Ended sessions that are held.
    pub(super) fn ended_sessions(&self) -> usize {
        self.read().sessions.len()
    }

    /// Who [watches](Self::watch).
    pub(super) fn watchers(&self) -> usize {
        self.news.receiver_count()
    }

    /// What was acknowledged until then is known.
    pub(super) fn as_of(&self) -> Time {
        Time::from_micros(self.as_of.load(Ordering::Acquire))
    }

    /// What is known of a session of this user's at `now`.
    pub(super) fn session(&self, user_id: UserId, id: SessionId, now: Time) -> Session {
        let state = self.read();
        let ended = state.sessions.contains_key(&id);
        match state.users.get(&user_id) {
            Some((_, UserState::Unread)) => Session::Unknown,
            Some((_, UserState::Disabled)) => Session::Disabled,
            Some((_, UserState::Deleted)) => Session::Ended,
            _ if ended => Session::Ended,
            _ if state.overfull_until.is_some_and(|end| now < end) => Session::Unknown,
            Some((_, UserState::Active(scopes))) => Session::Limited(Arc::clone(scopes)),
            None => Session::Alive,
        }
    }

    /// The number of the last change: what is read from now on is not older.
    pub(super) fn epoch(&self) -> u64 {
        self.read().epoch
    }

    /// Whether what was read at `epoch` of a key and its owner still holds.
    pub(super) fn key_holds(&self, id: KeyId, owner: UserId, epoch: u64) -> bool {
        let state = self.read();
        let key = state.keys.get(&id).map_or(0, |told| told.epoch);
        let user = state.users.get(&owner).map_or(0, |(told, _)| told.epoch);
        epoch >= state.floor.max(key).max(user)
    }

    /// Takes in what this replica has just changed itself, so that it is known here before it is acknowledged.
    pub(super) fn apply_own(&self, changes: &[Change], expire_time: Time) {
        let mut state = self.write();
        for change in changes {
            let _ = state.apply(*change, UNREAD_POSITION, expire_time);
        }
    }

    /// Takes in what was read, and says what of it is new. Users that changed have to be [read](Self::unread_users) then.
    pub(super) fn apply(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut state = self.write();
        let mut is_new = |entry: &Entry| match entry.change {
            Some(change) => state.apply(change, entry.position, entry.expire_time),
            None => false,
        };
        entries.into_iter().filter(|entry| is_new(entry)).collect()
    }

    /// Notes how far the reader has come, and lets go of what no longer matters at `now`, by the database's clock.
    pub(super) fn reached(&self, position: i64, now: Time) {
        let mut state = self.write();
        state.position = position;
        state.sweep(now);
    }

    /// What was read of keys until now may be wrong: it has to be read anew.
    pub(super) fn void_records(&self) {
        let mut state = self.write();
        state.epoch += 1;
        state.floor = state.epoch;
    }

    /// All users that changed.
    pub(super) fn changed_users(&self) -> Vec<UserId> {
        self.read().users.keys().copied().collect()
    }

    /// Users that changed and have not been read since.
    pub(super) fn unread_users(&self) -> Vec<UserId> {
        self.read().unread.iter().copied().collect()
    }

    /// Leaves these to be read one by one, when they are asked about.
    pub(super) fn leave_unread(&self, ids: &[UserId]) {
        let mut state = self.write();
        for id in ids {
            state.unread.remove(id);
        }
    }

    /// Notes what a user may do, as read at `epoch`; `None` when there is no such user any more.
    pub(super) fn set_user(&self, id: UserId, epoch: u64, owner: Option<Owner>) {
        let user = match owner {
            None => UserState::Deleted,
            Some(Owner { disabled_time: Some(_), .. }) => UserState::Disabled,
            Some(owner) => UserState::Active(Arc::new(owner.scopes)),
        };
        let mut state = self.write();
        if let Some((told, known)) = state.users.get_mut(&id)
            // Another change may have come meanwhile, that this does not show.
            && told.epoch <= epoch
        {
            *known = user;
            state.unread.remove(&id);
        }
    }

    /// Notes that all that was acknowledged before `uptime`, which was `now`, is known; and tells those who watch.
    pub(super) fn known_as_of(&self, uptime: Duration, now: Time, entries: Vec<Entry>, restarted: bool) {
        let micros = u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX).max(1);
        self.as_of.store(now.micros(), Ordering::Release);
        self.as_of_uptime.store(micros, Ordering::Release);
        let told = Duration::from_micros(self.told.load(Ordering::Acquire));
        let worth_telling = restarted || !entries.is_empty() || uptime.saturating_sub(told) >= SILENCE;
        if self.news.receiver_count() > 0 && worth_telling {
            self.told.store(micros, Ordering::Release);
            let position = self.position();
            // Nobody may be left by now.
            let _ = self.news.send(Arc::new(News { restarted, entries, position, as_of: now }));
        }
    }

    /// Everything before it has been read.
    pub(super) fn position(&self) -> i64 {
        self.read().position
    }

    /// What is known from `position` on, and what comes. `None` when not all of it could be held.
    pub(super) fn watch(&self, position: i64, now: Time) -> Option<(News, broadcast::Receiver<Arc<News>>)> {
        let state = self.read();
        if state.overfull_until.is_some_and(|end| now < end) {
            return None;
        }
        // Under the lock, so that nothing is missed; some may come twice.
        let news = self.news.subscribe();
        // A position that has not been reached is of another database; one from before what was forgotten has a gap.
        let restarted = position > state.position || position < state.keys_forgotten || position <= 0;
        let from = if restarted { 0 } else { position };
        let sessions = state.sessions.iter().map(|(id, told)| (Change::SessionEnded(*id), told));
        let users = state.users.iter().map(|(id, (told, _))| (Change::UserChanged(*id), told));
        let keys = state.keys.iter().map(|(id, told)| (Change::KeyChanged(*id), told));
        let ring = state.signing_keys.iter().map(|told| (Change::SigningKeysChanged, told));
        let all = sessions.chain(users).chain(keys).chain(ring);
        let wanted = all.filter(|(_, told)| told.position >= from && now < told.expire_time);
        let entries = wanted
            .map(|(change, told)| Entry {
                change: Some(change),
                position: told.position,
                expire_time: told.expire_time,
            })
            .collect();
        Some((News { restarted, entries, position: state.position, as_of: self.as_of() }, news))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Says whether it is new.
    fn apply(&mut self, change: Change, position: i64, expire_time: Time) -> bool {
        let known = match change {
            Change::SessionEnded(id) => self.sessions.get(&id),
            Change::UserChanged(id) => self.users.get(&id).map(|(told, _)| told),
            Change::KeyEnded(id) | Change::KeyChanged(id) => self.keys.get(&id),
            Change::SigningKeysChanged => self.signing_keys.as_ref(),
        };
        // Read again: a transaction's rows are seen all at once.
        if known.is_some_and(|told| told.position == position && position != UNREAD_POSITION) {
            return false;
        }
        self.epoch += 1;
        let told = Told { position, expire_time, epoch: self.epoch };
        match change {
            Change::SessionEnded(id) => {
                if self.sessions.len() < MAX_SESSIONS || self.sessions.contains_key(&id) {
                    self.sessions.insert(id, told);
                } else {
                    self.overfull(expire_time);
                }
            }
            Change::UserChanged(id) => {
                if self.users.len() < MAX_OTHERS || self.users.contains_key(&id) {
                    self.users.insert(id, (told, UserState::Unread));
                    self.unread.insert(id);
                } else {
                    self.overfull(expire_time);
                    self.floor = self.epoch;
                }
            }
            Change::KeyEnded(id) | Change::KeyChanged(id) => {
                if self.keys.len() >= MAX_OTHERS && !self.keys.contains_key(&id) {
                    // What has not been read back will be, and told then.
                    let read =
                        self.keys.values().map(|told| told.position).filter(|at| *at != UNREAD_POSITION);
                    let end = read.max().map_or(0, |last| last + 1);
                    self.keys_forgotten = self.keys_forgotten.max(end);
                    self.keys.clear();
                    self.floor = self.epoch;
                }
                self.keys.insert(id, told);
            }
            Change::SigningKeysChanged => self.signing_keys = Some(told),
        }
        true
    }

    fn overfull(&mut self, expire_time: Time) {
        if self.overfull_until.is_none() {
            tracing::warn!(
                "more sessions and users have changed than are held in memory: tokens are looked up in the database"
            );
        }
        self.overfull_until = self.overfull_until.max(Some(expire_time));
    }

    /// Lets go of what no token can be from before of.
    fn sweep(&mut self, now: Time) {
        if self.swept.is_some_and(|swept| now.since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.sessions.retain(|_, told| now < told.expire_time);
        self.overfull_until = self.overfull_until.filter(|end| now < *end);
        // Records of keys live on: those from before what is forgotten now are read anew.
        let mut floor = self.floor;
        let mut lives = |told: &Told| {
            let lives = now < told.expire_time;
            if !lives {
                floor = floor.max(told.epoch);
            }
            lives
        };
        self.users.retain(|_, (told, _)| lives(told));
        self.unread.retain(|id| self.users.contains_key(id));
        self.keys.retain(|_, told| lives(told));
        self.floor = floor;
    }
}

#[cfg(test)]
mod tests;
