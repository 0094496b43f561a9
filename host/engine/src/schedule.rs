//! Which threads run handlers, and in which order.
//!
//! Most calls end within their first slice of processor time and run where they are: on the threads
//! that serve connections, without a hand-over. A handler that has used its slice goes on apart, on
//! threads of lower priority, so that no amount of computing keeps a connection or a short call
//! waiting. There, tenants take turns by the processor time that they have had and their weights ([`turns`]). The calls
//! of a handler that has just computed for long begin there ([`Pace`]): many first slices of one
//! handler would keep others waiting as well as one long call.

mod turns;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use futures::FutureExt;
use futures::future::BoxFuture;
use modelet_types::{Code as ErrorCode, TenantName};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::failure::Failure;
use crate::meter::{Measured, Meter};
use turns::{Turn, Turns};

/// Processor time after which a handler goes on apart: a whole tick, and what is left of the one in
/// which it began.
const FIRST_SLICE: Duration = Duration::from_millis(2);

/// How long after a call of a handler has computed for long its calls begin apart.
const LONG_AGAIN: Duration = Duration::from_secs(1);

/// How much the threads for long computing stand back (`nice(2)`): beside a thread of a connection
/// that has work, one of them gets about a tenth of a processor.
const NICENESS: i32 = 10;

/// What a handler does: one call, or the rest of one whose response has begun.
type Work<T> = BoxFuture<'static, Result<T, Failure>>;

/// Runs handlers.
pub(crate) struct Scheduler {
    /// `None` once it is being dropped.
    apart: Option<Runtime>,
    turns: Arc<Turns>,
}

impl Scheduler {
    /// Starts one thread for long computing for each processor.
    pub(crate) fn start() -> io::Result<Self> {
        let threads = thread::available_parallelism()?.get();
        let apart = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("modelet-apart")
            .on_thread_start(|| {
                if let Err(error) = rustix::process::nice(NICENESS) {
                    tracing::warn!(%error, "cannot lower the priority of long computing");
                }
            })
            .build()?;
        Ok(Self { apart: Some(apart), turns: Turns::new(threads) })
    }

    /// Sets a tenant's part of long computing, as it stands to those of others.
    pub(crate) fn set_weight(&self, tenant: &TenantName, weight: u32) {
        self.turns.set_weight(tenant, weight);
    }

    /// Runs `work` of a handler for a tenant, measuring it. Dropping the future ends the work: at once, or
    /// with the end of the slice that is running apart.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        tenant: &TenantName,
        pace: &Arc<Pace>,
        meter: &Arc<Meter>,
        work: Work<T>,
    ) -> Scheduled<T> {
        let handle = self.apart.as_ref().expect("the engine is there as long as it is used").handle();
        let here = Here {
            work: meter.measure(work),
            tenant: tenant.clone(),
            pace: pace.clone(),
            turns: self.turns.clone(),
            apart: handle.clone(),
        };
        let stays = is_within_first_slice(meter) && !pace.is_long();
        if stays { Scheduled::Here(here) } else { Scheduled::Apart(here.go()) }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its threads, which a thread of another must not do.
        if let Some(apart) = self.apart.take() {
            apart.shutdown_background();
        }
    }
}

/// Whether an invocation has not computed for long yet.
pub(crate) fn is_within_first_slice(meter: &Meter) -> bool {
    meter.polled() < FIRST_SLICE
}

/// Whether the calls of a handler have computed for long lately.
pub(crate) struct Pace {
    base: Instant,
    /// In milliseconds from `base`.
    long_until_ms: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { base: Instant::now(), long_until_ms: AtomicU64::new(0) }
    }
}

impl Pace {
    fn is_long(&self) -> bool {
        let until = self.long_until_ms.load(Relaxed);
        // No handler that answers quickly has its clock read.
        until > 0 && self.base.elapsed() < Duration::from_millis(until)
    }

