//! What a run is asked, and what it gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_types::Tensor;
use modelet_types::manifest::Priority;

use crate::Unanswered;

/// One run.
#[derive(Debug)]
pub struct RunRequest {
    /// The inputs by name, in any order.
    pub inputs: Vec<(String, Tensor)>,
    /// The outputs to compute, in the order wanted; empty means all, in the model's order.
    pub outputs: Vec<String>,
    /// When the answer is of no more use.
    pub deadline: Instant,
    /// What the outputs may be together. Those of a model that runs in another process are not taken from
    /// there if they are larger.
    pub max_output_bytes: u64,
    /// How it stands to the tenant's other runs that wait.
    pub priority: Priority,
    /// Where its CPU time is added if it gives no answer.
    pub unanswered: Option<Arc<Unanswered>>,
}

/// What a run gave.
#[derive(Debug)]
pub struct RunOutput {
    /// The outputs by name.
    pub outputs: Vec<(String, Tensor)>,
    /// CPU time of the run on all threads.
    pub cpu_time: Duration,
    /// Time that the run waited for a worker.
    pub queue_time: Duration,
    /// Whether the run took place inside the poll that returned this, so that `cpu_time` was spent
    /// on the thread that polled.
    pub inline: bool,
    /// The rows of the request; 1 where the model puts no requests together.
    pub rows: u32,
    /// What the backend did; `None` where there was nothing to do, since the answer had been kept.
    pub execution: Option<Execution>,
    /// Where the manifest says that answers are kept: how long finding this one and keeping it took.
    pub cache_time: Option<Duration>,
}

/// A run of the backend, for one request or several.
#[derive(Clone, Copy, Debug)]
pub struct Execution {
    /// The rows of all of its requests.
    pub rows: u32,
    /// How long it took.
    pub took: Duration,
    /// Whether this request is the first of it, so that whoever counts these counts each run once.
    pub is_first: bool,
}
