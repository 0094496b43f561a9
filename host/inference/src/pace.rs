//! How long runs of a session take, by the size of their inputs: what decides between inline and
//! off-thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Powers of two of input bytes that are told apart: up to 4 GiB.
const SIZES: usize = 33;

/// Moving averages of measured run times. A run of one row says nothing about a run of a thousand,
/// so every power of two of input bytes has its own.
pub struct Pace([AtomicU64; SIZES]);

impl Default for Pace {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Pace {
    /// The expected time of a run, once one of its size was measured.
    pub fn estimate(&self, input_bytes: usize) -> Option<Duration> {
        match self.slot(input_bytes).load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Takes a measured run into account.
    pub fn record(&self, input_bytes: usize, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX >> 3).clamp(1, u64::MAX >> 3);
        let slot = self.slot(input_bytes);
        let old = slot.load(Ordering::Relaxed);
        // A weight of one eighth follows a change within some ten runs, yet one slow run, such as
        // one that was preempted, does not move a session off the caller's thread. The first run
        // is the slowest, so it is forgotten quickly: lower values count half.
        let new = match old {
            0 => took,
            _ if took < old => old - (old - took) / 2,
            _ => old + (took - old) / 8,
        };
        // Two runs that end at once may lose one of the two measurements; another will follow.
        slot.store(new.max(1), Ordering::Relaxed);
    }

    fn slot(&self, input_bytes: usize) -> &AtomicU64 {
        let power = usize::BITS - input_bytes.leading_zeros();
        &self.0[(power as usize).min(SIZES - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_sizes_apart_and_follows_changes() {
        let pace = Pace::default();
        assert_eq!(pace.estimate(256), None);
        pace.record(256, Duration::from_micros(900));
        for _ in 0..10 {
            pace.record(256, Duration::from_micros(10));
        }
        assert!(pace.estimate(256).unwrap() < Duration::from_micros(15));
        pace.record(256, Duration::from_micros(500));
        assert!(pace.estimate(300).unwrap() < Duration::from_micros(100), "one outlier");
        assert_eq!(pace.estimate(4096), None);
        pace.record(usize::MAX, Duration::MAX);
        assert!(pace.estimate(usize::MAX).is_some());
    }
}
