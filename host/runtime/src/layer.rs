//! One layer of a function that goes cold on its own: loaded once for all who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

/// A value that can be dropped when idle and made again when needed.
pub(crate) struct Layer<T> {
    value: ArcSwapOption<T>,
    loading: Mutex<()>,
    last_used: LastUsed,
    idle_timeout: Duration,
}

impl<T> Layer<T> {
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self {
            value: ArcSwapOption::empty(),
            loading: Mutex::new(()),
            last_used: LastUsed::now(),
            idle_timeout,
        }
    }

    /// The value, if it is there. Renews its idle time.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        let value = self.value.load_full();
        if value.is_some() {
            self.last_used.renew();
        }
        value
    }

    /// The value, if it is there. Does not renew its idle time.
    pub(crate) fn peek(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    pub(crate) fn is_resident(&self) -> bool {
        self.value.load().is_some()
    }

    /// The value; the first who finds none makes it with `load`, the others wait.
    pub(crate) async fn get_or_load<E>(&self, load: impl AsyncFnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let _loading = self.loading.lock().await;
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let value = Arc::new(load().await?);
        self.value.store(Some(value.clone()));
        self.last_used.renew();
        Ok(value)
    }

    /// Renews the idle time, as at the end of a use.
    pub(crate) fn renew(&self) {
        self.last_used.renew();
    }

    /// Drops the value if it has been idle for its time, and otherwise says how much of that is left.
    /// What uses it keeps it until it is done.
    pub(crate) fn drop_if_idle(&self, now: Instant) -> Option<Duration> {
        if !self.is_resident() {
            return None;
        }
        let left = self.idle_timeout.saturating_sub(self.last_used.elapsed(now));
        if left.is_zero() {
            self.drop_now();
            return None;
        }
        Some(left)
    }

    /// How long nobody has used it.
    pub(crate) fn idle_time(&self, now: Instant) -> Duration {
        self.last_used.elapsed(now)
    }

    /// Drops the value.
    pub(crate) fn drop_now(&self) {
        self.value.store(None);
    }
}

/// A point in time that many threads renew.
struct LastUsed {
    base: Instant,
    offset_us: AtomicU64,
}

impl LastUsed {
    fn now() -> Self {
        Self { base: Instant::now(), offset_us: AtomicU64::new(0) }
    }

    fn renew(&self) {
        let offset = u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.offset_us.store(offset, Relaxed);
    }

    fn elapsed(&self, now: Instant) -> Duration {
        let used = self.base + Duration::from_micros(self.offset_us.load(Relaxed));
        now.saturating_duration_since(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_loaded_once_for_all_who_wait() {
        let layer = Layer::new(Duration::from_secs(1));
        let loads = AtomicU64::new(0);
        let load = async || {
            loads.fetch_add(1, Relaxed);
            tokio::task::yield_now().await;
            Ok::<_, ()>(7)
        };
        let values = futures::future::join_all((0..100).map(|_| layer.get_or_load(load))).await;
        assert!(values.iter().all(|value| **value.as_ref().unwrap() == 7));
        assert_eq!(loads.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn goes_cold_when_idle_and_not_before() {
        let layer = Layer::new(Duration::from_secs(1));
        layer.get_or_load(async || Ok::<_, ()>(7)).await.unwrap();
        let now = Instant::now();
        let left = layer.drop_if_idle(now).unwrap();
        assert!(layer.is_resident() && left > Duration::from_millis(900), "{left:?}");
        assert_eq!(layer.drop_if_idle(now + Duration::from_secs(2)), None);
        assert!(!layer.is_resident());
    }
}
