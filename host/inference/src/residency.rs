//! Which sessions are in memory: loaded once for all who wait, dropped when idle.
//!
//! Knows neither how a model is loaded nor the time: both come from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use modelet_types::manifest::Batching;
use modelet_types::{Digest, TenantName};
use tokio::sync::oneshot;

use crate::backend::BackendId;
use crate::{InferenceError, Session};

/// What makes two sessions the same. Never shared between tenants.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionKey {
    /// Whose session it is.
    pub tenant: TenantName,
    /// The model's file.
    pub model: Digest,
    /// What runs it.
    pub backend: BackendId,
    /// Threads for one run.
    pub threads: u32,
    /// What goes together into one run, if anything does.
    pub batching: Option<Batching>,
}

/// Where a session comes from, when it has to be loaded.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// The model's file. It must not change.
    pub path: PathBuf,
    /// Idle time after which [`crate::Inference::sweep`] drops the session. Of several who use one
    /// session, the longest counts.
    pub idle_timeout: Duration,
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
    },
}

type Outcome = Result<Arc<Session>, InferenceError>;
/// A load in progress, awaited by any number of callers.
pub(crate) type Flight = Shared<BoxFuture<'static, Outcome>>;

enum Entry {
    Loading { number: u64, flight: Flight, idle_timeout: Duration },
    Ready(Resident),
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
    began: Instant,
    flights: AtomicU64,
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
        Self { entries: DashMap::new(), began: Instant::now(), flights: AtomicU64::new(0) }
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
            },
        }
    }

    /// Takes a session out. Runs in progress keep it until they end.
    pub fn remove(&self, key: &SessionKey) {
        // Bound, so that a session is freed after the lock of its shard.
        let _removed = self.entries.remove(key);
    }

    /// Takes out every session that is not in use and was idle for its timeout. Says how many.
    pub fn sweep(&self, now: Instant) -> usize {
        let idle: Vec<SessionKey> = self
            .entries
            .iter()
            .filter(|entry| self.is_idle(entry.value(), now))
            .map(|entry| entry.key().clone())
            .collect();
        // Asked again under the lock under which sessions are handed out, so one that was taken
        // since stays.
        let removed: Vec<_> = idle
            .iter()
            .filter_map(|key| self.entries.remove_if(key, |_, entry| self.is_idle(entry, now)))
            .collect();
        removed.len()
    }

    /// How long it takes until the first session will have been idle for its timeout; `None` if there
    /// is none. One that is in use or being loaded counts as asked for now.
    pub fn due(&self, now: Instant) -> Option<Duration> {
        let left = |entry: &Entry| match entry {
            Entry::Loading { idle_timeout, .. } => *idle_timeout,
            Entry::Ready(resident) => {
                let idle_timeout = Duration::from_micros(resident.idle_timeout.load(Ordering::Relaxed));
                let in_use = Arc::strong_count(&resident.session) > 1;
                if in_use { idle_timeout } else { idle_timeout.saturating_sub(self.idle(resident, now)) }
            }
        };
        self.entries.iter().map(|entry| left(entry.value())).min()
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
        // Evicted meanwhile: those who wait have it, and nobody after them.
        let ours = |entry: &Entry| matches!(entry, Entry::Loading { number: n, .. } if *n == number);
        match &outcome {
            Ok(session) => {
                if let Some(mut entry) = residency.entries.get_mut(&key)
                    && ours(&entry)
                    && let Entry::Loading { idle_timeout, .. } = *entry
                {
                    *entry = Entry::Ready(Resident {
                        session: Arc::clone(session),
                        idle_timeout: micros(idle_timeout).into(),
                        last_asked: residency.micros(Instant::now()).into(),
                    });
                }
            }
            Err(_) => _ = residency.entries.remove_if(&key, |_, entry| ours(entry)),
        }
        // All waiters may have gone; the session is resident all the same.
        _ = waiters.send(outcome);
    }
}
