//! The gates of tenants and of their functions: what invocations use now and have used this month, against
//! both quotas.
//!
//! One lock for each, held for as long as a few numbers are compared, the function's before its tenant's, so
//! that no two invocations can both be the last that a quota allows.

mod counter;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use modelet_types::plan::Plan;
use modelet_types::quota::{Holder, InvocationQuotas};
use modelet_types::{FunctionName, Limits, Problem, Quotas, TenantName, Usage};

use counter::{Counter, Share};

/// What is used now, and has been used this month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Invocations that run or wait.
    pub running: u32,
    /// Of those, the ones that wait for a place.
    pub waiting: u32,
    /// Memory that is set aside for them, in bytes.
    pub memory_bytes: u64,
    /// Of that, what is for tensors.
    pub tensor_bytes: u64,
    /// What those of this month that have ended have used.
    pub used: Usage,
}

/// The gate of all that a tenant has.
pub(crate) struct TenantGate {
    tenant: TenantName,
    state: Mutex<TenantState>,
}

struct TenantState {
    counter: Counter,
    /// What the tenant pays, if it pays.
    plan: Option<Arc<Plan>>,
    /// The same where nothing is free: what is free is the tenant's, and not each function's.
    full_price: Option<Arc<Plan>>,
}

impl TenantGate {
    pub(crate) fn new(tenant: TenantName) -> Self {
        let counter = Counter::new(Holder::Tenant);
        Self { tenant, state: Mutex::new(TenantState { counter, plan: None, full_price: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, TenantState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the quotas and prices; what is used stays.
    pub(crate) fn set(&self, quotas: &Quotas, plan: Option<Plan>) {
        let mut state = self.lock();
        state.counter.set(quotas.of_invocations());
        state.full_price = plan.as_ref().map(|plan| Arc::new(plan.without_free()));
        state.plan = plan.map(Arc::new);
    }

    /// Says what was used in this month before the host started.
    pub(crate) fn begin_with(&self, used: Usage) {
        self.lock().counter.add(used, None, Timestamp::now());
    }

    pub(crate) fn in_use(&self) -> InUse {
        self.lock().counter.in_use(Timestamp::now())
    }
}

/// The gate of a function.
pub(crate) struct FunctionGate {
    function: FunctionName,
    tenant: Arc<TenantGate>,
    counter: Mutex<Counter>,
}

impl FunctionGate {
    pub(crate) fn new(function: FunctionName, tenant: Arc<TenantGate>) -> Self {
        Self { function, tenant, counter: Mutex::new(Counter::new(Holder::Function)) }
    }

    fn lock(&self) -> MutexGuard<'_, Counter> {
        self.counter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the function's own quotas, within its tenant's; what is used stays.
    pub(crate) fn set(&self, quotas: InvocationQuotas) {
        let mut counter = self.lock();
        if counter.quotas != quotas {
            counter.set(quotas);
        }
    }

    /// Says what was used in this month before the host started; the tenant's gate is told by itself.
    pub(crate) fn begin_with(&self, used: Usage) {
        self.lock().add(used, None, Timestamp::now());
    }

    pub(crate) fn in_use(&self) -> InUse {
        self.lock().in_use(Timestamp::now())
    }

    /// Lets an invocation with these limits begin.
    ///
    /// # Errors
    /// `QuotaExceeded`, with the quota that is reached.
    pub(crate) fn enter(self: &Arc<Self>, limits: &Limits) -> Result<Entered, Problem> {
        let share = Share::of(limits);
        let (mut own, mut all) = (self.lock(), self.tenant.lock());
        // Behind the locks, so that no month is turned back.
        let now = Timestamp::now();
        // Both before either, so that what one refuses uses up nothing of the other.
        let leave = own.check(share, all.full_price.as_ref(), now)?;
        let TenantState { counter, plan, .. } = &mut *all;
        let leave_of_all = counter.check(share, plan.as_ref(), now)?;
        own.begin(leave, share);
        counter.begin(leave_of_all, share);
        Ok(Entered { gate: self.clone(), share })
    }

    /// Adds what an invocation has used.
    fn add(&self, usage: Usage) {
        let (mut own, mut all) = (self.lock(), self.tenant.lock());
        let now = Timestamp::now();
        let most_of_own = own.add(usage, all.full_price.as_ref(), now);
        let TenantState { counter, plan, .. } = &mut *all;
        let most_of_all = counter.add(usage, plan.as_ref(), now);
        drop((own, all));
        let tenant = &self.tenant.tenant;
        if let Some(spent) = most_of_own {
            tracing::warn!(%tenant, function = %self.function, %spent, "most of a function's spending limit is used");
        }
        if let Some(spent) = most_of_all {
            tracing::warn!(%tenant, %spent, "most of a tenant's spending limit is used");
        }
    }
}

/// An invocation that was let in. Dropping it gives back what was set aside for it.
pub(crate) struct Entered {
    gate: Arc<FunctionGate>,
    share: Share,
}

impl Entered {
    /// Adds what the invocation has used.
    pub(crate) fn add(&self, usage: Usage) {
        self.gate.add(usage);
    }

    /// Lets it wait for a place.
    ///
    /// # Errors
    /// `QuotaExceeded`, if as many wait as may.
    pub(crate) fn wait(&self) -> Result<Waiting, Problem> {
        let (mut own, mut all) = (self.gate.lock(), self.gate.tenant.lock());
        own.check_queue()?;
        all.counter.check_queue()?;
        own.begin_to_wait();
        all.counter.begin_to_wait();
        Ok(Waiting(self.gate.clone()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.gate.lock().end(self.share);
        self.gate.tenant.lock().counter.end(self.share);
    }
}

/// An invocation that waits for a place, until this is dropped.
pub(crate) struct Waiting(Arc<FunctionGate>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lock().end_to_wait();
        self.0.tenant.lock().counter.end_to_wait();
    }
}

#[cfg(test)]
mod tests {
    use modelet_types::Code;
    use rust_decimal::Decimal;

    use super::*;

    fn gate(of_tenant: Quotas, own: InvocationQuotas) -> Arc<FunctionGate> {
        let tenant = TenantGate::new("acme".parse().unwrap());
        let plan = Plan { per_cpu_second: Decimal::ONE, free_cpu_seconds: 1, ..Plan::default() };
        tenant.set(&of_tenant, Some(plan));
        beside(&Arc::new(tenant), own)
    }

    /// Another function of the tenant.
    fn beside(tenant: &Arc<TenantGate>, own: InvocationQuotas) -> Arc<FunctionGate> {
        let gate = FunctionGate::new("f".parse().unwrap(), tenant.clone());
        gate.set(own);
        Arc::new(gate)
    }

    fn enter(gate: &Arc<FunctionGate>) -> Entered {
        gate.enter(&Limits::default()).unwrap()
    }

    fn name_of(problem: &Problem) -> String {
        assert_eq!(problem.code, Code::QuotaExceeded);
        problem.reached.unwrap().name()
    }

    fn refused(gate: &Arc<FunctionGate>) -> String {
        name_of(&gate.enter(&Limits::default()).map(drop).unwrap_err())
    }

    #[test]
    fn what_runs_counts_until_it_ends() {
        let two = Quotas { concurrency: Some(2), ..Quotas::default() };
        let one = InvocationQuotas { concurrency: Some(1), ..InvocationQuotas::default() };
        let gate = gate(two, one.clone());
        let other = beside(&gate.tenant, one);
        let first = enter(&gate);
        assert_eq!(refused(&gate), "function.concurrency");
        let second = enter(&other);
        let third = beside(&gate.tenant, InvocationQuotas::default());
        assert_eq!(refused(&third), "concurrency");
        drop((first, second));
        drop(enter(&gate));
        assert_eq!((gate.in_use(), gate.tenant.in_use()), (InUse::default(), InUse::default()));
    }

    #[test]
    fn what_the_tenant_is_refused_uses_up_nothing_of_the_function() {
        let own = InvocationQuotas { invocations_per_second: Some(1), ..InvocationQuotas::default() };
        let gate = gate(Quotas { concurrency: Some(0), ..Quotas::default() }, own);
        for _ in 0..3 {
            assert_eq!(refused(&gate), "concurrency");
        }
        gate.tenant.set(&Quotas::default(), None);
        drop(enter(&gate));
        assert_eq!(refused(&gate), "function.invocations_per_second");
    }

    #[test]
    fn memory_and_tensors_are_set_aside_by_the_limits() {
        let Limits { memory_bytes, tensor_bytes, .. } = Limits::default();
        let memory = Some(2 * (memory_bytes + tensor_bytes) - 1);
        let gate_of_memory =
            gate(Quotas { memory_bytes: memory, ..Quotas::default() }, InvocationQuotas::default());
        let _first = enter(&gate_of_memory);
        assert_eq!(refused(&gate_of_memory), "memory_bytes");
        let tensors = Some(2 * tensor_bytes - 1);
        let own = InvocationQuotas { tensor_bytes: tensors, ..InvocationQuotas::default() };
        let gate_of_tensors = gate(Quotas::default(), own);
        let _second = enter(&gate_of_tensors);
        assert_eq!(refused(&gate_of_tensors), "function.tensor_bytes");
    }

    #[test]
    fn those_that_wait_are_counted_apart() {
        let own = InvocationQuotas { queue: Some(1), ..InvocationQuotas::default() };
        let gate = gate(Quotas { queue: Some(1), ..Quotas::default() }, own);
        let other = beside(&gate.tenant, InvocationQuotas::default());
        let (first, second, third) = (enter(&gate), enter(&gate), enter(&other));
        let waiting = first.wait().unwrap();
        assert_eq!(name_of(&second.wait().map(drop).unwrap_err()), "function.queue");
        assert_eq!(name_of(&third.wait().map(drop).unwrap_err()), "queue");
        assert_eq!((gate.in_use().waiting, gate.tenant.in_use().waiting), (1, 1));
        drop(waiting);
        assert!(third.wait().is_ok() && second.wait().is_ok());
    }

    #[test]
    fn a_month_ends_with_what_is_in_flight() {
        let quotas = Quotas { invocations_per_month: Some(3), ..Quotas::default() };
        let gate = gate(quotas, InvocationQuotas::default());
        gate.tenant.begin_with(Usage { invocations: 1, ..Usage::default() });
        let (first, second) = (enter(&gate), enter(&gate));
        assert_eq!(refused(&gate), "invocations_per_month", "two are on their way");
        first.add(Usage { not_billed: 1, ..Usage::default() });
        drop(first);
        let third = enter(&gate);
        for entered in [second, third] {
            entered.add(Usage { invocations: 1, ..Usage::default() });
        }
        assert_eq!(refused(&gate), "invocations_per_month");
    }

    #[test]
    fn cpu_time_and_spending_have_an_end() {
        let second = Usage { cpu_us: 600_000, inference_cpu_us: 400_000, ..Usage::default() };
        let quotas = Quotas { cpu_seconds_per_month: Some(1), ..Quotas::default() };
        let gate_of_cpu = gate(quotas, InvocationQuotas::default());
        enter(&gate_of_cpu).add(second);
        assert_eq!(refused(&gate_of_cpu), "cpu_seconds_per_month");

        // The first second is free for the tenant, and costs the function's limit all the same.
        let limit = Some(Decimal::new(6, 1));
        let own = InvocationQuotas { spend_per_month: limit, ..InvocationQuotas::default() };
        let gate_of_spend = gate(Quotas { spend_per_month: limit, ..Quotas::default() }, own);
        let other = beside(&gate_of_spend.tenant, InvocationQuotas::default());
        enter(&gate_of_spend).add(second);
        assert_eq!(refused(&gate_of_spend), "function.spend_per_month");
        enter(&other).add(Usage { cpu_us: 1_000_000, ..Usage::default() });
        assert_eq!(refused(&other), "spend_per_month");
    }
}
