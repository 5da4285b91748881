//! The life of a signing key (S30): it is published, signs, and stays until its last token has expired.
//!
//! All of it follows from times by the database's clock, so that every replica switches at the same moment. A key is published
//! long before it signs: whoever verifies tokens without asking keeps the list of keys for a while, and a replica that is cut
//! off from the database goes on by what it knows. A key that is retired has no row any more: no clock has a say in that.

use std::time::Duration;

use super::{
    Domain, Error, Result,
    keyring::new_row,
    tokens::{CLOCK_SKEW, tokens_gone_by},
};
use crate::{
    crypto::KeyState,
    store::{
        self, Tx,
        changes::Change,
        signing_keys::{self, SigningKey as Row},
    },
    types::Time,
};

/// After how long a key signs that cannot wait: every replica that reaches the database has learned of it by then.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How often it is tried to change keys that somebody else changes at the same time.
const TRIES: usize = 5;

/// One signing key, as the operator sees it.
#[derive(Debug)]
pub struct KeyInfo {
    /// PASERK `k4.pid.…`.
    pub kid: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub create_time: Time,
    /// When it begins to sign.
    pub not_before_time: Time,
    /// When the last token signed by it has expired; known once there is a newer key.
    pub not_after_time: Option<Time>,
}

/// When the next key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// When everybody knows it.
    Published,
    /// At once: who verifies tokens without asking may not know it yet.
    Now,
}

/// What is next.
#[derive(Debug)]
pub struct Rotated {
    /// The next key.
    pub kid: String,
    /// When it begins to sign.
    pub not_before_time: Time,
    /// Whether it was made now; else it had been before.
    pub made: bool,
    /// How long everybody should have known a key before it signs.
    pub lead: Duration,
    /// How long it will have been published by then.
    pub published: Duration,
}

/// What takes over from a key that was retired.
#[derive(Debug)]
pub struct Retired {
    /// Where it was in its life.
    pub state: KeyState,
    /// The key that signs at once in its place, where it was the one that signed; and whether it was made for that.
    pub successor: Option<(String, bool)>,
}

