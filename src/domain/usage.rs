//! When keys were last used: noted in memory, written in batches, so that validation writes nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use super::{Domain, Error, Result, key_records::KeyRecord};
use crate::{
    store::api_keys,
    types::{KeyId, Time},
};

/// Keys noted between two batches at most (S62); further ones are noted when they are used again.
const MAX_NOTED: usize = 100_000;

/// Notes written in one transaction: few, so that nobody waits for it for long.
const BATCH: usize = 100;

/// The notes of this replica.
#[derive(Default)]
pub(super) struct Usage {
    /// Keys that were used since they were last written down: a record is in it once, and holds the time itself.
    used: Mutex<Vec<Arc<KeyRecord>>>,
    /// What could not be written.
    unwritten: Mutex<HashMap<KeyId, Time>>,
}

/// When a key was last used, if that has not been written down; 0 if it has.
#[derive(Debug, Default)]
pub(super) struct LastUse(AtomicI64);

impl Usage {
    pub(super) fn record(&self, key: &Arc<KeyRecord>, time: Time) {
        if key.last_use.0.fetch_max(time.micros().max(1), Ordering::AcqRel) == 0 {
            let mut used = lock(&self.used);
            if used.len() < MAX_NOTED {
                used.push(Arc::clone(key));
            } else {
                key.last_use.0.store(0, Ordering::Release);
            }
        }
    }

    fn take(&self) -> HashMap<KeyId, Time> {
        let used = std::mem::take(&mut *lock(&self.used));
        let mut notes = std::mem::take(&mut *lock(&self.unwritten));
        for key in used {
            // Used from now on, it is noted anew.
            let time = Time::from_micros(key.last_use.0.swap(0, Ordering::AcqRel));
            let latest = notes.entry(key.key_id).or_insert(time);
            *latest = time.max(*latest);
        }
        notes
    }

    /// Keeps what could not be written for the next time.
    fn put_back(&self, notes: Vec<(KeyId, Time)>) {
        lock(&self.unwritten).extend(notes);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere cannot leave a note half made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Domain {
    /// Writes what was noted since the last time. What cannot be written now is noted again.
    pub async fn write_usage(&self) -> Result<()> {
        let mut notes: Vec<_> = self.usage.take().into_iter().collect();
        // In one order, so that replicas do not wait for each other crosswise.
        notes.sort_unstable();
        while !notes.is_empty() {
            let batch = &notes[..notes.len().min(BATCH)];
            let written = self.store.tx(async |tx| {
                tx.give_way().await?;
                for (key_id, time) in batch {
                    api_keys::mark_used(tx, *key_id, *time).await?;
                }
                Ok::<_, Error>(())
            });
            if let Err(error) = written.await {
                self.usage.put_back(notes);
                return Err(error);
            }
            notes.drain(..notes.len().min(BATCH));
        }
        Ok(())
    }
}
