//! From the ledger's records to sums by the hour, in the metastore.
//!
//! Each record is added once: the sums and how far the ledger has been read are written in one transaction.
//! A host that is killed goes on from there.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use modelet_observe::{Error as LedgerError, Ledger, Position, UsageRecord};
use modelet_store::{UsageCursor, UsageHour, hour_of};
use modelet_types::{Code, FunctionName, Problem, RevisionNumber, TenantName, Usage};

use crate::Control;
use crate::control::to_the_end;

/// Records that are added in one transaction.
const BATCH: usize = 100_000;
/// How often the ledger's end is added up.
const ADD_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for what is older than it is kept.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

type Sums = BTreeMap<(TenantName, i64, FunctionName, RevisionNumber), Usage>;

/// A part of the ledger, added up.
struct Batch {
    sums: Sums,
    end: Position,
    /// Whether the ledger may go on.
    is_full: bool,
}

impl Control {
    /// Adds up what the ledger has by now.
    ///
    /// # Errors
    /// If the ledger cannot be read, or the store fails. What was added before stays added.
    pub async fn add_up_usage(&self) -> Result<(), Problem> {
        // To its end, whoever leaves: where it ends is remembered here after it is committed there.
        let this = self.clone();
        to_the_end(async move { this.add_up().await }).await
    }

    async fn add_up(&self) -> Result<(), Problem> {
        // One at a time: each begins where the one before has ended.
        let mut added_up = self.usage_cursor.lock().await;
        if added_up.is_none() {
            let added = position(self.store().usage_cursor(self.config.ledger.id()).await?);
            // A ledger that was put back from a backup ends before what was added up of it.
            *added_up = Some(added.min(self.config.ledger.end()));
        }
        let mut from = added_up.unwrap_or_default();
        while self.config.ledger.end() != from {
            let ledger = self.config.ledger.clone();
            let read = tokio::task::spawn_blocking(move || add_up(&ledger, from)).await;
            let batch = read.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
            let is_news = batch.end != from;
            if is_news {
                let end = cursor(batch.end);
                self.store().add_usage(self.config.ledger.id(), end, &hours(batch.sums)).await?;
                from = batch.end;
                *added_up = Some(from);
            }
            if !batch.is_full {
                break;
            }
        }
        Ok(())
    }

    /// Adds up the ledger again and again, and removes what of it is older than it is kept. Never returns.
    pub async fn add_up_usage_forever(&self) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(ADD_EVERY);
        let mut looked = None;
        loop {
            interval.tick().await;
            if let Err(problem) = self.add_up_usage().await {
                tracing::error!(%problem, "cannot add up usage");
                continue;
            }
            if looked.is_none_or(|at: tokio::time::Instant| at.elapsed() > FORGET_EVERY) {
                looked = Some(tokio::time::Instant::now());
                self.forget_records().await;
            }
        }
    }

    /// Removes files of the ledger whose records are added up, exported and older than they are kept.
    async fn forget_records(&self) {
        let Some(kept) = self.config.ledger_retention else { return };
        let Some(added) = *self.usage_cursor.lock().await else { return };
        let exported = match self.exported().await {
            Ok(exported) => exported,
            Err(error) => return tracing::error!(%error, "cannot remove old records"),
        };
        let done = exported.map_or(added, |exported| exported.min(added));
        let ledger = self.config.ledger.clone();
        let work = move || match SystemTime::now().checked_sub(kept) {
            Some(before) => ledger.forget_older(before, done),
            None => Ok(0),
        };
        match tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other) {
            Ok(Ok(0)) => {}
            Ok(Ok(segments)) => tracing::info!(segments, "removed records that are older than they are kept"),
            Ok(Err(error)) => tracing::error!(%error, "cannot remove old records"),
            Err(error) => tracing::error!(%error, "cannot remove old records"),
        }
    }
}

/// A place in the ledger as the store keeps it.
pub(crate) fn cursor(Position { segment, offset }: Position) -> UsageCursor {
    UsageCursor { segment, offset }
}

/// The same as the ledger takes it.
pub(crate) fn position(UsageCursor { segment, offset }: UsageCursor) -> Position {
    Position { segment, offset }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "cannot read the ledger");
    Problem::new(Code::Internal, "the host cannot read its usage ledger; its log has the reason")
}

fn add_up(ledger: &Ledger, from: Position) -> Result<Batch, LedgerError> {
    let mut records = ledger.records(from)?;
    let mut sums = Sums::new();
    let mut count = 0;
    while count < BATCH {
        match records.next() {
            None => break,
            Some(Ok(record)) => add(&mut sums, record),
            // It is logged where it is found, and there is nothing to be read there, today or later.
            Some(Err(error @ LedgerError::Damaged { .. })) => {
                tracing::error!(error = &error as &dyn std::error::Error, "records are lost");
            }
            Some(Err(error)) => return Err(error),
        }
        count += 1;
    }
    Ok(Batch { sums, end: records.position(), is_full: count == BATCH })
}

fn add(sums: &mut Sums, record: UsageRecord) {
    let usage = record.usage();
    let hour = hour_of(record.started_at);
    *sums.entry((record.tenant, hour, record.function, record.revision)).or_default() += usage;
}

fn hours(sums: Sums) -> Vec<UsageHour> {
    let hour =
        |((tenant, hour, function, revision), usage)| UsageHour { tenant, hour, function, revision, usage };
    sums.into_iter().map(hour).collect()
}
