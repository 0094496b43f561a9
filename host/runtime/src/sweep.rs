//! Scaling to zero: what is awake, and the task that lets it sleep again.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use modelet_inference::Inference;
use modelet_types::TenantName;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::revision::Revision;

/// How exactly idle timeouts are kept: the least time between two looks at what is awake.
const INTERVAL: Duration = Duration::from_millis(50);

/// How much may be awake at one time. What is over it is put to sleep before its idle time is over,
/// first what was used the longest ago; what runs is never touched. Kept within [`INTERVAL`], so that
/// for as long more can be awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwakeBudget {
    /// Revisions: each has a file descriptor and several mappings of memory.
    pub revisions: usize,
    /// Bytes of their compiled code, which can all be in memory.
    pub code_bytes: u64,
}

impl AwakeBudget {
    fn allows(&self, revisions: usize, code_bytes: u64) -> bool {
        revisions <= self.revisions && code_bytes <= self.code_bytes
    }

    /// What is left awake once it was exceeded: a tenth less, so that the next wakes exceed it not at
    /// once again.
    fn after_eviction(self) -> Self {
        Self {
            revisions: self.revisions - self.revisions / 10,
            code_bytes: self.code_bytes - self.code_bytes / 10,
        }
    }
}

/// The revisions that have anything loaded. Sweeping costs what is awake, not what is deployed.
pub(crate) struct Residents {
    /// By where they are in memory: a revision that has lost its traffic and has it again is another
    /// one here, and the one before can still be at a call.
    revisions: DashMap<usize, Arc<Revision>>,
    changes: Notify,
    budget: AwakeBudget,
    evictions: AtomicU64,
    /// How many revisions of each tenant are kept awake.
    pins: Mutex<HashMap<TenantName, usize>>,
}

fn key(revision: &Arc<Revision>) -> usize {
    Arc::as_ptr(revision).addr()
}

impl Residents {
    pub(crate) fn new(budget: AwakeBudget) -> Self {
        Self {
            revisions: DashMap::new(),
            changes: Notify::new(),
            budget,
            evictions: AtomicU64::new(0),
            pins: Mutex::default(),
        }
    }

    /// A place among the revisions that are kept awake: a quarter of those that may be awake, and of that a
    /// quarter of one tenant. `None` if there is none left.
    pub(crate) fn pin(self: &Arc<Self>, tenant: &TenantName) -> Option<RevisionPin> {
        let mut pins = self.pins();
        let (all, theirs) = (pins.values().sum::<usize>(), pins.get(tenant).copied().unwrap_or(0));
        if all >= self.budget.revisions / 4 || theirs >= (self.budget.revisions / 16).max(1) {
            return None;
        }
        *pins.entry(tenant.clone()).or_default() += 1;
        Some(RevisionPin { residents: self.clone(), tenant: tenant.clone() })
    }

