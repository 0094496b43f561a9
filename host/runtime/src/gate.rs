//! The gate of a tenant: what its invocations use now and have used this month, against its quotas.
//!
//! One lock for each tenant, held for as long as a few numbers are compared, so that no two invocations can
//! both be the last that a quota allows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use modelet_types::plan::Plan;
use modelet_types::quota::Reached;
use modelet_types::{Limits, Problem, Quotas, TenantName, Usage};
use rust_decimal::Decimal;

/// When what ends with an invocation is worth asking for again.
const SOON: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
/// The share of a spending limit at which the operator is warned.
const WARNING: Decimal = Decimal::from_parts(8, 0, 0, false, 1);

/// A tenant's gate.
pub(crate) struct Gate {
    tenant: TenantName,
    state: Mutex<State>,
}

struct State {
    quotas: Quotas,
    /// What the tenant pays, if it pays.
    plan: Option<Arc<Plan>>,
    running: u32,
    memory_bytes: u64,
    /// When the next invocation would begin if they came evenly spread, as the generic cell rate algorithm
    /// has it (ITU-T I.371).
    next_begin: Option<Instant>,
    /// Of the present month.
    used: Usage,
    month_begins: Timestamp,
    month_ends: Timestamp,
    is_warned: bool,
}

/// What a tenant uses now, and has used this month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Invocations that run or wait.
    pub running: u32,
    /// Memory that is set aside for them, in bytes.
    pub memory_bytes: u64,
    /// What those of this month that have ended have used.
    pub used: Usage,
}

