//! Which sessions are in memory: loaded once for all who wait, dropped when idle, and, where others need
//! their memory, before that.
//!
//! Knows neither how a model is loaded nor the time: both come from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::mapref::entry::Entry as Slot;
use dashmap::mapref::multiple::RefMulti;
use dashmap::{DashMap, DashSet};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use modelet_types::manifest::{Batching, Device, Golden, ResponseCache};
use modelet_types::{Digest, TenantName};
use tokio::sync::oneshot;

use crate::backend::BackendId;
use crate::{CacheStats, InferenceError, Session};

/// What makes two sessions the same. Never shared between tenants.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionKey {
    /// Whose session it is.
    pub tenant: TenantName,
    /// The model's file.
    pub model: Digest,
    /// What runs it.
    pub backend: BackendId,
    /// Where it runs.
    pub device: Device,
    /// Threads for one run.
    pub threads: u32,
    /// What goes together into one run, if anything does.
    pub batching: Option<Batching>,
    /// Which answers are kept, if any are.
    pub response_cache: Option<ResponseCache>,
}

/// Where a session comes from, when it has to be loaded.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// The model's file. It must not change.
    pub path: PathBuf,
    /// Idle time after which [`crate::Inference::sweep`] drops the session. Of several who use one
    /// session, the longest counts.
    pub idle_timeout: Duration,
    /// Memory that the session takes, as [`crate::CheckedModel::memory_bytes`] says.
    pub memory_bytes: u64,
    /// Inputs to run before the first request. What the outputs are does not matter.
    pub warm_up: Arc<[Golden]>,
}

/// Whether a session is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// Not in memory.
    Cold,
    /// Being loaded.
    Loading,
    /// In memory.
    Ready {
        /// Since it was last asked for.
        idle: Duration,
        /// Whether anyone holds it.
        in_use: bool,
        /// Memory that is reckoned for it.
        memory_bytes: u64,
        /// Whether it stays however long it is idle.
        pinned: bool,
        /// Whether it was loaded in the form that loads fastest.
        prepared: bool,
        /// Its answers that are kept, if any are.
        cache: Option<CacheStats>,
    },
}

type Outcome = Result<Arc<Session>, InferenceError>;
/// A load in progress, awaited by any number of callers.
pub(crate) type Flight = Shared<BoxFuture<'static, Outcome>>;

enum Entry {
    Loading { number: u64, flight: Flight, idle_timeout: Duration },
    Ready(Resident),
}

impl Entry {
    fn idle_timeout(&self) -> Duration {
        match self {
            Self::Loading { idle_timeout, .. } => *idle_timeout,
            Self::Ready(resident) => Duration::from_micros(resident.idle_timeout.load(Ordering::Relaxed)),
        }
    }

    /// Says of a session that was taken out that nobody is to begin with it.
    fn unload(&self) {
        if let Self::Ready(resident) = self {
            resident.session.unload();
        }
    }
}

struct Resident {
    session: Arc<Session>,
    /// Microseconds; the longest of those who have asked.
    idle_timeout: AtomicU64,
    /// Microseconds since the residency was made.
    last_asked: AtomicU64,
}

/// The sessions in memory.
pub(crate) struct Residency {
    entries: DashMap<SessionKey, Entry>,
    /// Those that stay.
    pins: DashSet<SessionKey>,
    began: Instant,
    flights: AtomicU64,
    evictions: AtomicU64,
}

/// Ends a flight: to be called once with what came of the load.
pub(crate) struct Landing {
    residency: Arc<Residency>,
    key: SessionKey,
    number: u64,
    waiters: oneshot::Sender<Outcome>,
}