impl Domain {
    /// Every key there is, oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<KeyInfo>> {
        let mut conn = self.store.conn().await?;
        let now = conn.now().await?;
        let rows = signing_keys::list(&mut conn).await?;
        Ok(infos(rows, now))
    }

    /// Makes the next key, or says which it is; and from when on it signs.
    pub async fn rotate_signing_key(&self, begin: Begin) -> Result<Rotated> {
        again(|| self.rotate_once(begin)).await
    }

    /// Makes the next key if `tokens.rotate_every` says so: of many replicas that ask, one does.
    pub async fn rotate_signing_key_if_due(&self) -> Result<Option<Rotated>> {
        // Nearly always it is not, and then the database need not be asked.
        let begin = self.keys().newest().map(|key| key.not_before_time);
        if !self.is_due(begin, self.clock.now()) {
            return Ok(None);
        }
        again(|| self.rotate_once_if_due()).await
    }

    /// Ends a key: from now on nothing that it has signed is accepted.
    ///
    /// # Errors
    /// `NotFound` when there is no such key.
    pub async fn retire_signing_key(&self, kid: &str) -> Result<Retired> {
        again(|| self.retire_once(kid)).await
    }

    /// How long a key is published before it signs: an access token's lifetime and a minute, and as long as a replica goes on
    /// without the database.
    fn lead(&self) -> Duration {
        self.settings.access_ttl.max(self.settings.max_staleness) + CLOCK_SKEW
    }

    /// Whether the next key is to be made, when the newest signs from `begin` on.
    fn is_due(&self, begin: Option<Time>, now: Time) -> bool {
        let Some(every) = self.settings.rotate_every else { return false };
        begin.is_some_and(|begin| begin <= now && begin + every <= now + self.lead())
    }

    async fn rotate_once(&self, begin: Begin) -> Result<Rotated> {
        let done = self.store.tx(async |tx| {
            let (keys, now) = (lock(tx).await?, tx.now().await?);
            self.next_key(tx, &keys, begin, now).await
        });
        done.await
    }

    async fn rotate_once_if_due(&self) -> Result<Option<Rotated>> {
        let done = self.store.tx(async |tx| {
            let (keys, now) = (lock(tx).await?, tx.now().await?);
            if !self.is_due(keys.last().map(|key| key.not_before_time), now) {
                return Ok(None);
            }
            self.next_key(tx, &keys, Begin::Published, now).await.map(Some)
        });
        done.await
    }

    async fn retire_once(&self, kid: &str) -> Result<Retired> {
        let done = self.store.tx(async |tx| {
            let (keys, now) = (lock(tx).await?, tx.now().await?);
            let found = infos(keys.clone(), now).into_iter().find(|key| key.kid == kid);
            let state = found.ok_or(Error::NotFound("signing key"))?.state;
            signing_keys::delete(tx, kid).await?;
            let newest = keys.iter().rev().find(|key| key.kid != kid);
            let successor = match (state, newest) {
                (KeyState::Signing, Some(next)) if now < next.not_before_time => {
                    signing_keys::set_not_before_time(tx, &next.kid, now).await?;
                    Some((next.kid.clone(), false))
                }
                (KeyState::Signing, _) => Some((self.insert_signing_key(tx, &keys, now, now).await?, true)),
                // The one before goes on.
                (KeyState::Next, Some(signing)) => {
                    signing_keys::set_not_after_time(tx, &signing.kid, None).await?;
                    None
                }
                _ => None,
            };
            self.tell(tx, &[Change::SigningKeysChanged], now, tokens_gone_by(now)).await?;
            let kid = kid.to_owned();
            tx.after_commit(move || tracing::warn!(kid, "signing key retired: its tokens are refused"));
            Ok(Retired { state, successor })
        });
        done.await
    }

    async fn next_key(&self, tx: &mut Tx, keys: &[Row], begin: Begin, now: Time) -> Result<Rotated> {
        let lead = self.lead();
        let begin = now + if begin == Begin::Now { AT_ONCE } else { lead };
        let rotated = |kid, not_before_time: Time, create_time, made| Rotated {
            kid,
            not_before_time,
            made,
            lead,
            published: not_before_time.since(create_time),
        };
        match keys {
            [.., before, next] if now < next.not_before_time => {
                let create_time = next.create_time.unwrap_or(now);
                if next.not_before_time <= begin {
                    return Ok(rotated(next.kid.clone(), next.not_before_time, create_time, false));
                }
                signing_keys::set_not_after_time(tx, &before.kid, Some(tokens_gone_by(begin))).await?;
                signing_keys::set_not_before_time(tx, &next.kid, begin).await?;
                self.tell(tx, &[Change::SigningKeysChanged], now, tokens_gone_by(now)).await?;
                Ok(rotated(next.kid.clone(), begin, create_time, false))
            }
            _ => {
                if let Some(signing) = keys.last() {
                    signing_keys::set_not_after_time(tx, &signing.kid, Some(tokens_gone_by(begin))).await?;
                }
                let kid = self.insert_signing_key(tx, keys, now, begin).await?;
                self.tell(tx, &[Change::SigningKeysChanged], now, tokens_gone_by(now)).await?;
                Ok(rotated(kid, begin, now, true))
            }
        }
    }

    async fn insert_signing_key(&self, tx: &mut Tx, keys: &[Row], now: Time, begin: Time) -> Result<String> {
        let generation = keys.last().map_or(1, |key| key.generation + 1);
        let row = new_row(&self.master_key, generation, now, begin)?;
        signing_keys::insert(tx, &row).await.map_err(taken)?;
        let kid = row.kid.clone();
        tx.after_commit(move || tracing::info!(kid, signs_from = %begin, "signing key made"));
        Ok(row.kid)
    }
}

/// Changes keys, again if somebody else did meanwhile.
async fn again<T, F: Future<Output = Result<T>>>(change: impl Fn() -> F) -> Result<T> {
    for _ in 1..TRIES {
        match change().await {
            Err(Error::Taken) => {}
            done => return done,
        }
    }
    change().await
}

/// Somebody else has changed the keys at the same time.
fn taken(error: store::Error) -> Error {
    if matches!(error, store::Error::Conflict) { Error::Taken } else { error.into() }
}

async fn lock(tx: &mut Tx) -> Result<Vec<Row>> {
    signing_keys::lock(tx).await.map_err(taken)
}

fn infos(rows: Vec<Row>, now: Time) -> Vec<KeyInfo> {
    let times: Vec<_> = rows.iter().map(|row| (row.not_before_time, row.not_after_time)).collect();
    let info = |(row, state): (Row, KeyState)| KeyInfo {
        kid: row.kid,
        state,
        create_time: row.create_time.unwrap_or(row.not_before_time),
        not_before_time: row.not_before_time,
        not_after_time: row.not_after_time,
    };
    rows.into_iter().zip(KeyState::of_all(&times, now)).map(info).collect()
}
