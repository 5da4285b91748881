//! Numbers that only grow, for the path where everything counts: counting takes no lock, no allocation and no look-up, and
//! threads that count at the same time do not get in each other's way. What the numbers are called is for `api::metrics`
//! to say; any room may keep some.

use std::{
    array,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// Places to count at, each for some of the threads.
const PLACES: usize = 8;

thread_local! {
    /// Where this thread counts.
    static PLACE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % PLACES
    };
}

/// `N` counters.
#[derive(Debug)]
pub struct Tally<const N: usize>([Place<N>; PLACES]);

/// What one thread writes, another need not fetch: on lines of the processor's cache that no other place shares (two at
/// once, as they are fetched).
#[derive(Debug)]
#[repr(align(128))]
struct Place<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self(array::from_fn(|_| Place(array::from_fn(|_| AtomicU64::new(0)))))
    }
}

impl<const N: usize> Tally<N> {
    /// Counts one more of the `index`-th. Beyond the last there is nothing to count.
    pub fn count(&self, index: usize) {
        self.add(index, 1);
    }

    fn add(&self, index: usize, number: u64) {
        let place = PLACE.with(|place| *place);
        if let Some(counter) = self.0.get(place).and_then(|place| place.0.get(index)) {
            counter.fetch_add(number, Relaxed);
        }
    }

    /// All that was counted until now.
    pub fn totals(&self) -> [u64; N] {
        let mut totals = [0_u64; N];
        for place in &self.0 {
            for (total, counter) in totals.iter_mut().zip(&place.0) {
                *total = total.wrapping_add(counter.load(Relaxed));
            }
        }
        totals
    }
}

/// Bounds that a histogram may have.
const BOUNDS: usize = 14;

/// How long things took.
#[derive(Debug)]
pub struct Histogram {
    /// In nanoseconds, ascending.
    bounds: &'static [u64],
    /// The sum in nanoseconds; then one for each bound, and one for what took longer.
    tally: Tally<{ BOUNDS + 2 }>,
}

/// What a histogram has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    /// How many took at most so long, for each bound.
    pub at_most: Vec<(Duration, u64)>,
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub sum: Duration,
}

impl Histogram {
    /// With these bounds: ascending, in nanoseconds, fourteen at most.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self { bounds: &bounds[..bounds.len().min(BOUNDS)], tally: Tally::default() }
    }

    /// Counts one that took so long.
    pub fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.iter().position(|bound| nanos <= *bound).unwrap_or(self.bounds.len());
        self.tally.add(0, nanos);
        self.tally.count(bucket + 1);
    }

    /// All that was counted until now.
    pub fn read(&self) -> Durations {
        let [sum, buckets @ ..] = self.tally.totals();
        let mut count = 0;
        let at_most = self.bounds.iter().zip(buckets).map(|(bound, number)| {
            count += number;
            (Duration::from_nanos(*bound), count)
        });
        let at_most = at_most.collect();
        Durations { at_most, count: buckets.iter().sum(), sum: Duration::from_nanos(sum) }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_all_threads_count_is_added_up() {
        let tally = Tally::<2>::default();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|_| tally.count(1)));
            }
        });
        tally.count(2);
        assert_eq!(tally.totals(), [0, 20_000]);
    }

    #[test]
    fn a_duration_counts_for_every_bound_that_it_is_within() {
        let histogram = Histogram::new(&[1000, 1_000_000]);
        for nanos in [1, 1000, 1001, 2_000_000] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let at_most = vec![(Duration::from_micros(1), 2), (Duration::from_millis(1), 3)];
        let sum = Duration::from_nanos(2_002_002);
        assert_eq!(histogram.read(), Durations { at_most, count: 4, sum });
    }
}
