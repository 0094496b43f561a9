//! Usage records to a collector outside: in the ledger's order, each at least once.
//!
//! How far the collector has them is in the metastore, and moved when it has said so. A host that is killed in
//! between sends the last request's records again; they have the same ids, by which the collector knows them.
//! Knows nothing of how they are sent, or of what they look like then: that is a [`UsageSink`].

mod pace;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use modelet_observe::{Error as LedgerError, Ledger, Metrics, Position, UsageRecord};
use modelet_store::{Store, StoreError};

use crate::Control;
use crate::usage::{cursor, position};
use pace::{Pace, Size};

/// How often it is looked for new records, so that those of a second go together.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long a host that stops tries to send what is left.
const LAST_TRY: Duration = Duration::from_secs(5);

/// Whoever takes the records.
pub trait UsageSink: Send + Sync {
    /// Sends records of the ledger with this id. They count as sent all together, or not at all.
    fn send<'a>(&'a self, ledger: &'a str, records: &'a [UsageRecord]) -> BoxFuture<'a, Result<(), NotSent>>;
}

/// Why records were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSent {
    /// What helps.
    pub remedy: Remedy,
    /// Why, and what to do. Logged when it is another one than before.
    pub reason: String,
    /// What is different each time, for the log.
    pub detail: String,
}

/// What helps when records were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Fewer records in a request.
    Smaller,
    /// Time: at least as much as the sink asks for, if it does.
    Later {
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// Somebody who changes something.
    Operator,
}

/// Where usage records go, and how many at a time.
#[derive(Clone)]
pub struct UsageExport {
    /// Takes them.
    pub sink: Arc<dyn UsageSink>,
    /// The most in one request.
    pub max_records: usize,
}

