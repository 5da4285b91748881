//! How often an API key may be used.

use std::time::Duration;

use super::Invalid;

/// At most `requests` uses per `per`, refilled evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    requests: u32,
    per: Duration,
}

impl RateLimit {
    /// Takes a limit of 1 to 1,000,000 uses per millisecond to a day.
    pub fn new(requests: i32, per: Duration) -> Result<Self, Invalid> {
        let requests = u32::try_from(requests)
            .ok()
            .filter(|n| (1..=1_000_000).contains(n))
            .ok_or_else(|| Invalid::new("requests must be 1 to 1,000,000"))?;
        if !(Duration::from_millis(1)..=Duration::from_hours(24)).contains(&per) {
            return Err(Invalid::new("per must be one millisecond to one day"));
        }
        Ok(Self { requests, per })
    }

    /// Uses allowed in each span.
    pub fn requests(self) -> u32 {
        self.requests
    }

    /// The span.
    pub fn per(self) -> Duration {
        self.per
    }
}
