//! What is known of API keys: read once, then kept until the key or its owner changes.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::{Cache, EntryAction, EntryResult};
use tokio::sync::Semaphore;

use super::{
    Domain, Result,
    revocations::Revocations,
    stats::{CacheStats, CacheTally},
    usage::LastUse,
};
use crate::{
    store::{
        self, Store,
        api_keys::{self, ApiKey, Secret},
        users::Owner,
    },
    types::{Digest, KeyId, RateLimit, Scopes, Time, UserId},
};

/// API keys looked up at once: a part of the connections.
const LOOKUPS: usize = 8;
/// Unknown keys that are remembered at most (S36), and for how long. Nobody can ask for a key before it is made, so this
/// is not about being right, but about cost.
const MAX_UNKNOWN: usize = 10_000;
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// What a secret of a key is worth.
#[derive(Debug)]
pub(super) struct KeyRecord {
    pub(super) user_id: UserId,
    pub(super) key_id: KeyId,
    /// What the key may do, within what its owner may.
    pub(super) scopes: Arc<Scopes>,
    pub(super) rate_limit: Option<RateLimit>,
    /// When the key expires.
    pub(super) expire_time: Option<Time>,
    /// When this secret, which was rotated, ends.
    pub(super) secret_expire_time: Option<Time>,
    pub(super) revoked: bool,
    pub(super) owner_disabled: bool,
    /// See [`Revocations`].
    epoch: u64,
    pub(super) last_use: LastUse,
}

impl KeyRecord {
    fn holds(&self, revocations: &Revocations) -> bool {
        revocations.key_holds(self.key_id, self.user_id, self.epoch)
    }
}

/// The records of this replica.
pub(super) struct KeyRecords {
    known: Cache<Digest, Arc<KeyRecord>>,
    unknown: Cache<Digest, Time>,
    /// Anybody can make up well-formed keys: they must not crowd the database (S36).
    lookups: Arc<Semaphore>,
    requests: CacheTally,
}

impl KeyRecords {
    pub(super) fn new(max_known: usize) -> Self {
        Self {
            known: Cache::new(max_known),
            unknown: Cache::new(MAX_UNKNOWN),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            requests: CacheTally::default(),
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.requests.read(self.known.len())
    }

    /// Whether this is known to be no key's.
    fn is_unknown(&self, digest: &Digest, now: Time) -> bool {
        self.unknown.get(digest).is_some_and(|noted| now.since(noted) < UNKNOWN_FOR)
    }
}

impl Domain {
    /// What is known of the key with this secret, no older than the knowledge of what was revoked. `None` when there is none.
    pub(super) async fn key_record(&self, digest: Digest) -> Result<Option<Arc<KeyRecord>>> {
        if let Some(record) = self.key_records.known.get(&digest)
            && record.holds(&self.revocations)
        {
            self.key_records.requests.hit();
            return Ok(Some(record));
        }
        self.key_records.requests.miss();
        loop {
            let Some(record) = self.look_up(digest).await? else { return Ok(None) };
            // It may have taken long, and what came meanwhile may be about this key.
            self.catch_up().await?;
            if record.holds(&self.revocations) {
                return Ok(Some(record));
            }
        }
    }

    /// Reads it from the database, at most once at a time: who asks meanwhile waits for that answer.
    async fn look_up(&self, digest: Digest) -> Result<Option<Arc<KeyRecord>>> {
        let records = &self.key_records;
        if records.is_unknown(&digest, self.clock.now()) {
            return Ok(None);
        }
        let known = records.known.entry_async(&digest, |_, record| {
            if record.holds(&self.revocations) {
                EntryAction::Retain(Arc::clone(record))
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        let guard = match known.await {
            EntryResult::Retained(record) => return Ok(Some(record)),
            EntryResult::Replaced(guard, _) | EntryResult::Vacant(guard) => guard,
            // Neither is asked for.
            EntryResult::Removed(..) | EntryResult::Timeout => return Ok(None),
        };
        if records.is_unknown(&digest, self.clock.now()) {
            return Ok(None);
        }
        let read =
            read_key(self.store.clone(), Arc::clone(&records.lookups), Arc::clone(&self.revocations), digest);
        let Some(record) = self.read_apart(read).await? else {
            records.unknown.insert(digest, self.clock.now());
            return Ok(None);
        };
        let record = Arc::new(record);
        // Refused only when the cache was cleared meanwhile.
        let _ = guard.insert(Arc::clone(&record));
        Ok(Some(record))
    }
}

async fn find(store: &Store, digest: Digest) -> store::Result<Option<(Secret, ApiKey, Owner)>> {
    api_keys::find_by_secret(&mut store.conn().await?, digest).await
}

async fn read_key(
    store: Store,
    lookups: Arc<Semaphore>,
    revocations: Arc<Revocations>,
    digest: Digest,
) -> Result<Option<KeyRecord>> {
    // It is never closed.
    let _permit = lookups.acquire().await;
    // Before it is read, so that what changes meanwhile makes it stale.
    let epoch = revocations.epoch();
    let found = match find(&store, digest).await {
        // The connection was one that died in the pool.
        Err(store::Error::Unavailable(_)) => find(&store, digest).await,
        found => found,
    };
    Ok(found?.map(|(secret, key, owner)| KeyRecord {
        user_id: key.user_id,
        key_id: key.id,
        rate_limit: key.rate_limit(),
        scopes: Arc::new(key.scopes.intersection(&owner.scopes)),
        expire_time: key.expire_time,
        secret_expire_time: secret.expire_time,
        revoked: key.revoke_time.is_some(),
        owner_disabled: owner.disabled_time.is_some(),
        epoch,
        last_use: LastUse::default(),
    }))
}
