//! The usage record of one invocation: exactly one, however the invocation ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use modelet_engine::Meter;
use modelet_inference::Unanswered;
use modelet_observe::metrics::RevisionMetrics;
use modelet_observe::{Error as LedgerError, Ledger, Outcome, UsageOpened, UsageRecord};
use modelet_types::{Code, InvocationId, Problem};

use crate::Runtime;
use crate::gate::{Entered, Waiting};
use crate::revision::Revision;
use crate::sweep::Added;
use crate::timing::{Stage, Timing};

/// What an invocation is being charged. Dropped before it is closed, it records that the caller
/// left.
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    metrics: Arc<RevisionMetrics>,
    status_of: fn(Code) -> u16,
    revision: Arc<Revision>,
    invocation: InvocationId,
    started_at: Timestamp,
    began: Instant,
    pub(crate) meter: Arc<Meter>,
    /// Of models that gave no answer, which is not in `meter`.
    pub(crate) unanswered: Arc<Unanswered>,
    pub(crate) queue_time: Duration,
    pub(crate) wake_time: Option<Duration>,
    /// Of each stage, if the caller asked.
    pub(crate) timing: Option<Arc<Timing>>,
    /// What is set aside for it.
    entered: Entered,
    /// What its waking has added to what is swept.
    pub(crate) added: Option<Added>,
    pub(crate) request_bytes: Arc<AtomicU64>,
    pub(crate) response_bytes: Arc<AtomicU64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Nothing is in the ledger.
    Unwritten,
    /// The stream's opening is in the ledger or on its way there, with this status.
    StreamOpen(u16),
    Closed,
}

impl Account {
    /// Lets an invocation begin, within the quotas of its tenant and its function. One that is refused leaves no record.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub(crate) fn open(
        runtime: &Runtime,
        revision: &Arc<Revision>,
        invocation: InvocationId,
    ) -> Result<Self, Problem> {
        let entered = revision.gate.enter(&revision.limits).inspect_err(|_| {
            runtime.config.metrics.host().quota_refusals.add(1);
        })?;
        Ok(Self {
            ledger: runtime.config.ledger.clone(),
            metrics: revision.metrics.clone(),
            status_of: runtime.config.status_of,
            revision: revision.clone(),
            invocation,
            started_at: Timestamp::now(),
            began: Instant::now(),
            meter: Arc::default(),
            unanswered: Arc::default(),
            queue_time: Duration::ZERO,
            wake_time: None,
            timing: None,
            entered,
            added: None,
            request_bytes: Arc::default(),
            response_bytes: Arc::default(),
            state: State::Unwritten,
        })
    }

    /// Lets it wait for a place.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub(crate) fn wait(&self) -> Result<Waiting, Problem> {
        self.entered.wait()
    }

    /// Says how long a stage took that began at `began`.
    pub(crate) fn stage(&self, name: &str, began: Instant) {
        if let Some(timing) = &self.timing {
            timing.stage(name, began.elapsed());
        }
    }

    /// The stages so far, if the caller asked.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        self.timing.as_ref().map(|timing| timing.stages()).unwrap_or_default()
    }

    /// Writes the opening of a stream, before its first byte.
    pub(crate) async fn open_stream(&mut self, status: u16) -> Result<(), Problem> {
        let opened = UsageOpened {
            invocation: self.invocation,
            tenant: self.revision.tenant.clone(),
            function: self.revision.function.clone(),
            revision: self.revision.number,
            started_at: self.started_at,
            status,
            cold: self.wake_time.is_some(),
        };
        // Before the wait: a caller who leaves meanwhile has opened a stream that is to be closed.
        self.state = State::StreamOpen(status);
        self.ledger.open_stream(opened).await.map_err(|error| {
            self.state = State::Unwritten;
            unaccountable(error)
        })
    }

    /// Writes the record, before the answer or the last byte of a stream.
    pub(crate) async fn close(&mut self, status: u16, outcome: Outcome) -> Result<(), Problem> {
        let record = self.record(status, outcome);
        if std::mem::replace(&mut self.state, State::Closed) == State::Closed {
            return Ok(());
        }
        // Before the wait, which may be broken off; the record is written all the same.
        self.metrics.record(&record);
        self.entered.add(record.usage());
        self.ledger.append(&record).await.map_err(unaccountable)
    }

    /// The status number for a failure.
    pub(crate) fn status_of(&self, code: Code) -> u16 {
        (self.status_of)(code)
    }

    fn record(&self, status: u16, outcome: Outcome) -> UsageRecord {
        UsageRecord {
            invocation: self.invocation,
            tenant: self.revision.tenant.clone(),
            function: self.revision.function.clone(),
            revision: self.revision.number,
            started_at: self.started_at,
            wall_time_us: micros(self.began.elapsed()),
            queue_time_us: micros(self.queue_time),
            wake_time_us: micros(self.wake_time.unwrap_or_default()),
            cpu_time_us: micros(self.meter.handler_cpu_time()),
            inference_cpu_time_us: micros(self.meter.inference_cpu_time() + self.unanswered.cpu_time()),
            peak_memory_bytes: self.meter.memory_peak_bytes(),
            request_bytes: self.request_bytes.load(Relaxed),
            response_bytes: self.response_bytes.load(Relaxed),
            status,
            outcome,
            cold: self.wake_time.is_some(),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let status = match self.state {
            State::Closed => return,
            State::Unwritten => self.status_of(Code::Cancelled),
            State::StreamOpen(status) => status,
        };
        let record = self.record(status, Outcome::Failed(Code::Cancelled));
        // Nobody waits for this write; the ledger counts one that fails.
        drop(self.ledger.submit(&record));
        self.metrics.record(&record);
        self.entered.add(record.usage());
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Without its record an invocation is not answered: work that nobody could account for would be
/// given away, and the gap would be found by nobody. The ledger has said in the log why it cannot.
fn unaccountable(_: LedgerError) -> Problem {
    Problem::new(Code::Internal, "the host cannot write its usage ledger")
}

#[cfg(test)]
mod tests {
    use modelet_observe::{Durability, LedgerConfig};

    use super::*;
    use crate::testing::TestRuntime;

    #[tokio::test]
    async fn a_caller_who_leaves_while_a_stream_is_opened_leaves_none_open() {
        let config = LedgerConfig { durability: Durability::Disk, ..LedgerConfig::default() };
        let test = TestRuntime::start(config);
        test.publish(1);
        let open = || Account::open(&test.runtime, &test.revision(), InvocationId::generate()).unwrap();
        let mut account = open();
        {
            // Waits for the disk, usually.
            let mut opening = Box::pin(account.open_stream(206));
            let _ = futures::poll!(&mut opening);
        }
        drop(account);
        // In line behind what the first one wrote.
        open().close(200, Outcome::Ok).await.unwrap();
        let records = test.records();
        assert_eq!(records.len(), 2, "{records:?}");
        assert_eq!((records[0].status, records[0].outcome), (206, Outcome::Failed(Code::Cancelled)));
        assert_eq!(test.ledger.stats().open_streams, 0);
    }
}
