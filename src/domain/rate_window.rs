//! So many in a span, on all replicas together: the last times are kept, so that the span slides.

use std::time::Duration;

use super::Result;
use crate::{
    store::{Conn, Tx, rate_windows},
    types::{Digest, Time},
};

/// What may happen so often in a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateWindow {
    /// SHA-256 of what is counted.
    pub(super) key: Digest,
    /// How often, at least once.
    pub(super) limit: usize,
    /// In which span.
    pub(super) span: Duration,
}

impl RateWindow {
    /// How long until it may happen once more; `None` when it may now.
    pub(super) async fn wait(&self, conn: &mut Conn) -> Result<Option<Duration>> {
        let times = rate_windows::find(conn, self.key).await?;
        // What the time is matters to few.
        if times.len() < self.limit { Ok(None) } else { Ok(self.wait_after(&times, conn.now().await?)) }
    }

    /// Counts it if it may happen now, and says whether.
    pub(super) async fn admit(&self, tx: &mut Tx, now: Time) -> Result<bool> {
        let times = rate_windows::lock(tx, self.key, now).await?;
        let admitted = self.wait_after(&times, now).is_none();
        if admitted {
            self.push(tx, times, now).await?;
        }
        Ok(admitted)
    }

    /// Counts it: it has happened.
    pub(super) async fn count(&self, tx: &mut Tx, now: Time) -> Result<()> {
        let times = rate_windows::lock(tx, self.key, now).await?;
        self.push(tx, times, now).await
    }

    fn wait_after(&self, times: &[Time], now: Time) -> Option<Duration> {
        let oldest = *times.get(times.len().checked_sub(self.limit)?)?;
        let end = oldest + self.span;
        (now < end).then(|| end.since(now))
    }

    async fn push(&self, tx: &mut Tx, mut times: Vec<Time>, now: Time) -> Result<()> {
        times.push(now);
        times.sort_unstable();
        let kept = &times[times.len().saturating_sub(self.limit)..];
        rate_windows::set(tx, self.key, kept, now + self.span).await?;
        Ok(())
    }
}
