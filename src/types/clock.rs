//! The one source of time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Time;

/// Tells the time, to the microsecond, because that is what the databases keep.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's.
    System,
    /// One that stands still until it is moved: microseconds since the epoch.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `time`.
    pub fn manual(time: Time) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(time.micros())))
    }

    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn now(&self) -> Time {
        let micros = match self {
            Self::System => chrono::Utc::now().timestamp_micros(),
            Self::Manual(micros) => micros.load(Ordering::SeqCst),
        };
        Time::from_micros(micros)
    }

    /// How long the machine has been up, also while it was asleep: for ages. It never goes back, and nobody sets it.
    pub fn uptime() -> Duration {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: ClockId = ClockId::Monotonic;
        clock_gettime(CLOCK).try_into().unwrap_or_default()
    }

    /// Moves a manual clock on. The machine's does not move by hand.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(micros) = self {
            micros.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}