    fn was_long(&self) {
        let until = (self.base.elapsed() + LONG_AGAIN).as_millis();
        self.long_until_ms.store(u64::try_from(until).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Work under way.
pub(crate) enum Scheduled<T> {
    /// On the threads of whoever waits for it.
    Here(Here<T>),
    /// On the threads for long computing.
    Apart(AbortOnDropHandle<Result<T, Failure>>),
    Ended,
}

impl<T> Scheduled<T> {
    /// Ends the work and waits until it has ended, so that its meter stands still.
    pub(crate) async fn stop(&mut self) {
        if let Self::Apart(task) = mem::replace(self, Self::Ended) {
            task.abort();
            // Nobody wants its result any more, be it a panic.
            _ = task.await;
        }
    }
}

impl<T: Send + 'static> Future for Scheduled<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Self::Here(here) = &mut *self {
            let poll = here.work.poll_unpin(cx);
            if is_within_first_slice(here.work.meter()) {
                return poll;
            }
            here.pace.was_long();
            if poll.is_ready() {
                return poll;
            }
            let Self::Here(here) = mem::replace(&mut *self, Self::Ended) else { return Poll::Pending };
            *self = Self::Apart(here.go());
        }
        let Self::Apart(task) = &mut *self else { return Poll::Ready(Err(stopped())) };
        Poll::Ready(match ready!(task.poll_unpin(cx)) {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(stopped()),
            },
        })
    }
}

fn stopped() -> Failure {
    Failure::host(ErrorCode::Overloaded, "the host is stopping")
}

/// Work that has not used its first slice.
pub(crate) struct Here<T> {
    work: Measured<Work<T>>,
    tenant: TenantName,
    pace: Arc<Pace>,
    turns: Arc<Turns>,
    apart: Handle,
}

impl<T: Send + 'static> Here<T> {
    /// Goes on apart.
    fn go(self) -> AbortOnDropHandle<Result<T, Failure>> {
        let Self { work, tenant, pace, turns, apart } = self;
        let work = Apart { work, pace, turn: turns.join(tenant), sockets: Handle::current() };
        AbortOnDropHandle::new(apart.spawn(work))
    }
}

/// Work that goes on when it is its tenant's turn.
struct Apart<T> {
    work: Measured<Work<T>>,
    pace: Arc<Pace>,
    turn: Turn,
    /// Where its timers and connections are.
    sockets: Handle,
}

impl<T> Future for Apart<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let slot = ready!(this.turn.poll(cx));
        let _context = this.sockets.enter();
        let before = this.work.meter().polled();
        let poll = this.work.poll_unpin(cx);
        slot.used(this.work.meter().polled().saturating_sub(before));
        if !is_within_first_slice(this.work.meter()) {
            this.pace.was_long();
        }
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {}
    }

    fn run<T: Send + 'static>(
        scheduler: &Scheduler,
        tenant: &str,
        pace: &Arc<Pace>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Scheduled<T> {
        let work = async { Ok(work.await) };
        scheduler.run(&tenant.parse().unwrap(), pace, &Arc::default(), work.boxed())
    }

    fn thread_name() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn only_what_computes_for_long_goes_apart() {
        let scheduler = Scheduler::start().unwrap();
        let pace = Arc::default();
        let short = run(&scheduler, "a", &pace, async {
            tokio::task::yield_now().await;
            thread_name()
        });
        assert_ne!(short.await.unwrap(), "modelet-apart");
        let long = run(&scheduler, "a", &pace, async {
            spin(2 * FIRST_SLICE);
            tokio::task::yield_now().await;
            // A timer of the runtime that waits for it, as the threads apart have none.
            tokio::time::sleep(Duration::from_millis(1)).await;
            thread_name()
        });
        assert_eq!(long.await.unwrap(), "modelet-apart");
        let next = run(&scheduler, "a", &pace, async { thread_name() });
        assert_eq!(next.await.unwrap(), "modelet-apart", "the next call of a handler begins there");
        let other = run(&scheduler, "a", &Arc::default(), async { thread_name() });
        assert_ne!(other.await.unwrap(), "modelet-apart", "that of another handler does not");
    }

    #[tokio::test]
    async fn what_is_stopped_has_ended() {
        struct Ending(Arc<std::sync::atomic::AtomicBool>);
        impl Drop for Ending {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let scheduler = Scheduler::start().unwrap();
        let ended = Arc::new(std::sync::atomic::AtomicBool::default());
        let ending = Ending(ended.clone());
        let mut endless = run(&scheduler, "a", &Arc::default(), async move {
            let _ending = ending;
            loop {
                spin(Duration::from_millis(1));
                tokio::task::yield_now().await;
            }
        });
        let waited = tokio::time::timeout(Duration::from_millis(20), &mut endless).await;
        assert!(waited.is_err());
        assert!(matches!(endless, Scheduled::Apart(_)));
        endless.stop().await;
        assert!(ended.load(std::sync::atomic::Ordering::SeqCst));
    }
}
