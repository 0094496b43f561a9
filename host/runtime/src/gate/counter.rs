//! What one holder of quotas, a tenant or one of its functions, uses now and has used this month.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use modelet_types::plan::Plan;
use modelet_types::quota::{Holder, InvocationQuotas, Reached};
use modelet_types::{Limits, Problem, Usage};
use rust_decimal::Decimal;

use super::InUse;

/// When what ends with an invocation is worth asking for again.
const SOON: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The share of a spending limit at which the operator is warned.
const WARNING: Decimal = Decimal::from_parts(8, 0, 0, false, 1);

/// What an invocation has set aside for it, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Share {
    memory: u64,
    tensors: u64,
}

impl Share {
    pub(super) fn of(limits: &Limits) -> Self {
        let memory = limits.memory_bytes.saturating_add(limits.tensor_bytes);
        Self { memory, tensors: limits.tensor_bytes }
    }
}

/// Leave for one invocation to begin, which [`Counter::begin`] uses up.
pub(super) struct Leave {
    next_begin: Option<Instant>,
}

pub(super) struct Counter {
    holder: Holder,
    pub(super) quotas: InvocationQuotas,
    in_use: InUse,
    /// When the next invocation would begin if they came evenly spread, as the generic cell rate algorithm
    /// has it (ITU-T I.371).
    next_begin: Option<Instant>,
    month_begins: Timestamp,
    month_ends: Timestamp,
    /// What this month's usage costs, and by which prices, until one of them changes: reckoned once for each
    /// invocation, and not once when it begins and once when it ends.
    spent: Option<(Decimal, Arc<Plan>)>,
    is_warned: bool,
}

impl Counter {
    pub(super) fn new(holder: Holder) -> Self {
        let (month_begins, month_ends) = month_of(Timestamp::now());
        Self {
            holder,
            quotas: InvocationQuotas::default(),
            in_use: InUse::default(),
            next_begin: None,
            month_begins,
            month_ends,
            spent: None,
            is_warned: false,
        }
    }

    /// Sets the quotas; what is used stays.
    pub(super) fn set(&mut self, quotas: InvocationQuotas) {
        (self.quotas, self.is_warned) = (quotas, false);
    }

    pub(super) fn in_use(&mut self, now: Timestamp) -> InUse {
        self.turn_month(now);
        self.in_use
    }

    /// Whether an invocation may begin now that has this set aside for it.
    ///
    /// # Errors
    /// `QuotaExceeded`, with the quota that is reached.
    pub(super) fn check(
        &mut self,
        share: Share,
        plan: Option<&Arc<Plan>>,
        now: Timestamp,
    ) -> Result<Leave, Problem> {
        self.turn_month(now);
        let InvocationQuotas { concurrency, memory_bytes, tensor_bytes, .. } = self.quotas;
        let at_once = |quota, limit| self.reached(quota, limit, None, SOON);
        if let Some(limit) = concurrency.filter(|limit| self.in_use.running >= *limit) {
            return Err(at_once("concurrency", limit.into()).problem("invocations at one time"));
        }
        let bytes = [
            ("memory_bytes", "memory", memory_bytes, self.in_use.memory_bytes, share.memory),
            ("tensor_bytes", "tensors", tensor_bytes, self.in_use.tensor_bytes, share.tensors),
        ];
        for (quota, what, limit, used, wanted) in bytes {
            let Some(limit) = limit else { continue };
            if wanted > limit {
                let alone = format!("bytes of {what}, and this function's limits alone are more,");
                return Err(at_once(quota, limit).problem(&alone));
            }
            if used.saturating_add(wanted) > limit {
                return Err(at_once(quota, limit).problem(&format!("bytes of {what} at one time")));
            }
        }
        self.check_month(plan, now)?;
        let next_begin = match self.quotas.invocations_per_second {
            Some(limit) => Some(self.check_rate(limit, Instant::now())?),
            None => self.next_begin,
        };
        Ok(Leave { next_begin })
    }

    pub(super) fn begin(&mut self, leave: Leave, share: Share) {
        self.next_begin = leave.next_begin;
        let in_use = &mut self.in_use;
        in_use.running += 1;
        in_use.memory_bytes = in_use.memory_bytes.saturating_add(share.memory);
        in_use.tensor_bytes = in_use.tensor_bytes.saturating_add(share.tensors);
    }

    pub(super) fn end(&mut self, share: Share) {
        let in_use = &mut self.in_use;
        in_use.running = in_use.running.saturating_sub(1);
        in_use.memory_bytes = in_use.memory_bytes.saturating_sub(share.memory);
        in_use.tensor_bytes = in_use.tensor_bytes.saturating_sub(share.tensors);
    }

