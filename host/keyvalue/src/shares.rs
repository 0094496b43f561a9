//! Something of which there is only so much, shared among tenants: in order of arrival, and for no tenant
//! more than half.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use dashmap::DashMap;
use modelet_types::TenantName;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How often those who can make room are asked again: one who was busy when asked has no ear for it.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Places for all, and those of each tenant among them.
pub(crate) struct Shares {
    host: Line,
    each: usize,
    tenants: DashMap<TenantName, Arc<Line>>,
}

/// A place, given back when it is dropped.
pub(crate) struct Share {
    _host: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
}

impl Shares {
    pub(crate) fn new(places: usize) -> Self {
        Self { host: Line::new(places), each: places.div_ceil(2), tenants: DashMap::new() }
    }

    /// Waits for a place.
    pub(crate) async fn enter(&self, tenant: &TenantName) -> Share {
        // The tenant's own first: who waits for that takes nothing from others.
        let _tenant = self.line(tenant).enter().await;
        Share { _host: self.host.enter().await, _tenant }
    }

    /// Whether somebody waits for a place that one of this tenant's would make free.
    pub(crate) fn are_wanted(&self, tenant: &TenantName) -> bool {
        self.host.is_wanted() || self.line(tenant).is_wanted()
    }

    /// Comes back when somebody wants such a place. It is given to one who can make room at a time, and to
    /// the one who has waited here longest.
    pub(crate) async fn wanted(&self, tenant: &TenantName) {
        let line = self.line(tenant);
        tokio::select! {
            () = self.host.asked.notified() => {}
            () = line.asked.notified() => {}
        }
    }

    fn line(&self, tenant: &TenantName) -> Arc<Line> {
        if let Some(line) = self.tenants.get(tenant) {
            return line.clone();
        }
        self.tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Line::new(self.each))).clone()
    }
}

/// Places, and who waits for one.
struct Line {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    asked: Notify,
}

impl Line {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), asked: Notify::new() }
    }

    fn is_wanted(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    async fn enter(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        let _waiting = Waiting::begin(&self.waiting);
        let mut place = pin!(self.places.clone().acquire_owned());
        loop {
            self.asked.notify_one();
            if let Ok(place) = tokio::time::timeout(ASK_EVERY, &mut place).await {
                return place.expect("the semaphore is never closed");
            }
        }
    }
}

/// Counts one who waits, also if it gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_tenant_has_at_most_half_however_much_it_wants() {
        let shares = Shares::new(4);
        let _first = [shares.enter(&tenant("a")).await, shares.enter(&tenant("a")).await];
        let greedy = tenant("a");
        let mut third = pin!(shares.enter(&greedy));
        assert!(futures::poll!(&mut third).is_pending());
        assert!(shares.are_wanted(&tenant("a")) && !shares.are_wanted(&tenant("b")));
        shares.enter(&tenant("b")).await;
    }

    #[tokio::test]
    async fn who_can_make_room_is_asked() {
        let shares = Shares::new(2);
        let (held, name) = (shares.enter(&tenant("a")).await, tenant("a"));
        let making_room = async {
            shares.wanted(&tenant("a")).await;
            drop(held);
        };
        tokio::join!(making_room, shares.enter(&name));
        assert!(!shares.are_wanted(&tenant("a")));
    }
}
