//! What the calls of a revision that takes tensors came to, counted since this host knows the revision.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use modelet_inference::{Execution, RunOutput};

/// How many there were, and how long they took together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// How many.
    pub count: u64,
    /// How long, in nanoseconds.
    pub ns: u64,
}

impl Total {
    fn add(&mut self, count: u64, took: Duration) {
        self.count += count;
        self.ns = self.ns.saturating_add(nanos(took));
    }
}

/// The runs of the backend with one number of rows. Of what was read and written for them the times are
/// those of this revision's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchStatistics {
    /// Reading the inputs.
    pub input: Total,
    /// Runs.
    pub run: Total,
    /// Writing the outputs.
    pub output: Total,
}

/// What the calls of a model, or of a handler in tensors, came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelStatistics {
    /// When the last answer was given.
    pub last_answer: Option<SystemTime>,
    /// Rows of the requests that were answered by a run; a request is one row where the manifest puts no
    /// requests together.
    pub rows: u64,
    /// Runs of the backend. One that served requests of several revisions is counted for one of them.
    pub executions: u64,
    /// Requests that were answered.
    pub answered: Total,
    /// Requests that failed once they had begun. Those whose caller left are not among them.
    pub failed: Total,
    /// Waiting for a place and for a worker, of those that were answered.
    pub queue: Total,
    /// Reading the inputs, of those that were answered by a run.
    pub input: Total,
    /// The backend's part of these: how long each request's run took, whoever shared it.
    pub run: Total,
    /// Writing the outputs of these.
    pub output: Total,
    /// Answers that had been kept, with the time that finding them took.
    pub cache_hits: Total,
    /// Answers that could have been and had not, with the time that looking for and keeping them took.
    pub cache_misses: Total,
    /// By the rows of a run: each number up to 64, then those up to 128, 256, 512, and all above.
    pub batches: BTreeMap<u32, BatchStatistics>,
    /// Memory of the sessions, if any is loaded.
    pub memory_bytes: Option<u64>,
}

/// How long the parts of an answered request took.
pub(crate) struct Parts {
    pub(crate) all: Duration,
    /// Waiting for a place.
    pub(crate) queue: Duration,
    pub(crate) input: Duration,
    pub(crate) output: Duration,
}

/// What a run says that is counted.
pub(crate) struct Ran {
    queue: Duration,
    rows: u32,
    execution: Option<Execution>,
    cache: Option<Duration>,
}

impl Ran {
    /// What a handler in tensors did: it is one run, whatever models it had run.
    pub(crate) fn by_handler(took: Duration) -> Self {
        let execution = Some(Execution { rows: 1, took, is_first: true });
        Self { queue: Duration::ZERO, rows: 1, execution, cache: None }
    }

    pub(crate) fn of(run: &RunOutput) -> Self {
        let RunOutput { queue_time, rows, execution, cache_time, .. } = run;
        Self { queue: *queue_time, rows: *rows, execution: *execution, cache: *cache_time }
    }
}

/// Counts the calls of one revision.
///
/// Behind a lock, which is held for some additions: it is taken once for a call that has taken others, and
/// what is read under it belongs together.
#[derive(Default)]
pub(crate) struct Counters(Mutex<Option<Box<ModelStatistics>>>);

impl Counters {
    /// Adds a request that was answered.
    pub(crate) fn answered(&self, parts: &Parts, ran: &Ran) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counted.get_or_insert_default();
        counted.last_answer = Some(SystemTime::now());
        counted.answered.add(1, parts.all);
        counted.queue.add(1, parts.queue + ran.queue);
        let Some(execution) = ran.execution else {
            counted.cache_hits.add(1, ran.cache.unwrap_or_default());
            return;
        };
        if let Some(took) = ran.cache {
            counted.cache_misses.add(1, took);
        }
        let runs = u64::from(execution.is_first);
        counted.rows += u64::from(ran.rows);
        counted.executions += runs;
        counted.input.add(1, parts.input);
        counted.run.add(1, execution.took);
        counted.output.add(1, parts.output);
        let batch = counted.batches.entry(size_class(execution.rows)).or_default();
        batch.input.add(runs, parts.input);
        batch.run.add(runs, if execution.is_first { execution.took } else { Duration::ZERO });
        batch.output.add(runs, parts.output);
    }

    /// Adds a request that was not.
    pub(crate) fn failed(&self, took: Duration) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.get_or_insert_default().failed.add(1, took);
    }

    pub(crate) fn read(&self) -> ModelStatistics {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.as_deref().cloned().unwrap_or_default()
    }
}

/// The rows under which a run is counted: callers choose them, and there is not an entry for each.
fn size_class(rows: u32) -> u32 {
    /// Each of its own up to here, then by powers of two.
    const EXACT: u32 = 64;
    /// The most that `batching.max_batch_size` can be. What is larger is a request that is a run of its own.
    const LARGEST: u32 = 1_024;
    if rows <= EXACT { rows } else { rows.min(LARGEST).next_power_of_two() }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn total(count: u64, ms: u64) -> Total {
        Total { count, ns: ms * 1_000_000 }
    }

    #[test]
    fn a_run_of_several_requests_is_counted_once() {
        let counters = Counters::default();
        let parts = Parts { all: 10 * MS, queue: MS, input: MS, output: 2 * MS };
        for is_first in [true, false] {
            let execution = Some(Execution { rows: 3, took: 5 * MS, is_first });
            counters.answered(&parts, &Ran { queue: MS, rows: 1, execution, cache: None });
        }
        counters.answered(&parts, &Ran { queue: MS, rows: 1, execution: None, cache: Some(MS) });
        counters.failed(4 * MS);
        let counted = counters.read();
        assert!(counted.last_answer.is_some());
        assert_eq!((counted.rows, counted.executions), (2, 1));
        assert_eq!((counted.answered, counted.failed), (total(3, 30), total(1, 4)));
        assert_eq!((counted.queue, counted.cache_hits), (total(3, 6), total(1, 1)));
        assert_eq!((counted.input, counted.run, counted.output), (total(2, 2), total(2, 10), total(2, 4)));
        let batch = BatchStatistics { input: total(1, 2), run: total(1, 5), output: total(1, 4) };
        assert_eq!(counted.batches, BTreeMap::from([(3, batch)]));
    }

    #[test]
    fn there_are_not_as_many_sizes_as_callers_can_think_of() {
        let counters = Counters::default();
        let parts = Parts { all: MS, queue: MS, input: MS, output: MS };
        for rows in 1..=3_000 {
            let execution = Some(Execution { rows, took: MS, is_first: true });
            counters.answered(&parts, &Ran { queue: MS, rows, execution, cache: None });
        }
        let batches = counters.read().batches;
        let counts: Vec<_> = batches.range(63..).map(|(rows, batch)| (*rows, batch.run.count)).collect();
        assert_eq!(counts, [(63, 1), (64, 1), (128, 64), (256, 128), (512, 256), (1_024, 3_000 - 512)]);
    }
}
