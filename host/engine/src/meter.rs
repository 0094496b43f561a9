//! What one invocation used, readable at any time, also after its future was dropped.
//!
//! CPU time is measured per poll with the thread's CPU clock: one mechanism for limit, bill and
//! fairness. A model that runs inline does so inside a poll; its share is taken out again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The running totals of one invocation.
#[derive(Debug, Default)]
pub struct Meter {
    /// Nanoseconds of finished polls, inline models included.
    polled_ns: AtomicU64,
    /// The thread's CPU clock when the present poll began, or the last one.
    poll_began_ns: AtomicU64,
    inline_inference_ns: AtomicU64,
    inference_ns: AtomicU64,
    memory_peak_bytes: AtomicU64,
}

impl Meter {
    /// CPU time of the handler, models not counted, up to its last pause.
    pub fn handler_cpu_time(&self) -> Duration {
        self.without_inference(self.polled_ns.load(Relaxed))
    }

    /// CPU time of the handler up to now, for whoever is called by it.
    pub(crate) fn handler_cpu_time_now(&self) -> Duration {
        let present = thread_cpu_ns().saturating_sub(self.poll_began_ns.load(Relaxed));
        self.without_inference(self.polled_ns.load(Relaxed) + present)
    }

    fn without_inference(&self, total_ns: u64) -> Duration {
        Duration::from_nanos(total_ns.saturating_sub(self.inline_inference_ns.load(Relaxed)))
    }

    /// CPU time of finished polls, whatever they did.
    pub(crate) fn polled(&self) -> Duration {
        Duration::from_nanos(self.polled_ns.load(Relaxed))
    }

    /// CPU time of the models that the handler ran.
    pub fn inference_cpu_time(&self) -> Duration {
        Duration::from_nanos(self.inference_ns.load(Relaxed))
    }

    /// The most bytes of linear memory and tables that the instance had.
    pub fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Relaxed)
    }

    /// Adds a model's run, which took place inside a poll if `inline`.
    pub fn add_inference(&self, cpu_time: Duration, inline: bool) {
        let ns = u64::try_from(cpu_time.as_nanos()).unwrap_or(u64::MAX);
        self.inference_ns.fetch_add(ns, Relaxed);
        if inline {
            self.inline_inference_ns.fetch_add(ns, Relaxed);
        }
    }

    pub(crate) fn saw_memory(&self, bytes: usize) {
        self.memory_peak_bytes.fetch_max(bytes as u64, Relaxed);
    }

    /// Measures every poll of `future`.
    pub(crate) fn measure<F>(self: &Arc<Self>, future: F) -> Measured<F> {
        Measured { meter: self.clone(), future }
    }
}

/// CPU time of the calling thread, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    // The clock starts at 0 with the thread and is never negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A future whose polls are measured.
pub(crate) struct Measured<F> {
    meter: Arc<Meter>,
    future: F,
}

impl<F> Measured<F> {
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl<F: Future + Unpin> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let began = thread_cpu_ns();
        self.meter.poll_began_ns.store(began, Relaxed);
        let poll = Pin::new(&mut self.future).poll(cx);
        self.meter.polled_ns.fetch_add(thread_cpu_ns().saturating_sub(began), Relaxed);
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_inline_inference_out_of_the_handlers_time() {
        let meter = Meter::default();
        meter.polled_ns.store(500, Relaxed);
        meter.add_inference(Duration::from_nanos(200), true);
        meter.add_inference(Duration::from_nanos(1_000), false);
        assert_eq!(meter.handler_cpu_time(), Duration::from_nanos(300));
        assert_eq!(meter.inference_cpu_time(), Duration::from_nanos(1_200));
    }

    #[test]
    fn counts_work_and_not_waiting() {
        let meter = Arc::new(Meter::default());
        let work = std::pin::pin!(async {
            let until = thread_cpu_ns() + 2_000_000;
            while thread_cpu_ns() < until {}
        });
        let mut measured = std::pin::pin!(meter.measure(work));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(measured.as_mut().poll(&mut cx).is_ready());
        assert!(meter.handler_cpu_time() >= Duration::from_millis(2));
    }
}
