//! How many invocations of a revision run and wait at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use modelet_types::manifest::Concurrency;
use modelet_types::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One bounded queue in front of a bounded number of places.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    waiting: AtomicU32,
    concurrency: Concurrency,
}

/// A place. Dropping it lets the next in.
pub(crate) struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Admission {
    pub(crate) fn new(concurrency: Concurrency) -> Self {
        Self {
            places: Arc::new(Semaphore::new(concurrency.limit as usize)),
            waiting: AtomicU32::new(0),
            concurrency,
        }
    }

    pub(crate) fn running(&self) -> u32 {
        self.concurrency
            .limit
            .saturating_sub(u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX))
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Waits for a place, in order of arrival. `may_wait` is asked first whether it may, and what it gives is
    /// kept as long.
    ///
    /// # Errors
    /// `Overloaded` at once if the queue is full, or when the longest wait is over; and as `may_wait`.
    pub(crate) async fn enter<W>(
        &self,
        may_wait: impl FnOnce() -> Result<W, Problem>,
    ) -> Result<Permit, Problem> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let _waiting = (self.join_queue()?, may_wait()?);
        let place = self.places.clone().acquire_owned();
        match tokio::time::timeout(self.concurrency.queue_timeout(), place).await {
            Ok(permit) => Ok(Permit(permit.expect("the semaphore of places is never closed"))),
            Err(_) => Err(Problem::new(
                Code::Overloaded,
                format!(
                    "no place became free within {} ms (concurrency.queue_timeout_ms)",
                    self.concurrency.queue_timeout_ms
                ),
            )),
        }
    }

    fn join_queue(&self) -> Result<Waiting<'_>, Problem> {
        let joined = self.waiting.fetch_update(Relaxed, Relaxed, |waiting| {
            (waiting < self.concurrency.queue).then_some(waiting + 1)
        });
        match joined {
            Ok(_) => Ok(Waiting(&self.waiting)),
            Err(waiting) => Err(Problem::new(
                Code::Overloaded,
                format!("{waiting} invocations wait already, which is the limit (concurrency.queue)"),
            )),
        }
    }
}

/// A place in the queue, given back also when the caller leaves.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limit: u32, queue: u32) -> Admission {
        Admission::new(Concurrency { limit, queue, queue_timeout_ms: 60_000, ..Concurrency::default() })
    }

    #[tokio::test]
    async fn refuses_when_the_queue_is_full() {
        let admission = admission(1, 1);
        let first = admission.enter(|| Ok(())).await.unwrap();
        let mut second = Box::pin(admission.enter(|| Ok(())));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!((admission.running(), admission.waiting()), (1, 1));
        let third = admission.enter(|| Ok(())).await.err().unwrap();
        assert_eq!(third.code, Code::Overloaded);
        drop(first);
        assert!(second.await.is_ok());
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_caller_that_leaves_gives_up_its_place_in_the_queue() {
        let admission = admission(1, 1);
        let _first = admission.enter(|| Ok(())).await.unwrap();
        {
            let mut second = Box::pin(admission.enter(|| Ok(())));
            assert!(futures::poll!(&mut second).is_pending());
        }
        assert_eq!(admission.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_has_an_end() {
        let admission = admission(1, 1);
        let _first = admission.enter(|| Ok(())).await.unwrap();
        let problem = admission.enter(|| Ok(())).await.err().unwrap();
        assert!(problem.detail.contains("60000 ms"), "{problem}");
    }
}
