//! When keys were last used: noted in memory, written in batches, so that validation writes nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{Domain, Error, Result};
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
pub(super) struct Usage(Mutex<HashMap<KeyId, Time>>);

impl Usage {
    pub(super) fn record(&self, key_id: KeyId, time: Time) {
        // A panic elsewhere cannot leave a note half made.
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MAX_NOTED || notes.contains_key(&key_id) {
            let latest = notes.entry(key_id).or_insert(time);
            *latest = time.max(*latest);
        }
    }

    fn take(&self) -> HashMap<KeyId, Time> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
                for (key_id, time) in notes {
                    self.usage.record(key_id, time);
                }
                return Err(error);
            }
            notes.drain(..notes.len().min(BATCH));
        }
        Ok(())
    }
}
