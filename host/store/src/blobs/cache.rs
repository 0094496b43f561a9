//! Which blobs of a bucket are also in the data folder: how many bytes they are, which of them was used the
//! longest ago, which are being read, and which are on their way.
//!
//! Without a bucket, nothing is counted here, and so nothing is ever let go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use modelet_types::Digest;

use crate::StoreError;

/// A fetch that any number of callers wait for.
type Flight = Shared<BoxFuture<'static, Result<(), Arc<StoreError>>>>;

#[derive(Debug)]
pub(super) struct Cache {
    /// 0: any number.
    max_bytes: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: HashMap<Digest, Cached>,
    bytes: u64,
    /// How often holds begin and end, which orders files by their last use.
    clock: u64,
    holders: HashMap<Digest, usize>,
    flights: HashMap<Digest, Flight>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Cached {
    bytes: u64,
    used: u64,
}

/// Keeps a blob's file in the cache until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    state: Arc<Mutex<State>>,
    digest: Digest,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = locked(&self.state);
        if let Some(holders) = state.holders.get_mut(&self.digest) {
            *holders -= 1;
            if *holders == 0 {
                state.holders.remove(&self.digest);
            }
        }
        state.touch(self.digest);
    }
}

impl State {
    fn touch(&mut self, digest: Digest) {
        self.clock += 1;
        if let Some(file) = self.files.get_mut(&digest) {
            file.used = self.clock;
        }
    }

    fn forget(&mut self, digest: Digest) {
        if let Some(file) = self.files.remove(&digest) {
            self.bytes -= file.bytes;
        }
    }

    /// What is let go next: of those that nobody holds, the one that was used the longest ago.
    fn least_recent(&self) -> Option<Digest> {
        let free = self.files.iter().filter(|(digest, _)| !self.holders.contains_key(digest));
        free.min_by_key(|(_, file)| file.used).map(|(digest, _)| *digest)
    }
}

impl Cache {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, state: Arc::default() }
    }

    /// Counts a file, as the one that was used last.
    pub(super) fn add(&self, digest: Digest, bytes: u64) {
        let mut state = locked(&self.state);
        state.forget(digest);
        state.clock += 1;
        let used = state.clock;
        state.files.insert(digest, Cached { bytes, used });
        state.bytes += bytes;
    }

    /// Counts a file no more.
    pub(super) fn forget(&self, digest: Digest) {
        locked(&self.state).forget(digest);
    }

    pub(super) fn hold(&self, digest: Digest) -> Hold {
        let mut state = locked(&self.state);
        *state.holders.entry(digest).or_default() += 1;
        state.touch(digest);
        Hold { state: Arc::clone(&self.state), digest }
    }

    /// Lets files go until they fit, or only such are left as somebody holds. `set_aside` takes a file from its
    /// place, which is quick; `remove` gives its bytes back, which is not. Blocks.
    pub(super) fn shrink<T>(
        &self,
        set_aside: impl Fn(Digest) -> Result<T, StoreError>,
        remove: impl Fn(T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.max_bytes == 0 {
            return Ok(());
        }
        loop {
            let aside = {
                // Under the lock, so that nobody takes hold of it in between: that would find the file, and
                // lose it.
                let mut state = locked(&self.state);
                if state.bytes <= self.max_bytes {
                    return Ok(());
                }
                let Some(digest) = state.least_recent() else { return Ok(()) };
                let aside = set_aside(digest)?;
                state.forget(digest);
                aside
            };
            remove(aside)?;
        }
    }

    /// Does `fetch`, or waits for the one of the same blob that is under way. It goes on if nobody waits.
    pub(super) async fn fetch(
        &self,
        digest: Digest,
        fetch: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        let flight = {
            let mut state = locked(&self.state);
            match state.flights.get(&digest) {
                Some(flight) => flight.clone(),
                None => {
                    let shared = Arc::clone(&self.state);
                    let task = tokio::spawn(async move {
                        let fetched = fetch.await;
                        locked(&shared).flights.remove(&digest);
                        fetched
                    });
                    let flight = crate::store::joined(task).map(|fetched| fetched.map_err(Arc::new));
                    let flight = flight.boxed().shared();
                    state.flights.insert(digest, flight.clone());
                    flight
                }
            }
        };
        flight.await.map_err(StoreError::Fetch)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn let_go(cache: &Cache) -> Vec<Digest> {
        let removed = RefCell::new(Vec::new());
        let remove = |digest| {
            removed.borrow_mut().push(digest);
            Ok(())
        };
        cache.shrink(Ok, remove).unwrap();
        removed.into_inner()
    }

    #[test]
    fn lets_go_what_was_used_the_longest_ago_and_nobody_holds() {
        let cache = Cache::new(20);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(digest);
        [a, b].into_iter().for_each(|digest| cache.add(digest, 10));
        assert_eq!(let_go(&cache), []);
        drop(cache.hold(a));
        cache.add(c, 10);
        assert_eq!(let_go(&cache), [b]);
        let held = cache.hold(a);
        cache.add(d, 15);
        assert_eq!(let_go(&cache), [c, d], "what is held stays, and the rest makes room");
        cache.add(b, 30);
        assert_eq!(let_go(&cache), [b]);
        drop(held);
        assert_eq!(let_go(&cache), []);
    }

    #[test]
    fn without_a_bound_nothing_is_let_go() {
        let cache = Cache::new(0);
        cache.add(digest("a"), u64::MAX / 2);
        cache.add(digest("a"), u64::MAX / 2);
        assert_eq!(let_go(&cache), []);
    }

    #[tokio::test]
    async fn one_fetch_serves_all_who_wait() {
        let cache = Arc::new(Cache::new(0));
        let fetches = Arc::new(Mutex::new(0));
        let (go, gone) = tokio::sync::watch::channel(false);
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let (cache, fetches, mut gone) = (Arc::clone(&cache), Arc::clone(&fetches), gone.clone());
                tokio::spawn(async move {
                    let fetch = async move {
                        *fetches.lock().unwrap() += 1;
                        gone.wait_for(|gone| *gone).await.unwrap();
                        Err(StoreError::ShuttingDown)
                    };
                    cache.fetch(digest("a"), fetch).await
                })
            })
            .collect();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        go.send(true).unwrap();
        for waiter in waiters {
            assert!(matches!(waiter.await.unwrap(), Err(StoreError::Fetch(_))));
        }
        assert_eq!(*fetches.lock().unwrap(), 1);
        // One that failed is tried again by the next who asks.
        cache.fetch(digest("a"), async { Ok(()) }).await.unwrap();
    }
}
