//! Sessions that stay however long they are idle, and how many may.
//!
//! What stays is memory that nobody else can have, so it is bounded: for all, and for each tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use modelet_types::TenantName;

use crate::memory::{Charge, MemoryBudget};
use crate::residency::{Residency, SessionKey};

/// The memory of sessions that stay.
pub(crate) struct Pinned {
    all: Arc<MemoryBudget>,
    tenants: DashMap<TenantName, Arc<MemoryBudget>>,
    sessions: Mutex<HashMap<SessionKey, Held>>,
    residency: Arc<Residency>,
}

/// A session that stays: charged once, however many want it to.
struct Held {
    pins: usize,
    _charges: [Charge; 2],
}

impl Pinned {
    /// Half of `memory_bytes` may stay, and of that half of one tenant.
    pub fn within(memory_bytes: u64, residency: &Arc<Residency>) -> Arc<Self> {
        Arc::new(Self {
            all: MemoryBudget::new(memory_bytes / 2),
            tenants: DashMap::new(),
            sessions: Mutex::default(),
            residency: Arc::clone(residency),
        })
    }

    pub fn pin(self: &Arc<Self>, key: &SessionKey, memory_bytes: u64) -> Option<Pin> {
        let mut sessions = self.sessions();
        if let Some(held) = sessions.get_mut(key) {
            held.pins += 1;
        } else {
            let share = self.tenants.entry(key.tenant.clone());
            let share = share.or_insert_with(|| MemoryBudget::new(self.all.limit() / 2)).clone();
            let charges = [share.take(memory_bytes)?, self.all.take(memory_bytes)?];
            sessions.insert(key.clone(), Held { pins: 1, _charges: charges });
            self.residency.pin(key);
        }
        Some(Pin { pinned: Arc::clone(self), key: key.clone() })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionKey, Held>> {
        // Nothing panics while it holds the lock.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a session in memory until it is dropped.
pub struct Pin {
    pinned: Arc<Pinned>,
    key: SessionKey,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut sessions = self.pinned.sessions();
        let Some(held) = sessions.get_mut(&self.key) else { return };
        held.pins -= 1;
        if held.pins == 0 {
            sessions.remove(&self.key);
            self.pinned.residency.unpin(&self.key);
        }
    }
}
