//! Whose turn it is to compute: the tenant that has had the least processor time.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng, 1996): each tenant has a clock that its use of a
//! processor moves on by its time over the tenant's weight, and the one whose clock is furthest behind is next.
//! Who comes new starts with the clock of whoever was served last, so that having been idle is no
//! credit. Within a tenant, first come, first served.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use modelet_types::TenantName;

/// The slots of a host, one for each thread, and those who wait for one.
pub(super) struct Turns(Mutex<State>);

struct State {
    free: usize,
    /// The clock of the tenant that was served last.
    now: Duration,
    tenants: HashMap<TenantName, Tenant>,
    /// Of tenants whose weight is not 1.
    weights: HashMap<TenantName, u32>,
    /// The tenants of which somebody waits, the next one first.
    waiting: BTreeSet<(Duration, TenantName)>,
}

struct Tenant {
    /// Processor time that it had, and would have had if it had always waited.
    clock: Duration,
    queue: VecDeque<Waiter>,
    members: usize,
}

struct Waiter {
    has_slot: Arc<AtomicBool>,
    waker: Waker,
}

impl Turns {
    pub(super) fn new(slots: usize) -> Arc<Self> {
        let (tenants, weights, waiting) = Default::default();
        Arc::new(Self(Mutex::new(State { free: slots, now: Duration::ZERO, tenants, weights, waiting })))
    }

    /// Sets a tenant's part of the slots, as it stands to those of others.
    pub(super) fn set_weight(&self, tenant: &TenantName, weight: u32) {
        let weights = &mut self.state().weights;
        match weight {
            0 | 1 => _ = weights.remove(tenant),
            weight => _ = weights.insert(tenant.clone(), weight),
        }
    }

    /// Takes part for a tenant.
    pub(super) fn join(self: Arc<Self>, tenant: TenantName) -> Turn {
        let mut state = self.state();
        let clock = state.now;
        let entry = state.tenants.entry(tenant.clone());
        let entry = entry.or_insert_with(|| Tenant { clock, queue: VecDeque::new(), members: 0 });
        entry.members += 1;
        drop(state);
        Turn { turns: self, tenant, has_slot: Arc::default(), waits: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tenant(&mut self, name: &TenantName) -> &mut Tenant {
        self.tenants.get_mut(name).expect("a tenant is there as long as it has members")
    }

    /// Takes a slot that is free, so that nobody waits.
    fn take(&mut self, name: &TenantName) {
        self.free -= 1;
        let now = self.now;
        let tenant = self.tenant(name);
        tenant.clock = tenant.clock.max(now);
        self.now = tenant.clock;
    }

    fn enqueue(&mut self, name: &TenantName, waiter: Waiter) {
        let now = self.now;
        let tenant = self.tenant(name);
        tenant.queue.push_back(waiter);
        if tenant.queue.len() == 1 {
            tenant.clock = tenant.clock.max(now);
            let clock = tenant.clock;
            self.waiting.insert((clock, name.clone()));
        }
    }

    /// Takes a waiter out of the queue.
    fn leave(&mut self, name: &TenantName, has_slot: &Arc<AtomicBool>) {
        let tenant = self.tenant(name);
        tenant.queue.retain(|waiter| !Arc::ptr_eq(&waiter.has_slot, has_slot));
        if tenant.queue.is_empty() {
            let clock = tenant.clock;
            self.waiting.remove(&(clock, name.clone()));
        }
    }

    fn charge(&mut self, name: &TenantName, used: Duration) {
        let weight = self.weights.get(name).copied().unwrap_or(1);
        let tenant = self.tenant(name);
        let (before, after) = (tenant.clock, tenant.clock + used / weight);
        tenant.clock = after;
        if self.waiting.remove(&(before, name.clone())) {
            self.waiting.insert((after, name.clone()));
        }
    }

    /// Hands a slot to whoever is next.
    fn hand_on(&mut self) -> Option<Waker> {
        let Some((clock, name)) = self.waiting.pop_first() else {
            self.free += 1;
            return None;
        };
        self.now = self.now.max(clock);
        let tenant = self.tenant(&name);
        let next = tenant.queue.pop_front().expect("a tenant waits while its queue has somebody");
        if !tenant.queue.is_empty() {
            self.waiting.insert((clock, name));
        }
        next.has_slot.store(true, SeqCst);
        Some(next.waker)
    }
}

/// One who takes part.
pub(super) struct Turn {
    turns: Arc<Turns>,
    tenant: TenantName,
    has_slot: Arc<AtomicBool>,
    waits: bool,
}

impl Turn {
    /// Waits for a slot.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Slot<'_>> {
        let mut state = self.turns.state();
        let got = if self.waits { self.has_slot.load(SeqCst) } else { state.free > 0 };
        if got {
            if !self.waits {
                state.take(&self.tenant);
            }
            drop(state);
            self.waits = false;
            self.has_slot.store(false, SeqCst);
            return Poll::Ready(Slot { turn: self, used: Duration::ZERO });
        }
        if self.waits {
            let waiters = &mut state.tenant(&self.tenant).queue;
            let own = waiters.iter_mut().find(|waiter| Arc::ptr_eq(&waiter.has_slot, &self.has_slot));
            own.expect("who waits is in the queue").waker.clone_from(cx.waker());
        } else {
            let waiter = Waiter { has_slot: self.has_slot.clone(), waker: cx.waker().clone() };
            state.enqueue(&self.tenant, waiter);
            drop(state);
            self.waits = true;
        }
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        let mut next = None;
        if self.waits {
            if self.has_slot.load(SeqCst) {
                next = state.hand_on();
            } else {
                state.leave(&self.tenant, &self.has_slot);
            }
        }
        let tenant = state.tenant(&self.tenant);
        tenant.members -= 1;
        if tenant.members == 0 {
            // Who is ahead of its time stays known until the others have caught up.
            let now = state.now;
            state.tenants.retain(|_, tenant| tenant.members > 0 || tenant.clock > now);
        }
        drop(state);
        next.inspect(Waker::wake_by_ref);
    }
}

/// The right to compute, until it is dropped.
pub(super) struct Slot<'t> {
    turn: &'t Turn,
    used: Duration,
}

