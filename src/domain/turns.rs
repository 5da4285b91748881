//! Taking turns: at most so many at once for one key, the rest wait in line (S10). Who takes two, of a network address and of
//! an account, takes them in this order.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::types::Digest;

/// Keys that share a line wait for each other, which is fair if not needed. A fixed number of lines needs no map that
/// would have to be bounded (S62); nobody outside can tell which keys share one.
const LINES: usize = 1024;

/// The lines.
pub(super) struct Turns {
    lines: Box<[Arc<Semaphore>]>,
    hasher: RandomState,
}

impl Turns {
    /// `at_once` for each key.
    pub(super) fn new(at_once: usize) -> Self {
        let lines = (0..LINES).map(|_| Arc::new(Semaphore::new(at_once))).collect();
        Self { lines, hasher: RandomState::new() }
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    pub(super) async fn take(&self, key: Digest) -> Option<OwnedSemaphorePermit> {
        let line = usize::try_from(self.hasher.hash_one(key) % LINES as u64).unwrap_or_default();
        // The semaphores are never closed.
        self.lines[line].clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn so_many_at_once_and_everybody_in_the_end() {
        // S10
        let (turns, inside) = (Turns::new(4), AtomicUsize::new(0));
        let visits = (0..100).map(|_| async {
            let _turn = turns.take(Digest([7; 32])).await;
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            now
        });
        let most = join_all(visits).await.into_iter().max();
        assert_eq!(most, Some(4));
    }
}
