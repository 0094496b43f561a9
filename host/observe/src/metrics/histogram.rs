//! A histogram of durations that is recorded without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds, in microseconds: from a warm handler (some 100 µs) to a stream of half a minute.
const BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// A histogram of durations with fixed buckets; one addition to a bucket and one to the sum.
#[derive(Default, Debug)]
pub struct DurationHistogram {
    /// One more than the bounds: the last takes what is over all of them.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl DurationHistogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one duration in microseconds.
    pub fn observe_us(&self, duration_us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < duration_us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(duration_us, Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// Sum in seconds, and each bucket's upper bound in seconds with its own count.
    pub(super) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = BOUNDS_US.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        (seconds(self.sum_us.load(Relaxed)), bounds.zip(counts).collect())
    }
}

/// Microseconds as the seconds that metrics are in.
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = DurationHistogram::default();
        for duration_us in [0, 100, 101, 30_000_000, 30_000_001] {
            histogram.observe_us(duration_us);
        }
        let (sum, buckets) = histogram.read();
        assert_eq!(sum, 60.000_202);
        assert_eq!(buckets[0], (0.0001, 2));
        assert_eq!(buckets[1], (0.00025, 1));
        assert_eq!(buckets[16], (30.0, 1));
        assert_eq!(buckets[17], (f64::INFINITY, 1));
        assert_eq!(histogram.count(), 5);
    }
}
