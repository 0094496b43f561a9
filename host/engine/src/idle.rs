//! Instances that have answered and wait for the next invocation: those of one handler, and what those
//! of all handlers may take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use modelet_types::manifest::Reuse;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::instance::Instance;

/// Memory of all idle instances.
const MAX_MEMORY_MIB: usize = 1 << 10;

/// What the idle instances of all handlers may take together. Where there is no place an instance ends
/// instead of waiting, so what waits keeps nothing from running.
pub(crate) struct IdlePlaces {
    instances: Arc<Semaphore>,
    memory_mib: Arc<Semaphore>,
    /// The most instances of one handler.
    most: usize,
}

impl IdlePlaces {
    /// Places for as many instances.
    pub(crate) fn new(instances: usize) -> Self {
        Self {
            instances: Arc::new(Semaphore::new(instances)),
            memory_mib: Arc::new(Semaphore::new(MAX_MEMORY_MIB)),
            most: instances.div_ceil(4),
        }
    }

    fn take(&self, memory_bytes: usize) -> Option<[OwnedSemaphorePermit; 2]> {
        let mib = u32::try_from(memory_bytes.div_ceil(1 << 20)).ok()?;
        let memory = self.memory_mib.clone().try_acquire_many_owned(mib).ok()?;
        Some([self.instances.clone().try_acquire_owned().ok()?, memory])
    }
}

/// The handlers that have idle instances.
#[derive(Default)]
pub(crate) struct AllIdle(Mutex<Vec<Weak<IdleInstances>>>);

impl AllIdle {
    pub(crate) fn add(&self, idle: &Arc<IdleInstances>) {
        if idle.is_used() {
            let mut all = lock(&self.0);
            all.retain(|idle| idle.strong_count() > 0);
            all.push(Arc::downgrade(idle));
        }
    }

    /// Ends every idle instance, and says whether there was one.
    pub(crate) fn end(&self) -> bool {
        let all: Vec<_> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
        let ended: Vec<Idle> = all.iter().flat_map(|idle| std::mem::take(&mut *idle.waiting())).collect();
        !ended.is_empty()
    }
}

/// The idle instances of one handler.
pub(crate) struct IdleInstances {
    reuse: Reuse,
    places: Arc<IdlePlaces>,
    /// The one that was used last stands last.
    waiting: Mutex<Vec<Idle>>,
}

struct Idle {
    instance: Instance,
    since: Instant,
    _places: [OwnedSemaphorePermit; 2],
}

impl IdleInstances {
    pub(crate) fn new(reuse: Reuse, places: Arc<IdlePlaces>) -> Self {
        Self { reuse, places, waiting: Mutex::default() }
    }

    /// Whether instances are used again at all.
    pub(crate) fn is_used(&self) -> bool {
        self.reuse.max_invocations > 1
    }

    /// The instance that was used last, whose memory is most likely in a cache.
    pub(crate) fn take(&self) -> Option<Instance> {
        if !self.is_used() {
            return None;
        }
        self.waiting().pop().map(|idle| idle.instance)
    }

    /// Keeps an instance for the next invocation, if it may answer one and there is a place for it.
    pub(crate) fn put(&self, instance: Instance) {
        if instance.invocations() >= self.reuse.max_invocations {
            return;
        }
        let Some(places) = self.places.take(instance.memory_bytes()) else { return };
        let mut waiting = self.waiting();
        if waiting.len() < self.places.most {
            waiting.push(Idle { instance, since: Instant::now(), _places: places });
        }
    }

    /// The instances that wait.
    pub(crate) fn count(&self) -> usize {
        self.waiting().len()
    }

    /// Ends the instances that have waited for their time. Says when to look again; `None` if there is
    /// nothing to look for.
    pub(crate) fn sweep(&self, now: Instant) -> Option<Duration> {
        if !self.is_used() {
            return None;
        }
        let timeout = self.reuse.idle_timeout();
        let left = |idle: &Idle| timeout.saturating_sub(now.saturating_duration_since(idle.since));
        let mut waiting = self.waiting();
        // The first have waited longest.
        let ended = waiting.partition_point(|idle| left(idle).is_zero());
        let ended: Vec<Idle> = waiting.drain(..ended).collect();
        let due = waiting.first().map(left);
        // Their memory is given back outside the lock.
        drop(waiting);
        drop(ended);
        // An instance that is put back meanwhile tells nobody; a quarter of its time is near enough.
        Some(due.unwrap_or(timeout).min(timeout / 4))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Idle>> {
        lock(&self.waiting)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
