//! How many records go in one request, and how long is waited after one that failed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{NotSent, Remedy};

/// The first wait, and the longest, where waiting may help.
const LATER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same where somebody has to do something first.
const REFUSED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// The longest that a sink may ask to be left alone: a mistake of its clock must not end the export.
const MAX_AFTER: Duration = Duration::from_secs(3_600);
/// So many requests in a row that were taken let them grow again.
const GROW_AFTER: u32 = 100;

/// How many records go in one request: fewer once they were too many, and slowly more again, since what was
/// in the way may be gone.
pub(super) struct Size {
    most: usize,
    now: usize,
    taken: u32,
}

impl Size {
    pub(super) fn new(most: usize) -> Self {
        Self { most, now: most, taken: 0 }
    }

    pub(super) fn get(&self) -> usize {
        self.now
    }

    /// Halves what was too many; false if that was one record.
    pub(super) fn shrink(&mut self, count: usize) -> bool {
        self.now = (count / 2).max(1);
        self.taken = 0;
        count > 1
    }

    /// A request was taken.
    pub(super) fn taken(&mut self) {
        self.taken += 1;
        if self.taken >= GROW_AFTER {
            self.taken = 0;
            self.now = self.now.saturating_mul(2).min(self.most);
        }
    }
}

/// How long is waited, and what was said of it in the log: each trouble once, and its end.
#[derive(Default)]
pub(super) struct Pace {
    failures: u32,
    /// Whether the trouble is one that waiting may end.
    passes: bool,
    logged: BTreeSet<String>,
}

impl Pace {
    /// Gives the time to wait after a failure, between half of it and all, so that hosts which lost their
    /// collector together do not come back together.
    pub(super) fn failed(&mut self, failure: &NotSent) -> Duration {
        self.log(failure);
        let (first, longest) = match failure.remedy {
            Remedy::Later { .. } => LATER,
            Remedy::Smaller | Remedy::Operator => REFUSED,
        };
        let wait = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures += 1;
        // Without random numbers all wait for the whole of it.
        let random = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        let wait = wait.mul_f64(0.5 + random / 2.0);
        match failure.remedy {
            Remedy::Later { after: Some(after) } => wait.max(after.min(MAX_AFTER)),
            _ => wait,
        }
    }

    /// All is well again.
    pub(super) fn recovered(&mut self) {
        self.failures = 0;
        if !std::mem::take(&mut self.logged).is_empty() {
            tracing::info!("usage is exported again");
        }
    }

    fn log(&mut self, failure: &NotSent) {
        let NotSent { remedy, reason, detail } = failure;
        let passes = matches!(remedy, Remedy::Later { .. });
        if std::mem::replace(&mut self.passes, passes) != passes {
            // Waits of one kind of trouble tell nothing about how long the other lasts.
            self.failures = 0;
        }
        // A collector behind a proxy may fail in several ways in turn.
        if !self.logged.insert(reason.clone()) {
            return;
        }
        match remedy {
            Remedy::Later { .. } => {
                tracing::warn!(reason, detail, "usage cannot be exported now; it is tried again");
            }
            Remedy::Smaller | Remedy::Operator => {
                tracing::error!(
                    reason,
                    detail,
                    "usage is not exported until somebody acts; records are kept"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(remedy: Remedy, reason: &str) -> NotSent {
        NotSent { remedy, reason: reason.to_owned(), detail: String::new() }
    }

    fn seconds(range: std::ops::RangeInclusive<u64>, wait: Duration) {
        let range = Duration::from_secs(*range.start())..=Duration::from_secs(*range.end());
        assert!(range.contains(&wait), "{wait:?} is not in {range:?}");
    }

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew_afterwards() {
        let mut pace = Pace::default();
        let later = failure(Remedy::Later { after: None }, "503");
        let waits: Vec<_> = (0..20).map(|_| pace.failed(&later)).collect();
        seconds(0..=1, waits[0]);
        seconds(4..=8, waits[3]);
        waits[6..].iter().for_each(|wait| seconds(30..=60, *wait));
        assert!(waits.iter().any(|wait| wait.subsec_nanos() != 0), "{waits:?}");
        pace.recovered();
        seconds(0..=1, pace.failed(&later));
    }

    #[test]
    fn what_only_somebody_can_change_is_tried_seldom() {
        let mut pace = Pace::default();
        let refused = failure(Remedy::Operator, "401");
        seconds(15..=30, pace.failed(&refused));
        (0..20).for_each(|_| _ = pace.failed(&refused));
        seconds(300..=600, pace.failed(&refused));
    }

    #[test]
    fn a_sink_is_left_alone_as_long_as_it_asks_and_no_longer_than_an_hour() {
        let mut pace = Pace::default();
        let after = |s| failure(Remedy::Later { after: Some(Duration::from_secs(s)) }, "429");
        assert_eq!(pace.failed(&after(120)), Duration::from_secs(120));
        assert_eq!(pace.failed(&after(1_000_000)), Duration::from_secs(3_600));
        // Nor is it asked sooner than it would be without that.
        (0..20).for_each(|_| _ = pace.failed(&after(0)));
        seconds(30..=60, pace.failed(&after(0)));
    }

    #[test]
    fn each_trouble_is_logged_once() {
        let mut pace = Pace::default();
        pace.failed(&failure(Remedy::Operator, "401"));
        assert_eq!(Vec::from_iter(&pace.logged), ["401"]);
        let in_turn = ["503", "502"].map(|status| failure(Remedy::Later { after: None }, status));
        let waits: Vec<_> = in_turn.iter().cycle().take(20).map(|failure| pace.failed(failure)).collect();
        seconds(30..=60, waits[19]);
        assert_eq!(Vec::from_iter(&pace.logged), ["401", "502", "503"]);
        pace.recovered();
        assert!(pace.logged.is_empty());
    }

    #[test]
    fn requests_shrink_to_one_record_and_grow_again() {
        let mut size = Size::new(100);
        for (count, half) in [(100, 50), (50, 25), (7, 3), (3, 1)] {
            assert!(size.shrink(count));
            assert_eq!(size.get(), half);
        }
        assert!(!size.shrink(1));
        (0..GROW_AFTER * 3).for_each(|_| size.taken());
        assert_eq!(size.get(), 8);
        (0..GROW_AFTER * 10).for_each(|_| size.taken());
        assert_eq!(size.get(), 100);
    }
}