impl Residency {
    pub fn new() -> Self {
        Self {
            entries: DashMap::new(),
            pins: DashSet::new(),
            began: Instant::now(),
            flights: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// The session, if it is in memory. Renews its idle time, and makes it at least `idle_timeout`.
    pub fn get(&self, key: &SessionKey, idle_timeout: Duration) -> Option<Arc<Session>> {
        match &*self.entries.get(key)? {
            Entry::Ready(resident) => {
                resident.idle_timeout.fetch_max(micros(idle_timeout), Ordering::Relaxed);
                resident.last_asked.store(self.micros(Instant::now()), Ordering::Relaxed);
                Some(Arc::clone(&resident.session))
            }
            Entry::Loading { .. } => None,
        }
    }

    /// The session, or the flight that brings it. If there is none, `load` is called with the
    /// landing of a new one and must not block. The longest `idle_timeout` of those who ask counts.
    pub fn get_or_load(
        self: &Arc<Self>,
        key: &SessionKey,
        idle_timeout: Duration,
        load: impl FnOnce(Landing) -> Result<(), InferenceError>,
    ) -> Result<Flight, InferenceError> {
        let slot = match self.entries.entry(key.clone()) {
            Slot::Occupied(mut slot) => {
                return Ok(match slot.get_mut() {
                    Entry::Loading { flight, idle_timeout: longest, .. } => {
                        *longest = idle_timeout.max(*longest);
                        flight.clone()
                    }
                    Entry::Ready(resident) => {
                        resident.idle_timeout.fetch_max(micros(idle_timeout), Ordering::Relaxed);
                        futures::future::ready(Ok(Arc::clone(&resident.session))).boxed().shared()
                    }
                });
            }
            Slot::Vacant(slot) => slot,
        };
        let (waiters, landed) = oneshot::channel();
        let number = self.flights.fetch_add(1, Ordering::Relaxed);
        load(Landing { residency: Arc::clone(self), key: key.clone(), number, waiters })?;
        let flight = landed
            .map(|outcome| {
                outcome.unwrap_or_else(|_| {
                    let reason = "the service is shutting down".into();
                    Err(InferenceError::Host { context: "loading a model", reason })
                })
            })
            .boxed()
            .shared();
        slot.insert(Entry::Loading { number, flight: flight.clone(), idle_timeout });
        Ok(flight)
    }

    pub fn state(&self, key: &SessionKey, now: Instant) -> SessionState {
        match self.entries.get(key).as_deref() {
            None => SessionState::Cold,
            Some(Entry::Loading { .. }) => SessionState::Loading,
            Some(Entry::Ready(resident)) => SessionState::Ready {
                idle: self.idle(resident, now),
                in_use: Arc::strong_count(&resident.session) > 1,
                memory_bytes: resident.session.memory_bytes(),
                pinned: self.is_pinned(key),
                prepared: resident.session.is_prepared(),
                cache: resident.session.cache_stats(),
            },
        }
    }

    /// Takes a session out. Runs in progress keep it until they end.
    pub fn remove(&self, key: &SessionKey) {
        // Bound, so that a session is freed after the lock of its shard.
        let removed = self.entries.remove(key);
        if let Some((_, entry)) = &removed {
            entry.unload();
        }
    }

    /// Takes out all sessions of a tenant, also those that are being loaded, and gives what has to be freed.
    pub fn remove_all_of(&self, tenant: &TenantName) -> Option<impl Send + use<>> {
        let of_tenant = |entry: &RefMulti<'_, SessionKey, Entry>| entry.key().tenant == *tenant;
        let keys: Vec<SessionKey> =
            self.entries.iter().filter(of_tenant).map(|entry| entry.key().clone()).collect();
        let removed: Vec<_> = keys.iter().filter_map(|key| self.entries.remove(key)).collect();
        removed.iter().for_each(|(_, entry)| entry.unload());
        (!removed.is_empty()).then_some(removed)
    }

    /// Takes out every session that is not in use and was idle for its timeout. Says how many.
    pub fn sweep(&self, now: Instant) -> usize {
        let idle: Vec<SessionKey> = self
            .entries
            .iter()
            .filter(|entry| self.is_idle(entry.value(), now) && !self.is_pinned(entry.key()))
            .map(|entry| entry.key().clone())
            .collect();
        // Asked again under the lock under which sessions are handed out, so one that was taken
        // since stays.
        let removed: Vec<_> = idle
            .iter()
            .filter_map(|key| self.entries.remove_if(key, |_, entry| self.is_idle(entry, now)))
            .collect();
        for (key, _) in &removed {
            tracing::debug!(tenant = %key.tenant, model = %key.model, "idle session dropped");
        }
        removed.len()
    }

    /// Memory of the sessions, of all tenants or of one, that [`Self::evict_least_recent`] could take out.
    pub fn evictable_bytes(&self, of: Option<&TenantName>) -> u64 {
        let evictable = self.entries.iter().filter(|entry| self.is_evictable(entry.key(), entry.value(), of));
        let bytes = |entry: RefMulti<'_, SessionKey, Entry>| match entry.value() {
            Entry::Loading { .. } => 0,
            Entry::Ready(resident) => resident.session.memory_bytes(),
        };
        evictable.map(bytes).sum()
    }

    fn is_evictable(&self, key: &SessionKey, entry: &Entry, of: Option<&TenantName>) -> bool {
        let is_unused = match entry {
            Entry::Loading { .. } => false,
            Entry::Ready(resident) => Arc::strong_count(&resident.session) == 1,
        };
        is_unused && of.is_none_or(|tenant| key.tenant == *tenant) && !self.is_pinned(key)
    }

    /// Takes out the session, of all tenants or of one, that nobody holds and nobody has used the longest,
    /// unless it is pinned. Says whether there was one. Freeing it takes milliseconds.
    pub fn evict_least_recent(&self, now: Instant, of: Option<&TenantName>) -> bool {
        loop {
            let unused = self.entries.iter().filter_map(|entry| match entry.value() {
                Entry::Ready(resident) if self.is_evictable(entry.key(), entry.value(), of) => {
                    Some((self.idle(resident, now), entry.key().clone()))
                }
                _ => None,
            });
            let Some((idle, key)) = unused.max_by_key(|(idle, _)| *idle) else { return false };
            // It may have been taken since; then it is another one's turn.
            let taken = self.entries.remove_if(&key, |key, entry| self.is_evictable(key, entry, of));
            if let Some((key, _session)) = taken {
                self.evictions.fetch_add(1, Ordering::Relaxed);
                let idle_ms = idle.as_millis();
                tracing::info!(tenant = %key.tenant, model = %key.model, %idle_ms, "session dropped for another");
                return true;
            }
        }
    }

    /// How many sessions had to go for others.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Makes a session stay once it is loaded.
    pub fn pin(&self, key: &SessionKey) {
        self.pins.insert(key.clone());
    }

    /// Lets a session go that was pinned. Its idle time begins now.
    pub fn unpin(&self, key: &SessionKey) {
        self.pins.remove(key);
        self.get(key, Duration::ZERO);
    }

    fn is_pinned(&self, key: &SessionKey) -> bool {
        // Mostly there are none at all.
        !self.pins.is_empty() && self.pins.contains(key)
    }

    /// Whether a session of a tenant stays.
    pub fn has_pinned(&self, tenant: &TenantName) -> bool {
        self.pins.iter().any(|key| key.tenant == *tenant)
    }

    /// How long it takes until the first session will have been idle for its timeout; `None` if there
    /// is none, or all are pinned. One that is in use or being loaded counts as asked for now.
    pub fn due(&self, now: Instant) -> Option<Duration> {
        let left = |entry: &Entry| match entry {
            Entry::Loading { idle_timeout, .. } => *idle_timeout,
            Entry::Ready(resident) => {
                let idle_timeout = Duration::from_micros(resident.idle_timeout.load(Ordering::Relaxed));
                let in_use = Arc::strong_count(&resident.session) > 1;
                if in_use { idle_timeout } else { idle_timeout.saturating_sub(self.idle(resident, now)) }
            }
        };
        let goes = self.entries.iter().filter(|entry| !self.is_pinned(entry.key()));
        goes.map(|entry| left(entry.value())).min()
    }

    /// The number of sessions in memory, and of those being loaded.
    pub fn count(&self) -> (usize, usize) {
        self.entries.iter().fold((0, 0), |(ready, loading), entry| match entry.value() {
            Entry::Ready(_) => (ready + 1, loading),
            Entry::Loading { .. } => (ready, loading + 1),
        })
    }

    fn is_idle(&self, entry: &Entry, now: Instant) -> bool {
        match entry {
            Entry::Loading { .. } => false,
            Entry::Ready(resident) => {
                let idle_timeout = Duration::from_micros(resident.idle_timeout.load(Ordering::Relaxed));
                Arc::strong_count(&resident.session) == 1 && self.idle(resident, now) >= idle_timeout
            }
        }
    }

    fn idle(&self, resident: &Resident, now: Instant) -> Duration {
        // Those who hold a session run it without asking for it again.
        let last_asked = resident.last_asked.load(Ordering::Relaxed);
        let unasked = Duration::from_micros(self.micros(now).saturating_sub(last_asked));
        unasked.min(resident.session.idle(now))
    }

    fn micros(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.began))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Landing {
    /// Whose flight it is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Makes the session resident, or forgets the flight so that the next call tries again, and
    /// tells all who wait.
    pub fn land(self, outcome: Outcome) {
        let Self { residency, key, number, waiters } = self;
        // Another flight's, or none, if it was taken out meanwhile.
        let ours = |entry: &Entry| matches!(entry, Entry::Loading { number: n, .. } if *n == number);
        match &outcome {
            Ok(session) => {
                let entry = residency.entries.get_mut(&key);
                let mut entry = entry.filter(|entry| ours(entry));
                match entry.as_deref_mut() {
                    Some(entry) => {
                        let idle_timeout = entry.idle_timeout();
                        *entry = Entry::Ready(Resident {
                            session: Arc::clone(session),
                            idle_timeout: micros(idle_timeout).into(),
                            last_asked: residency.micros(Instant::now()).into(),
                        });
                    }
                    // Those who wait have it, and nobody after them.
                    None => session.unload(),
                }
            }
            Err(_) => _ = residency.entries.remove_if(&key, |_, entry| ours(entry)),
        }
        // All waiters may have gone; the session is resident all the same.
        _ = waiters.send(outcome);
    }
}