    /// Whether one more invocation may wait for a place.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub(super) fn check_queue(&self) -> Result<(), Problem> {
        match self.quotas.queue.filter(|limit| self.in_use.waiting >= *limit) {
            Some(limit) => Err(self
                .reached("queue", limit.into(), None, SOON)
                .problem("invocations that wait for a place at one time")),
            None => Ok(()),
        }
    }

    pub(super) fn begin_to_wait(&mut self) {
        self.in_use.waiting += 1;
    }

    pub(super) fn end_to_wait(&mut self) {
        self.in_use.waiting = self.in_use.waiting.saturating_sub(1);
    }

    /// Adds what was used. Says how much is spent if that is for the first time most of what may be.
    pub(super) fn add(&mut self, usage: Usage, plan: Option<&Arc<Plan>>, now: Timestamp) -> Option<Decimal> {
        self.turn_month(now);
        self.in_use.used += usage;
        self.spent = None;
        let limit = self.quotas.spend_per_month.filter(|_| !self.is_warned)?;
        let spent = self.spent(plan?);
        self.is_warned = spent >= limit * WARNING;
        self.is_warned.then_some(spent)
    }

    fn turn_month(&mut self, now: Timestamp) {
        if now < self.month_ends && now >= self.month_begins {
            return;
        }
        // A clock that was put back to a month before gives nobody a fresh one.
        if now >= self.month_ends {
            (self.in_use.used, self.spent, self.is_warned) = (Usage::default(), None, false);
        }
        (self.month_begins, self.month_ends) = month_of(now);
    }

    /// What this month's usage costs.
    fn spent(&mut self, plan: &Arc<Plan>) -> Decimal {
        match &self.spent {
            Some((spent, by)) if Arc::ptr_eq(by, plan) => *spent,
            _ => {
                let spent = plan.total(&self.in_use.used);
                self.spent = Some((spent, plan.clone()));
                spent
            }
        }
    }

    fn reached(
        &self,
        quota: &'static str,
        limit: u64,
        window: Option<Duration>,
        retry_after: Duration,
    ) -> Reached {
        Reached { holder: self.holder, quota, limit, window, retry_after }
    }

    fn check_month(&mut self, plan: Option<&Arc<Plan>>, now: Timestamp) -> Result<(), Problem> {
        let InvocationQuotas { invocations_per_month, cpu_seconds_per_month, spend_per_month, .. } =
            self.quotas;
        let overspent = spend_per_month.filter(|limit| plan.is_some_and(|plan| self.spent(plan) >= *limit));
        let this_month = |quota, limit| {
            let left = now.duration_until(self.month_ends);
            self.reached(quota, limit, Some(MONTH), Duration::try_from(left).unwrap_or(SOON))
        };
        let InUse { running, used, .. } = &self.in_use;
        // Those that run count as if they had ended.
        let begun = used.invocations.saturating_add((*running).into());
        if let Some(limit) = invocations_per_month.filter(|limit| begun >= *limit) {
            return Err(this_month("invocations_per_month", limit).problem("invocations a month"));
        }
        let cpu_us = used.cpu_us.saturating_add(used.inference_cpu_us);
        if let Some(limit) = cpu_seconds_per_month.filter(|limit| cpu_us / 1_000_000 >= *limit) {
            return Err(this_month("cpu_seconds_per_month", limit).problem("CPU seconds a month"));
        }
        if let Some(limit) = overspent {
            let shown = u64::try_from(limit.floor()).unwrap_or(u64::MAX);
            return Err(this_month("spend_per_month", shown).problem("units of currency a month"));
        }
        Ok(())
    }

    /// As many at once as in a second, and then evenly. Gives when the next would begin after this one.
    fn check_rate(&self, limit: u32, now: Instant) -> Result<Instant, Problem> {
        let reached = |retry_after| {
            self.reached("invocations_per_second", limit.into(), Some(SECOND), retry_after)
                .problem("invocations a second")
        };
        if limit == 0 {
            return Err(reached(SECOND));
        }
        let next = self.next_begin.map_or(now, |next| next.max(now)) + SECOND / limit;
        match next.checked_duration_since(now + SECOND) {
            Some(early) if !early.is_zero() => Err(reached(early)),
            _ => Ok(next),
        }
    }
}

/// The first moment of the month, UTC, in which a moment is, and the first after it.
fn month_of(now: Timestamp) -> (Timestamp, Timestamp) {
    let date = Offset::UTC.to_datetime(now).date();
    let midnight = |date: Date| Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok();
    let begin = midnight(date.first_of_month()).unwrap_or(Timestamp::MIN);
    (begin, date.last_of_month().tomorrow().ok().and_then(midnight).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_a_second_at_once_and_then_evenly() {
        let begin = Instant::now();
        let mut counter = Counter::new(Holder::Tenant);
        let mut allowed = |ms: u64| match counter.check_rate(10, begin + Duration::from_millis(ms)) {
            Ok(next) => {
                counter.next_begin = Some(next);
                true
            }
            Err(_) => false,
        };
        assert_eq!((0..20).filter(|_| allowed(0)).count(), 10);
        assert!(!allowed(99) && allowed(100) && !allowed(150) && allowed(200));
        assert_eq!((0..20).filter(|_| allowed(5_000)).count(), 10);
        assert!(counter.check_rate(0, begin).is_err());
    }

    #[test]
    fn the_next_month_begins_anew() {
        let mut counter = Counter::new(Holder::Tenant);
        counter.set(InvocationQuotas { invocations_per_month: Some(1), ..InvocationQuotas::default() });
        let now = Timestamp::now();
        counter.add(Usage { invocations: 1, ..Usage::default() }, None, now);
        assert!(counter.check_month(None, now).is_err());
        counter.turn_month(month_of(now).1);
        assert!(counter.check_month(None, now).is_ok());
    }

    #[test]
    fn months_end_at_midnight() {
        let end = |text: &str| month_of(text.parse().unwrap()).1.to_string();
        assert_eq!(end("2026-12-31T23:59:59Z"), "2027-01-01T00:00:00Z");
        assert_eq!(end("2028-02-01T00:00:00Z"), "2028-03-01T00:00:00Z");
    }
}
