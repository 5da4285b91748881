//! What became of calls, and how long they took.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// Counts and times.
#[derive(Debug, Default)]
pub struct Tally {
    outcomes: BTreeMap<&'static str, u64>,
    times: Vec<Duration>,
}

impl Tally {
    /// One call.
    pub fn add(&mut self, outcome: &'static str, time: Duration) {
        *self.outcomes.entry(outcome).or_default() += 1;
        self.times.push(time);
    }

    /// What another has counted.
    pub fn merge(mut self, other: Self) -> Self {
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.times.extend(other.times);
        self
    }

    /// As `calls`, `seconds`, `outcomes`, and the quantiles of the times in milliseconds.
    pub fn report(&self, took: Duration) -> Value {
        json!({
            "calls": self.times.len(),
            "seconds": took.as_secs_f64(),
            "outcomes": self.outcomes,
            "ms": quantiles(self.times.clone()),
        })
    }
}

/// `p50`, `p90`, `p99` and `max` in milliseconds, by the nearest rank.
pub fn quantiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    // The smallest time that so many percent do not exceed.
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(rank).map(|time| time.as_secs_f64() * 1000.0)
    };
    json!({ "p50": at(50), "p90": at(90), "p99": at(99), "max": at(100) })
}