    fn pins(&self) -> MutexGuard<'_, HashMap<TenantName, usize>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.revisions.len()
    }

    /// How many were put to sleep before their time.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// Adds a revision that is about to wake.
    pub(crate) fn add(self: &Arc<Self>, revision: &Arc<Revision>) -> Added {
        self.revisions.insert(key(revision), revision.clone());
        Added(self.clone())
    }

    /// Says that there may be something to drop earlier than it seemed.
    pub(crate) fn changed(&self) {
        self.changes.notify_one();
    }

    /// Drops what is idle, and says when to look again; `None` if nothing is awake.
    fn sweep(&self, now: Instant) -> Option<Duration> {
        // Copied out, since instances take time to free, and calls wait for this map.
        let awake: Vec<Arc<Revision>> = self.revisions.iter().map(|entry| entry.value().clone()).collect();
        let mut due: Option<Duration> = None;
        for revision in &awake {
            let next = revision.sweep(now);
            due = [due, next].into_iter().flatten().min();
            if next.is_none() {
                self.remove_if_asleep(revision);
            }
        }
        self.keep_within_budget(&awake, now);
        due
    }

    /// Puts to sleep what is over the budget.
    fn keep_within_budget(&self, awake: &[Arc<Revision>], now: Instant) {
        if self.budget.allows(awake.len(), code_bytes_of(awake)) {
            return;
        }
        let (mut idle, mut running) = (Vec::new(), Vec::new());
        for revision in awake.iter().filter(|revision| !revision.is_asleep()) {
            match revision.idle_time(now) {
                Some(time) if !revision.is_pinned() => idle.push((time, revision)),
                _ => running.push(revision),
            }
        }
        // What runs, or is pinned, cannot be put to sleep, and takes at most half of the budget from what is idle:
        // whoever keeps much running would otherwise keep everybody else asleep.
        let mut count = idle.len() + running.len().min(self.budget.revisions / 2);
        let mut code_bytes = code_bytes_of(idle.iter().map(|(_, revision)| *revision))
            + code_bytes_of(running).min(self.budget.code_bytes / 2);
        if self.budget.allows(count, code_bytes) {
            return;
        }
        idle.sort_by_key(|(time, _)| Reverse(*time));
        let target = self.budget.after_eviction();
        for (_, revision) in idle {
            if target.allows(count, code_bytes) {
                break;
            }
            let freed = revision.code_bytes();
            revision.put_to_sleep();
            if self.remove_if_asleep(revision) {
                count = count.saturating_sub(1);
                code_bytes = code_bytes.saturating_sub(freed);
                self.evictions.fetch_add(1, Relaxed);
            }
        }
    }

    /// Takes a revision out that has nothing loaded, and says whether it was so. A call that comes
    /// later adds it anew before it loads anything.
    fn remove_if_asleep(&self, revision: &Arc<Revision>) -> bool {
        self.revisions.remove_if(&key(revision), |_, resident| resident.is_asleep()).is_some()
    }
}

fn code_bytes_of<'r>(revisions: impl IntoIterator<Item = &'r Arc<Revision>>) -> u64 {
    revisions.into_iter().map(|revision| revision.code_bytes()).sum()
}

/// A place among the revisions that are kept awake.
pub(crate) struct RevisionPin {
    residents: Arc<Residents>,
    tenant: TenantName,
}

impl Drop for RevisionPin {
    fn drop(&mut self) {
        let mut pins = self.residents.pins();
        if let Some(count) = pins.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.tenant);
            }
        }
    }
}

/// Tells the sweeper of a new resident when dropped: not while it wakes, when another thread that runs
/// would only be in the way.
pub(crate) struct Added(Arc<Residents>);

impl Added {
    /// Adds the revision once more, now that it is awake.
    pub(crate) fn again(self, revision: &Arc<Revision>) {
        drop(self.0.add(revision));
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        self.0.changed();
    }
}

/// Sweeps until it is dropped. While everything sleeps, so does it.
pub(crate) struct Sweeper(JoinHandle<()>);

impl Sweeper {
    pub(crate) fn start(residents: Arc<Residents>, inference: Arc<Inference>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                let now = Instant::now();
                let revisions = residents.sweep(now);
                let sessions = sweep_sessions(&inference, now).await;
                match [revisions, sessions].into_iter().flatten().min() {
                    Some(due) => {
                        // Whichever is first; then not before the interval is over.
                        _ = tokio::time::timeout(due, residents.changes.notified()).await;
                    }
                    None => residents.changes.notified().await,
                }
                tokio::time::sleep_until((now + INTERVAL).into()).await;
            }
        }))
    }
}

async fn sweep_sessions(inference: &Arc<Inference>, now: Instant) -> Option<Duration> {
    let due = inference.due(now)?;
    if !due.is_zero() {
        return Some(due);
    }
    // Freeing a model takes milliseconds.
    let sweeping = inference.clone();
    if tokio::task::spawn_blocking(move || sweeping.sweep(now)).await.is_err() {
        tracing::error!("dropping an idle session panicked");
    }
    inference.due(now)
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
