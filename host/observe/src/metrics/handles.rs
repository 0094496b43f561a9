//! What one revision, and one model, add up to.
//!
//! A caller resolves its handle once and keeps it; recording is then additions to atomics only.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use modelet_types::Code;

use super::histogram::DurationHistogram;
use crate::ledger::{Outcome, UsageRecord};

/// The outcomes in the order of [`RevisionMetrics::outcomes`]: the codes, then these.
pub(super) const OK: usize = Code::ALL.len();
const INTERRUPTED: usize = OK + 1;

/// One revision's counters. Keep it with the revision: recording takes no lock and no look-up.
#[derive(Debug)]
pub struct RevisionMetrics {
    pub(super) revision: String,
    pub(super) outcomes: [AtomicU64; INTERRUPTED + 1],
    pub(super) duration: DurationHistogram,
    pub(super) queue: DurationHistogram,
    pub(super) guest_cpu_us: AtomicU64,
    pub(super) inference_cpu_us: AtomicU64,
    pub(super) cold: AtomicU64,
    pub(super) request_bytes: AtomicU64,
    pub(super) response_bytes: AtomicU64,
}

impl RevisionMetrics {
    pub(super) fn new(revision: String) -> Self {
        Self {
            revision,
            outcomes: std::array::from_fn(|_| AtomicU64::new(0)),
            duration: DurationHistogram::default(),
            queue: DurationHistogram::default(),
            guest_cpu_us: AtomicU64::new(0),
            inference_cpu_us: AtomicU64::new(0),
            cold: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
        }
    }

    /// Adds a finished invocation.
    pub fn record(&self, usage: &UsageRecord) {
        let outcome = match usage.outcome {
            Outcome::Failed(code) => code as usize,
            Outcome::Ok => OK,
            Outcome::Interrupted => INTERRUPTED,
        };
        self.outcomes[outcome].fetch_add(1, Relaxed);
        self.duration.observe_us(usage.wall_time_us);
        self.queue.observe_us(usage.queue_time_us);
        self.guest_cpu_us.fetch_add(usage.cpu_time_us, Relaxed);
        self.inference_cpu_us.fetch_add(usage.inference_cpu_time_us, Relaxed);
        self.cold.fetch_add(u64::from(usage.cold), Relaxed);
        self.request_bytes.fetch_add(usage.request_bytes, Relaxed);
        self.response_bytes.fetch_add(usage.response_bytes, Relaxed);
    }
}

/// The name of the outcome at `index`.
pub(super) fn outcome_label(index: usize) -> &'static str {
    match index {
        OK => Outcome::Ok.as_str(),
        INTERRUPTED => Outcome::Interrupted.as_str(),
        code => Code::ALL[code].as_str(),
    }
}

/// One model's inferences on one backend. Keep it with the session.
#[derive(Debug)]
pub struct ModelMetrics {
    pub(super) model: String,
    pub(super) backend: &'static str,
    pub(super) duration: DurationHistogram,
}

impl ModelMetrics {
    pub(super) fn new(model: String, backend: &'static str) -> Self {
        Self { model, backend, duration: DurationHistogram::default() }
    }

    /// Adds one inference: from the call to its outputs, waiting in a batch included.
    pub fn record(&self, duration: Duration) {
        self.duration.observe(duration);
    }
}
