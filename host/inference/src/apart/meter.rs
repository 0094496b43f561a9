//! What the calls of a worker process cost: what it reports, and never more or less in all than the
//! kernel's clock of the process says.

use std::time::Duration;

/// Divides the CPU time of a process among its calls.
///
/// A process that is taken over can report what it likes. So a call is charged what it reports, up to what
/// was not charged to another yet, and one that reports nothing an even part of that; and the last of calls that overlap is charged what is left. Whenever
/// nothing runs, what was charged is what was used.
#[derive(Debug, Default)]
pub(super) struct Meter {
    active: u32,
    /// Whether there was a call since somebody asked for that.
    was_active: bool,
    /// What was charged, or used before and between calls.
    claimed: Duration,
}

impl Meter {
    /// Begins a call, when the process has used `now`.
    pub(super) fn begin(&mut self, now: Duration) {
        if self.active == 0 {
            self.claimed = now;
        }
        self.active += 1;
        self.was_active = true;
    }

    /// Ends a call that reports so much, or nothing, and says what it is charged; nothing if it is not known what
    /// the process has used.
    pub(super) fn end(&mut self, now: Option<Duration>, reported: Option<Duration>) -> Duration {
        let left = now.unwrap_or_default().saturating_sub(self.claimed);
        let even = left / self.active.max(1);
        self.active -= 1;
        let charge = if self.active == 0 { left } else { left.min(reported.unwrap_or(even)) };
        self.claimed += charge;
        charge
    }

    /// What one of the calls that go on would be charged that reports nothing, if it ended now.
    pub(super) fn so_far(&self, now: Option<Duration>) -> Duration {
        now.unwrap_or_default().saturating_sub(self.claimed) / self.active.max(1)
    }

    /// Whether there was no call since this was last called.
    pub(super) fn has_rested(&mut self) -> bool {
        !std::mem::replace(&mut self.was_active, self.active > 0)
    }

    /// What the process, having used `now`, has used since its last call; nothing during one.
    pub(super) fn unasked(&self, now: Duration) -> Duration {
        if self.active == 0 { now.saturating_sub(self.claimed) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_call_by_itself_is_charged_what_was_used_whatever_it_reports() {
        for reported in [ms(0), ms(5), ms(1000)] {
            let mut meter = Meter::default();
            meter.begin(ms(100));
            assert_eq!(meter.end(Some(ms(105)), Some(reported)), ms(5));
        }
    }

    #[test]
    fn calls_that_overlap_are_charged_what_was_used_in_all() {
        for reported in [ms(0), ms(3), ms(1000)] {
            let mut meter = Meter::default();
            meter.begin(ms(100));
            meter.begin(ms(101));
            let first = meter.end(Some(ms(110)), Some(reported));
            assert_eq!(first, reported.min(ms(10)));
            assert_eq!(first + meter.end(Some(ms(130)), Some(reported)), ms(30));
        }
    }

    #[test]
    fn a_call_that_fails_is_charged_its_part() {
        let mut meter = Meter::default();
        meter.begin(ms(100));
        meter.begin(ms(100));
        assert_eq!(meter.so_far(Some(ms(110))), ms(5));
        assert_eq!(meter.end(Some(ms(110)), None), ms(5));
        assert_eq!(meter.so_far(Some(ms(112))), ms(7));
        assert_eq!(meter.end(Some(ms(112)), None), ms(7));
    }

    #[test]
    fn what_is_used_between_calls_is_nobodys_and_is_seen() {
        let mut meter = Meter::default();
        meter.begin(ms(100));
        assert_eq!(meter.unasked(ms(900)), ms(0), "it is busy");
        assert_eq!(meter.end(Some(ms(110)), Some(ms(10))), ms(10));
        assert_eq!(meter.unasked(ms(900)), ms(790));
        meter.begin(ms(900));
        assert_eq!(meter.end(Some(ms(901)), Some(ms(1))), ms(1));
    }

    #[test]
    fn rests_between_calls() {
        let mut meter = Meter::default();
        assert!(meter.has_rested());
        meter.begin(ms(1));
        assert!(!meter.has_rested() && !meter.has_rested(), "it is busy");
        meter.end(Some(ms(2)), Some(ms(1)));
        assert!(!meter.has_rested() && meter.has_rested());
    }

    #[test]
    fn nothing_is_charged_where_it_is_not_known() {
        let mut meter = Meter::default();
        meter.begin(ms(100));
        assert_eq!(meter.end(None, Some(ms(10))), ms(0));
    }
}