impl Gate {
    pub(crate) fn new(tenant: TenantName) -> Self {
        let (month_begins, month_ends) = month_of(Timestamp::now());
        let state = State {
            quotas: Quotas::default(),
            plan: None,
            running: 0,
            memory_bytes: 0,
            next_begin: None,
            used: Usage::default(),
            month_begins,
            month_ends,
            is_warned: false,
        };
        Self { tenant, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the quotas and prices; what is used stays.
    pub(crate) fn set(&self, quotas: Quotas, plan: Option<Arc<Plan>>) {
        let mut state = self.lock();
        (state.quotas, state.plan, state.is_warned) = (quotas, plan, false);
    }

    /// Says what was used in this month before the host started.
    pub(crate) fn begin_with(&self, used: Usage) {
        self.lock().used += used;
    }

    pub(crate) fn in_use(&self) -> InUse {
        let mut state = self.lock();
        state.turn_month(Timestamp::now());
        InUse { running: state.running, memory_bytes: state.memory_bytes, used: state.used }
    }

    /// Lets an invocation with these limits begin.
    ///
    /// # Errors
    /// `QuotaExceeded`, with the quota that is reached.
    pub(crate) fn enter(self: &Arc<Self>, limits: &Limits) -> Result<Entered, Problem> {
        let memory_bytes = limits.memory_bytes.saturating_add(limits.tensor_bytes);
        let mut state = self.lock();
        state.turn_month(Timestamp::now());
        state.check(memory_bytes, Instant::now())?;
        state.running += 1;
        state.memory_bytes = state.memory_bytes.saturating_add(memory_bytes);
        Ok(Entered { gate: self.clone(), memory_bytes })
    }

    /// Adds what an invocation has used.
    pub(crate) fn add(&self, usage: Usage) {
        let mut state = self.lock();
        state.turn_month(Timestamp::now());
        state.used += usage;
        if let Some(limit) = state.quotas.spend_per_month
            && !state.is_warned
            && let spent = state.spent()
            && spent >= limit * WARNING
        {
            state.is_warned = true;
            drop(state);
            tracing::warn!(tenant = %self.tenant, %spent, %limit, "most of a tenant's spending limit is used");
        }
    }
}

impl State {
    fn turn_month(&mut self, now: Timestamp) {
        if now < self.month_ends && now >= self.month_begins {
            return;
        }
        // A clock that was put back to a month before gives nobody a fresh one.
        if now >= self.month_ends {
            (self.used, self.is_warned) = (Usage::default(), false);
        }
        (self.month_begins, self.month_ends) = month_of(now);
    }

    fn spent(&self) -> Decimal {
        self.plan.as_ref().map(|plan| plan.total(&self.used)).unwrap_or_default()
    }

    fn check(&mut self, memory_bytes: u64, now: Instant) -> Result<(), Problem> {
        let Quotas { invocations_per_second, concurrency, memory_bytes: memory, .. } = self.quotas;
        let at_once = |quota, limit| Reached { quota, limit, window: None, retry_after: SOON };
        if let Some(limit) = concurrency.filter(|limit| self.running >= *limit) {
            return Err(at_once("concurrency", limit.into()).problem("invocations at one time"));
        }
        if let Some(limit) = memory.filter(|limit| memory_bytes > *limit) {
            let alone = "bytes of memory, and this function's limits alone are more,";
            return Err(at_once("memory_bytes", limit).problem(alone));
        }
        if let Some(limit) = memory.filter(|limit| self.memory_bytes.saturating_add(memory_bytes) > *limit) {
            return Err(at_once("memory_bytes", limit).problem("bytes of memory at one time"));
        }
        self.check_month()?;
        // Last, since it uses something up.
        match invocations_per_second {
            Some(limit) => self.check_rate(limit, now),
            None => Ok(()),
        }
    }

    fn check_month(&self) -> Result<(), Problem> {
        let Quotas { invocations_per_month, cpu_seconds_per_month, spend_per_month, .. } = self.quotas;
        let this_month = |quota, limit| {
            let left = Timestamp::now().duration_until(self.month_ends);
            let retry_after = Duration::try_from(left).unwrap_or(SOON);
            Reached { quota, limit, window: Some(Duration::from_secs(30 * 24 * 3_600)), retry_after }
        };
        // Those that run count as if they had ended.
        let begun = self.used.invocations.saturating_add(self.running.into());
        if let Some(limit) = invocations_per_month.filter(|limit| begun >= *limit) {
            return Err(this_month("invocations_per_month", limit).problem("invocations a month"));
        }
        let cpu_us = self.used.cpu_us.saturating_add(self.used.inference_cpu_us);
        if let Some(limit) = cpu_seconds_per_month.filter(|limit| cpu_us / 1_000_000 >= *limit) {
            return Err(this_month("cpu_seconds_per_month", limit).problem("CPU seconds a month"));
        }
        if let Some(limit) = spend_per_month.filter(|limit| self.plan.is_some() && self.spent() >= *limit) {
            let shown = u64::try_from(limit.floor()).unwrap_or(u64::MAX);
            return Err(this_month("spend_per_month", shown).problem("units of currency a month"));
        }
        Ok(())
    }

    /// As many at once as in a second, and then evenly.
    fn check_rate(&mut self, limit: u32, now: Instant) -> Result<(), Problem> {
        let reached = |retry_after| Reached {
            quota: "invocations_per_second",
            limit: limit.into(),
            window: Some(SECOND),
            retry_after,
        };
        if limit == 0 {
            return Err(reached(SECOND).problem("invocations a second"));
        }
        let next = self.next_begin.map_or(now, |next| next.max(now)) + SECOND / limit;
        match next.checked_duration_since(now + SECOND) {
            Some(early) if !early.is_zero() => Err(reached(early).problem("invocations a second")),
            _ => {
                self.next_begin = Some(next);
                Ok(())
            }
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

/// An invocation that was let in. Dropping it gives back what was set aside for it.
pub(crate) struct Entered {
    gate: Arc<Gate>,
    memory_bytes: u64,
}

impl Entered {
    /// Adds what the invocation has used.
    pub(crate) fn add(&self, usage: Usage) {
        self.gate.add(usage);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.running = state.running.saturating_sub(1);
        state.memory_bytes = state.memory_bytes.saturating_sub(self.memory_bytes);
    }
}

#[cfg(test)]
mod tests {
    use modelet_types::Code;

    use super::*;

    fn gate(quotas: Quotas) -> Arc<Gate> {
        let gate = Gate::new("acme".parse().unwrap());
        let plan = Plan { per_cpu_second: Decimal::ONE, ..Plan::default() };
        gate.set(quotas, Some(Arc::new(plan)));
        Arc::new(gate)
    }

    fn refused(gate: &Arc<Gate>) -> &'static str {
        let problem = gate.enter(&Limits::default()).map(drop).unwrap_err();
        assert_eq!(problem.code, Code::QuotaExceeded);
        problem.reached.unwrap().quota
    }

    #[test]
    fn what_runs_counts_until_it_ends() {
        let gate = gate(Quotas { concurrency: Some(1), ..Quotas::default() });
        let first = gate.enter(&Limits::default()).unwrap();
        assert_eq!(refused(&gate), "concurrency");
        drop(first);
        assert!(gate.enter(&Limits::default()).is_ok());
        assert_eq!(gate.in_use(), InUse::default());
    }

    #[test]
    fn memory_is_set_aside_by_the_limits() {
        let one = Limits::default().memory_bytes + Limits::default().tensor_bytes;
        let gate = gate(Quotas { memory_bytes: Some(2 * one - 1), ..Quotas::default() });
        let _first = gate.enter(&Limits::default()).unwrap();
        assert_eq!(refused(&gate), "memory_bytes");
    }

    #[test]
    fn a_month_ends_with_what_is_in_flight() {
        let gate = gate(Quotas { invocations_per_month: Some(3), ..Quotas::default() });
        gate.begin_with(Usage { invocations: 1, ..Usage::default() });
        let (first, second) =
            (gate.enter(&Limits::default()).unwrap(), gate.enter(&Limits::default()).unwrap());
        assert_eq!(refused(&gate), "invocations_per_month", "two are on their way");
        first.add(Usage { not_billed: 1, ..Usage::default() });
        drop(first);
        let third = gate.enter(&Limits::default()).unwrap();
        for entered in [second, third] {
            entered.add(Usage { invocations: 1, ..Usage::default() });
        }
        assert_eq!(refused(&gate), "invocations_per_month");
        gate.lock().turn_month(month_of(Timestamp::now()).1);
        assert!(gate.lock().check_month().is_ok(), "the next month begins anew");
    }

    #[test]
    fn cpu_time_and_spending_have_an_end() {
        let second = Usage { cpu_us: 600_000, inference_cpu_us: 400_000, ..Usage::default() };
        let gate_of_cpu = gate(Quotas { cpu_seconds_per_month: Some(1), ..Quotas::default() });
        gate_of_cpu.enter(&Limits::default()).unwrap().add(second);
        assert_eq!(refused(&gate_of_cpu), "cpu_seconds_per_month");
        let gate_of_spend = gate(Quotas { spend_per_month: Some(Decimal::new(6, 1)), ..Quotas::default() });
        gate_of_spend.enter(&Limits::default()).unwrap().add(second);
        assert_eq!(refused(&gate_of_spend), "spend_per_month");
    }

    #[test]
    fn a_rate_allows_a_second_at_once_and_then_evenly() {
        let gate = gate(Quotas { invocations_per_second: Some(10), ..Quotas::default() });
        let begin = Instant::now();
        let mut state = gate.lock();
        let mut allowed = |ms: u64| state.check_rate(10, begin + Duration::from_millis(ms)).is_ok();
        assert_eq!((0..20).filter(|_| allowed(0)).count(), 10);
        assert!(!allowed(99) && allowed(100) && !allowed(150) && allowed(200));
        assert_eq!((0..20).filter(|_| allowed(5_000)).count(), 10);
        assert!(state.check_rate(0, begin).is_err());
    }

    #[test]
    fn months_end_at_midnight() {
        let end = |text: &str| month_of(text.parse().unwrap()).1.to_string();
        assert_eq!(end("2026-12-31T23:59:59Z"), "2027-01-01T00:00:00Z");
        assert_eq!(end("2028-02-01T00:00:00Z"), "2028-03-01T00:00:00Z");
    }
}