impl Control {
    /// Sends usage records as they come, again and again. Never returns.
    pub async fn export_usage_forever(&self) -> std::convert::Infallible {
        let Some(exporter) = &self.exporter else { return std::future::pending().await };
        loop {
            let mut exporter = exporter.lock().await;
            let wait = match exporter.step().await {
                Ok(Step::GoOn) => continue,
                Ok(Step::Done) => SEND_EVERY,
                Err(failure) => exporter.pace.failed(&failure),
            };
            drop(exporter);
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends what is left, as far as it is taken at once. For a host that stops; what is left then is sent by
    /// the next one.
    pub async fn export_rest_of_usage(&self) {
        let Some(exporter) = &self.exporter else { return };
        let sending = async {
            let mut exporter = exporter.lock().await;
            loop {
                match exporter.step().await {
                    Ok(Step::GoOn) => {}
                    Ok(Step::Done) => return true,
                    Err(_) => return false,
                }
            }
        };
        if !tokio::time::timeout(LAST_TRY, sending).await.unwrap_or(false) {
            tracing::warn!("not all usage is exported; the next start goes on with it");
        }
    }

    /// How far records may be removed as far as their export is concerned; `None`: as far as anybody likes.
    pub(crate) async fn exported(&self) -> Result<Option<Position>, StoreError> {
        if self.exporter.is_none() {
            return Ok(None);
        }
        // Not the exporter's own word, which may be waiting for the collector.
        noted(self.store(), self.config.ledger.id()).await.map(Some)
    }
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There may be more to send at once.
    GoOn,
    /// All that was there is sent.
    Done,
}

/// A part of the ledger on its way.
struct Batch {
    records: Vec<UsageRecord>,
    end: Position,
    /// Whether it has as many records as it may.
    is_full: bool,
    is_sent: bool,
}

/// Reads the ledger, and has its records sent.
pub(crate) struct Exporter {
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    sink: Arc<dyn UsageSink>,
    /// Where the ledger ended when the host started.
    ended: Position,
    /// How far records are sent; `None` until the store was asked.
    from: Option<Position>,
    /// What was read and is not done with, so that damage in it is found once.
    batch: Option<Batch>,
    size: Size,
    pace: Pace,
}

impl Exporter {
    /// Made before anything is added to the ledger.
    pub(crate) fn new(
        store: Arc<Store>,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
        export: UsageExport,
    ) -> Self {
        let UsageExport { sink, max_records } = export;
        let (ended, size) = (ledger.end(), Size::new(max_records.max(1)));
        Self { store, ledger, metrics, sink, ended, from: None, batch: None, size, pace: Pace::default() }
    }

    /// Sends one request's records, if there are any, and notes that they are sent.
    async fn step(&mut self) -> Result<Step, NotSent> {
        let from = self.begin().await?;
        if self.batch.is_none() && self.ledger.end() == from {
            return Ok(Step::Done);
        }
        let batch = match &mut self.batch {
            Some(batch) => batch,
            None => self.batch.insert(read(&self.ledger, from, self.size.get()).await?),
        };
        let count = batch.records.len();
        if let (Some(oldest), false) = (batch.records.first(), batch.is_sent) {
            self.metrics.host().usage_export_oldest.set(ended_at(oldest));
            match self.sink.send(self.ledger.id(), &batch.records).await {
                Ok(()) => {
                    batch.is_sent = true;
                    self.metrics.host().usage_export_records.add(count as u64);
                    self.size.taken();
                }
                Err(failure) => {
                    self.metrics.host().usage_export_failures.add(1);
                    if failure.remedy == Remedy::Smaller && self.size.shrink(count) {
                        self.batch = None;
                        return Ok(Step::GoOn);
                    }
                    return Err(failure);
                }
            }
        }
        let (end, is_full) = (batch.end, batch.is_full);
        // A part without records, such as the beginning of a new ledger, is read again by the next host.
        if count > 0 {
            self.store.set_usage_export_cursor(self.ledger.id(), cursor(end)).await.map_err(not_noted)?;
        }
        self.from = Some(end);
        self.batch = None;
        self.pace.recovered();
        if is_full && end != self.ledger.end() {
            return Ok(Step::GoOn);
        }
        self.metrics.host().usage_export_oldest.set(0);
        Ok(Step::Done)
    }

    /// Where to go on: where the host before has ended, or with the oldest record that is there.
    async fn begin(&mut self) -> Result<Position, NotSent> {
        if let Some(from) = self.from {
            return Ok(from);
        }
        let id = self.ledger.id();
        let noted = noted(&self.store, id).await.map_err(not_noted)?;
        let from = noted.min(self.ended);
        if from != noted {
            // A ledger that was put back from a backup ends before what was exported of it. Noted before
            // anything is sent: once it has grown past the old place, a later start could not tell.
            self.store.set_usage_export_cursor(id, cursor(from)).await.map_err(not_noted)?;
            tracing::warn!("the ledger ends before what was exported of it: it is exported from its end on");
        }
        self.from = Some(from);
        Ok(from)
    }
}

/// How far a ledger has been exported; the start, if it never was.
async fn noted(store: &Store, ledger: &str) -> Result<Position, StoreError> {
    Ok(store.usage_export_cursor(ledger).await?.map_or(Position::START, position))
}

/// When an invocation ended, in µs since 1970.
fn ended_at(record: &UsageRecord) -> i64 {
    record.started_at.as_microsecond().saturating_add_unsigned(record.wall_time_us)
}

fn not_noted(error: StoreError) -> NotSent {
    later("the metastore does not say, or note, how far usage is exported", &error)
}

fn later(reason: &str, error: &dyn std::error::Error) -> NotSent {
    let remedy = Remedy::Later { after: None };
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    NotSent { remedy, reason: reason.to_owned(), detail: format!("{error}{source}") }
}

async fn read(ledger: &Arc<Ledger>, from: Position, most: usize) -> Result<Batch, NotSent> {
    let ledger = ledger.clone();
    let reading = tokio::task::spawn_blocking(move || read_blocking(&ledger, from, most)).await;
    let unreadable = |error: &dyn std::error::Error| later("the host cannot read its usage ledger", error);
    reading.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))
}

fn read_blocking(ledger: &Ledger, from: Position, most: usize) -> Result<Batch, LedgerError> {
    let mut batch = Batch { records: Vec::with_capacity(most), end: from, is_full: false, is_sent: false };
    let mut records = ledger.records(from)?;
    while batch.records.len() < most {
        match records.next() {
            None => {
                batch.end = records.position();
                break;
            }
            Some(Ok(record)) => batch.records.push(record),
            // There is nothing to be read there, today or later.
            Some(Err(error @ LedgerError::Damaged { .. })) => {
                tracing::error!(error = &error as &dyn std::error::Error, "records are not exported");
            }
            // What is before it is sent first.
            Some(Err(_)) if !batch.records.is_empty() => break,
            Some(Err(error)) => return Err(error),
        }
        batch.end = records.position();
    }
    batch.is_full = batch.records.len() == most;
    Ok(batch)
}
