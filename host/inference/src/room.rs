//! Memory for a session that is about to be loaded: taken from what is free, or from those who have been idle
//! the longest, or waited for.
//!
//! A tenant's loads wait for memory in the order in which they came, and none of another tenant behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use modelet_types::TenantName;
use tokio::sync::Mutex;

use crate::InferenceError;
use crate::memory::{Charge, MemoryBudget};
use crate::residency::Residency;

/// The longest wait for sessions that are in use to be let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// Loads of one tenant that may wait; more are refused at once.
const MOST_WAITING: usize = 256;
/// How soon it is looked at again whether a session was let go, which nothing tells.
const INTERVAL: Duration = Duration::from_millis(5);

/// Where memory for sessions is had.
pub(crate) struct Room {
    budget: Arc<MemoryBudget>,
    residency: Arc<Residency>,
    tenants: DashMap<TenantName, Arc<Tenant>>,
}

/// What a tenant has of the room.
struct Tenant {
    /// The most that those of a tenant that is not trusted take together.
    share: Arc<MemoryBudget>,
    /// Held by the one of its loads whose turn it is.
    turn: Mutex<()>,
    waiting: AtomicUsize,
}

/// Who wants how much.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub tenant: TenantName,
    /// Whether the tenant may take all there is.
    pub is_trusted: bool,
    pub bytes: u64,
}

/// Memory of a session.
#[derive(Debug)]
pub(crate) struct Taken {
    all: Charge,
    _share: Option<Charge>,
}

impl Taken {
    pub fn bytes(&self) -> u64 {
        self.all.bytes()
    }

    /// For tests of what has nothing to do with memory.
    #[cfg(test)]
    pub fn nothing() -> Option<Self> {
        Some(Self { all: MemoryBudget::new(0).take(0)?, _share: None })
    }
}

impl Room {
    pub fn new(budget: Arc<MemoryBudget>, residency: Arc<Residency>) -> Self {
        Self { budget, residency, tenants: DashMap::new() }
    }

    /// What there is in all, and what of it is taken.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// The most that a tenant's sessions take together: all there is, or half of it.
    pub fn limit(&self, is_trusted: bool) -> u64 {
        if is_trusted { self.budget.limit() } else { self.budget.limit() / 2 }
    }

    /// Memory that is free, unless others of the tenant's loads wait for some.
    pub fn free(&self, wish: &Wish) -> Option<Taken> {
        let tenant = self.tenant(&wish.tenant);
        if tenant.waiting.load(Ordering::Relaxed) > 0 { None } else { self.take(&tenant, wish) }
    }

    fn take(&self, tenant: &Tenant, wish: &Wish) -> Option<Taken> {
        let share = if wish.is_trusted { None } else { Some(tenant.share.take(wish.bytes)?) };
        Some(Taken { all: self.budget.take(wish.bytes)?, _share: share })
    }

    /// Memory, if need be that of sessions which are not in use.
    ///
    /// # Errors
    /// `InvalidModel` if it is more than the tenant can ever have. `NoMemory` if what is in use is not let go
    /// for [`PATIENCE`], or if [`MOST_WAITING`] loads of the tenant wait already.
    pub async fn make(&self, wish: &Wish) -> Result<Taken, InferenceError> {
        let limit = self.limit(wish.is_trusted);
        if wish.bytes > limit {
            return Err(too_large(wish.bytes, limit));
        }
        let full = || InferenceError::NoMemory { wanted: wish.bytes };
        let tenant = self.tenant(&wish.tenant);
        let _waiting = Waiting::begin(&tenant.waiting).ok_or_else(full)?;
        let deadline = Instant::now() + PATIENCE;
        let _turn = tokio::time::timeout_at(deadline.into(), tenant.turn.lock()).await.map_err(|_| full())?;
        loop {
            if let Some(taken) = self.take(&tenant, wish) {
                return Ok(taken);
            }
            if self.evict_for(&tenant, wish).await {
                continue;
            }
            if Instant::now() > deadline {
                return Err(full());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Takes out a session if that helps: nobody loses one for a wish that is not to be had all the same.
    async fn evict_for(&self, tenant: &Tenant, wish: &Wish) -> bool {
        // Where the tenant's own share is what is short, another's session is of no use.
        let is_over_share = !wish.is_trusted && tenant.share.left() < wish.bytes;
        let (left, of) = match is_over_share {
            true => (tenant.share.left(), Some(wish.tenant.clone())),
            false => (self.budget.left(), None),
        };
        if left.saturating_add(self.residency.evictable_bytes(of.as_ref())) < wish.bytes {
            return false;
        }
        let residency = Arc::clone(&self.residency);
        // Freeing a large model takes milliseconds.
        let evict = move || residency.evict_least_recent(Instant::now(), of.as_ref());
        tokio::task::spawn_blocking(evict).await.unwrap_or(false)
    }

    fn tenant(&self, name: &TenantName) -> Arc<Tenant> {
        if let Some(tenant) = self.tenants.get(name) {
            return Arc::clone(&tenant);
        }
        let tenant = self.tenants.entry(name.clone()).or_insert_with(|| {
            let share = MemoryBudget::new(self.limit(false));
            Arc::new(Tenant { share, turn: Mutex::default(), waiting: AtomicUsize::new(0) })
        });
        Arc::clone(&tenant)
    }
}

/// What is said of a model that never fits.
pub(crate) fn too_large(bytes: u64, limit: u64) -> InferenceError {
    // Rounded up, so that what does not fit does not seem to.
    let mebibytes = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    InferenceError::InvalidModel(format!(
        "the model and the answers that it keeps take {}, and all models of a tenant together may take {} on \
         this host (`inference.memory_bytes`)",
        mebibytes(bytes),
        mebibytes(limit)
    ))
}

/// Counted as one who waits until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Option<Self> {
        let one_more = |waiting| (waiting < MOST_WAITING).then_some(waiting + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