impl Slot<'_> {
    /// Gives the slot back, saying how much processor time was used.
    pub(super) fn used(mut self, time: Duration) {
        self.used = time;
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.turn.turns.state();
        state.charge(&self.turn.tenant, self.used);
        let next = state.hand_on();
        drop(state);
        next.inspect(Waker::wake_by_ref);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(1);

    fn name(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    /// Lets everybody compute whenever they can, and says who did.
    fn serve(turns: &mut [(&str, Turn)], slices: usize) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut served = Vec::new();
        while served.len() < slices {
            for (who, turn) in turns.iter_mut() {
                // Who has computed is polled again at once, and waits if others do.
                while served.len() < slices
                    && let Poll::Ready(slot) = turn.poll(&mut cx)
                {
                    slot.used(SLICE);
                    served.push((*who).to_owned());
                }
            }
        }
        served
    }

    fn share(served: &[String], who: &str) -> usize {
        served.iter().filter(|name| *name == who).count()
    }

    /// Takes the only slot, so that whoever else is polled has to wait.
    fn occupied(turns: &Arc<Turns>, waiters: &mut [(&str, Turn)]) {
        let mut first = turns.clone().join(name("first"));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(slot) = first.poll(&mut cx) else { panic!("the slot is free") };
        for (_, turn) in waiters.iter_mut() {
            assert!(turn.poll(&mut cx).is_pending());
        }
        slot.used(SLICE);
    }

    #[test]
    fn a_tenant_with_many_gets_no_more_than_one_with_few() {
        let turns = Turns::new(1);
        let mut all: Vec<_> = (0..10).map(|_| ("many", turns.clone().join(name("many")))).collect();
        all.push(("few", turns.clone().join(name("few"))));
        occupied(&turns, &mut all);
        let served = serve(&mut all, 100);
        assert!((45..=55).contains(&share(&served, "few")), "{served:?}");
    }

    #[test]
    fn a_tenant_gets_as_much_as_it_weighs() {
        let turns = Turns::new(1);
        turns.set_weight(&name("heavy"), 3);
        // With several each, so that somebody of both waits at any time.
        let names = ["heavy", "light"].into_iter().cycle().take(8);
        let mut all: Vec<_> = names.map(|who| (who, turns.clone().join(name(who)))).collect();
        occupied(&turns, &mut all);
        let served = serve(&mut all, 100);
        assert!((70..=80).contains(&share(&served, "heavy")), "{served:?}");
        turns.set_weight(&name("heavy"), 1);
        let served = serve(&mut all, 100);
        assert!((45..=55).contains(&share(&served, "heavy")), "{served:?}");
    }

    #[test]
    fn having_been_idle_is_no_credit() {
        let turns = Turns::new(1);
        let mut all = vec![("old", turns.clone().join(name("old")))];
        occupied(&turns, &mut all);
        serve(&mut all, 1_000);
        all.push(("new", turns.clone().join(name("new"))));
        occupied(&turns, &mut all[1..]);
        let served = serve(&mut all, 100);
        assert!((45..=55).contains(&share(&served, "old")), "{served:?}");
    }

    #[test]
    fn who_leaves_passes_a_slot_on() {
        let turns = Turns::new(1);
        let mut all = vec![("a", turns.clone().join(name("a"))), ("b", turns.clone().join(name("b")))];
        occupied(&turns, &mut all);
        // One of the two has been handed the slot; whichever leaves, the other can go on.
        all.remove(0);
        assert_eq!(serve(&mut all, 2), ["b", "b"]);
        drop(all);
        let state = turns.state();
        assert_eq!((state.free, state.waiting.len()), (1, 0));
    }
}
