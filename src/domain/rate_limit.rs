//! How often a key may be used: the generic cell rate algorithm, one cell a key, in this replica.

use std::{sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock as GovernorClock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use moka::sync::Cache;

use crate::types::{Clock, KeyId, RateLimit};

/// Keys whose use is counted at once (S62). A key that falls out begins anew.
const MAX_KEYS: u64 = 100_000;

type Limiter = RateLimiter<NotKeyed, InMemoryState, GcraClock, NoOpMiddleware<Nanos>>;

/// The cells.
pub(super) struct RateLimits {
    /// With the limit that each was made for: a changed limit makes a new cell.
    cells: Cache<(KeyId, RateLimit), Arc<Limiter>>,
    clock: GcraClock,
}

impl RateLimits {
    pub(super) fn new(clock: Clock) -> Self {
        Self { cells: Cache::new(MAX_KEYS), clock: GcraClock(clock) }
    }

    /// Counts a use, or says how long to wait until the next is allowed.
    pub(super) fn check(&self, key_id: KeyId, limit: RateLimit) -> Result<(), Duration> {
        let Some(quota) = quota(limit) else { return Ok(()) };
        let cell = self.cells.get_with((key_id, limit), || {
            Arc::new(RateLimiter::direct_with_clock(quota, self.clock.clone()))
        });
        cell.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

fn quota(limit: RateLimit) -> Option<Quota> {
    let burst = std::num::NonZeroU32::new(limit.requests())?;
    // At most 10⁶ uses a millisecond: a nanosecond each is the least that can be told apart.
    let each = (limit.per() / limit.requests()).max(Duration::from_nanos(1));
    Some(Quota::with_period(each)?.allow_burst(burst))
}

/// Our clock in governor's terms. The machine's by its uptime: a clock that is set back would refuse keys for that long.
#[derive(Clone)]
struct GcraClock(Clock);

impl GovernorClock for GcraClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        match &self.0 {
            Clock::System => Nanos::from(Clock::uptime()),
            clock @ Clock::Manual(_) => {
                Nanos::new(u64::try_from(clock.now().micros()).unwrap_or_default().saturating_mul(1_000))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Time;

    #[test]
    fn the_machines_time_of_day_does_not_matter() {
        let before = Nanos::from(Clock::uptime());
        let now = GcraClock(Clock::System).now();
        assert!((before..=Nanos::from(Clock::uptime())).contains(&now));
    }

    #[test]
    fn a_burst_is_allowed_and_then_one_at_a_time() {
        let clock = Clock::manual(Time::from_micros(1_800_000_000_000_000));
        let limits = RateLimits::new(clock.clone());
        let key = KeyId::generate(clock.now());
        let limit = RateLimit::new(3, Duration::from_secs(3)).unwrap();
        for _ in 0..3 {
            assert_eq!(limits.check(key, limit), Ok(()));
        }
        let wait = limits.check(key, limit).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        clock.advance(wait);
        assert_eq!(limits.check(key, limit), Ok(()));
        assert!(limits.check(key, limit).is_err());
        // Another key, and another limit of the same key, have cells of their own.
        assert_eq!(limits.check(KeyId::generate(clock.now()), limit), Ok(()));
        assert_eq!(limits.check(key, RateLimit::new(1, Duration::from_secs(9)).unwrap()), Ok(()));
    }
}
