//! What the service counts.

use std::sync::atomic::AtomicU64;

/// What sessions and loads count.
#[derive(Default)]
pub(crate) struct Counters {
    pub loads: AtomicU64,
    pub prepared_loads: AtomicU64,
    pub failed_loads: AtomicU64,
    pub inline_runs: AtomicU64,
    pub cached: AtomicU64,
    pub single_runs: AtomicU64,
    pub batches: AtomicU64,
    pub batched_runs: AtomicU64,
    pub failed_runs: AtomicU64,
    pub overloaded: AtomicU64,
    pub abandoned: AtomicU64,
}

/// Counters since the start, and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Models loaded to be run.
    pub loads: u64,
    /// Those of them that took the form which was prepared.
    pub prepared_loads: u64,
    /// Loads that failed.
    pub failed_loads: u64,
    /// Runs on the caller's thread.
    pub inline_runs: u64,
    /// Requests that were given an answer that had been kept.
    pub cached: u64,
    /// Runs on the pool of one request.
    pub single_runs: u64,
    /// Runs on the pool of several requests together.
    pub batches: u64,
    /// The requests of those.
    pub batched_runs: u64,
    /// Runs that ended in an error.
    pub failed_runs: u64,
    /// Runs refused because the queue was full.
    pub overloaded: u64,
    /// Runs in progress whose caller has left. They hold a worker each.
    pub abandoned: u64,
    /// Sessions that were dropped so that others could be loaded.
    pub evictions: u64,
    /// Memory of sessions, in memory or being loaded.
    pub memory_bytes: u64,
    /// What it may be at most.
    pub memory_budget_bytes: u64,
    /// Sessions in memory.
    pub sessions: usize,
    /// Sessions being loaded, or waiting for that.
    pub sessions_loading: usize,
    /// Runs that wait for a worker.
    pub runs_waiting: usize,
    /// Workers that run a model.
    pub workers_busy: usize,
    /// Models that wait to be loaded or checked.
    pub loads_waiting: usize,
    /// Tenants whose models are in a process of their own.
    pub worker_processes: usize,
    /// Such processes that ended although they were needed.
    pub worker_processes_lost: u64,
}
