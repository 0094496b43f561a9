//! A ledger, a store and a sink that does as it is told.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use futures::FutureExt as _;
use modelet_observe::metrics::MetricsConfig;
use modelet_observe::{LedgerConfig, Outcome};
use modelet_store::{StoreConfig, UsageCursor};
use modelet_types::{InvocationId, RevisionNumber};
use tempfile::TempDir;

use super::*;

/// Gives these answers in turn, and then takes everything.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Remedy>>,
    requests: Mutex<Vec<Vec<InvocationId>>>,
}

impl Scripted {
    fn will(&self, answers: impl IntoIterator<Item = Remedy>) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// The requests since the last time.
    fn requests(&self) -> Vec<Vec<InvocationId>> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

impl UsageSink for Scripted {
    fn send<'a>(&'a self, _: &'a str, records: &'a [UsageRecord]) -> BoxFuture<'a, Result<(), NotSent>> {
        self.requests.lock().unwrap().push(records.iter().map(|record| record.invocation).collect());
        let answer = match self.answers.lock().unwrap().pop_front() {
            None => Ok(()),
            Some(remedy) => Err(NotSent { remedy, reason: "told to".to_owned(), detail: String::new() }),
        };
        futures::future::ready(answer).boxed()
    }
}

struct Place {
    folder: TempDir,
    store: Arc<Store>,
    sink: Arc<Scripted>,
    metrics: Arc<Metrics>,
}

impl Place {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&StoreConfig::embedded(folder.path().join("data"))).await.unwrap();
        let metrics = Metrics::new(MetricsConfig::default());
        Self { folder, store, sink: Arc::default(), metrics }
    }

    fn ledger_dir(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    fn ledger(&self) -> Arc<Ledger> {
        Ledger::open(self.ledger_dir(), LedgerConfig::default()).unwrap()
    }

    fn exporter(&self, ledger: &Arc<Ledger>, max_records: usize) -> Exporter {
        let export = UsageExport { sink: self.sink.clone(), max_records };
        Exporter::new(self.store.clone(), ledger.clone(), self.metrics.clone(), export)
    }
}

async fn append(ledger: &Ledger, count: usize) -> Vec<InvocationId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let record = UsageRecord {
            invocation: InvocationId::generate(),
            tenant: "acme".parse().unwrap(),
            function: "f".parse().unwrap(),
            revision: RevisionNumber(1),
            started_at: jiff::Timestamp::now(),
            wall_time_us: 5,
            queue_time_us: 0,
            wake_time_us: 0,
            cpu_time_us: 0,
            inference_cpu_time_us: 0,
            peak_memory_bytes: 0,
            request_bytes: 0,
            response_bytes: 0,
            status: 200,
            outcome: Outcome::Ok,
            cold: false,
        };
        ledger.append(&record).await.unwrap();
        ids.push(record.invocation);
    }
    ids
}

/// The first segment's file.
fn segment(dir: &Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ledger"));
    files.into_iter().min().unwrap()
}

const LATER: Remedy = Remedy::Later { after: None };

#[tokio::test]
async fn records_go_in_requests_of_a_size_and_once() {
    let place = Place::new().await;
    let ledger = place.ledger();
    let ids = append(&ledger, 5).await;
    let mut exporter = place.exporter(&ledger, 2);
    for step in [Step::GoOn, Step::GoOn, Step::Done, Step::Done] {
        assert_eq!(exporter.step().await.unwrap(), step);
    }
    assert_eq!(place.sink.requests(), [&ids[..2], &ids[2..4], &ids[4..]]);
    let more = append(&ledger, 1).await;
    // A host that comes after it.
    assert_eq!(place.exporter(&ledger, 2).step().await.unwrap(), Step::Done);
    assert_eq!(place.sink.requests(), [more]);
    assert_eq!(place.metrics.host().usage_export_records.get(), 6);
    assert_eq!(place.metrics.host().usage_export_oldest.get(), 0);
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_as_it_was() {
    let place = Place::new().await;
    let ledger = place.ledger();
    let ids = append(&ledger, 2).await;
    let mut exporter = place.exporter(&ledger, 2);
    place.sink.will([LATER, Remedy::Operator]);
    assert_eq!(exporter.step().await.unwrap_err().remedy, LATER);
    assert!(place.metrics.host().usage_export_oldest.get() > 0);
    append(&ledger, 1).await;
    assert_eq!(exporter.step().await.unwrap_err().remedy, Remedy::Operator);
    assert_eq!(noted(&place.store, ledger.id()).await.unwrap(), Position::START);
    assert_eq!(exporter.step().await.unwrap(), Step::GoOn);
    assert_eq!(place.sink.requests(), [&ids[..], &ids[..], &ids[..]]);
    assert_eq!(place.metrics.host().usage_export_failures.get(), 2);
}

#[tokio::test]
async fn fewer_records_are_sent_when_they_are_too_many() {
    let place = Place::new().await;
    let ledger = place.ledger();
    let ids = append(&ledger, 8).await;
    let mut exporter = place.exporter(&ledger, 100);
    place.sink.will([Remedy::Smaller, Remedy::Smaller]);
    for _ in 0..4 {
        assert_eq!(exporter.step().await.unwrap(), Step::GoOn);
    }
    assert_eq!(place.sink.requests(), [&ids[..], &ids[..4], &ids[..2], &ids[2..4]]);
    // One record that is too large by itself is not passed over.
    place.sink.will([Remedy::Smaller, Remedy::Smaller]);
    assert_eq!(exporter.step().await.unwrap(), Step::GoOn);
    assert_eq!(exporter.step().await.unwrap_err().remedy, Remedy::Smaller);
    assert_eq!(place.sink.requests(), [&ids[4..6], &ids[4..5]]);
    assert_eq!(exporter.step().await.unwrap(), Step::GoOn);
    assert_eq!(place.sink.requests(), [&ids[4..5]]);
}

#[tokio::test]
async fn what_was_taken_is_not_sent_again_because_the_store_fails() {
    let place = Place::new().await;
    let ledger = place.ledger();
    let ids = append(&ledger, 1).await;
    let mut exporter = place.exporter(&ledger, 2);
    exporter.begin().await.unwrap();
    place.store.close().await;
    for _ in 0..3 {
        assert_eq!(exporter.step().await.unwrap_err().remedy, LATER);
    }
    assert_eq!(place.sink.requests(), [ids]);
}

#[tokio::test]
async fn damage_is_passed_over() {
    let place = Place::new().await;
    let ledger = place.ledger();
    let first = append(&ledger, 1).await;
    let Position { offset, .. } = ledger.end();
    append(&ledger, 1).await;
    let last = append(&ledger, 1).await;
    let mut file = OpenOptions::new().write(true).open(segment(&place.ledger_dir())).unwrap();
    file.seek(SeekFrom::Start(offset + 20)).unwrap();
    file.write_all(&[0xff; 8]).unwrap();
    assert_eq!(place.exporter(&ledger, 10).step().await.unwrap(), Step::Done);
    assert_eq!(place.sink.requests(), [[first, last].concat()]);
    assert_eq!(place.exporter(&ledger, 10).step().await.unwrap(), Step::Done);
    assert_eq!(place.sink.requests(), Vec::<Vec<InvocationId>>::new());
}

#[tokio::test]
async fn a_ledger_from_a_backup_is_exported_from_its_end() {
    let place = Place::new().await;
    let ledger = place.ledger();
    append(&ledger, 1).await;
    let end = ledger.end();
    let beyond = UsageCursor { segment: end.segment, offset: end.offset + 100_000 };
    place.store.set_usage_export_cursor(ledger.id(), beyond).await.unwrap();
    // What comes before the store is asked is not passed over.
    let mut exporter = place.exporter(&ledger, 10_000);
    let ids = append(&ledger, 1).await;
    exporter.begin().await.unwrap();
    // Nor by a next host, which finds the ledger longer than it was when it was exported last.
    let more = append(&ledger, 2_000).await;
    assert!(ledger.end() > Position { segment: beyond.segment, offset: beyond.offset });
    let mut exporter = place.exporter(&ledger, 10_000);
    assert_eq!(exporter.step().await.unwrap(), Step::Done);
    assert_eq!(place.sink.requests(), [[ids, more].concat()]);
}

#[tokio::test]
async fn what_is_not_taken_stays_in_the_ledger() {
    let place = Place::new().await;
    let config = LedgerConfig { segment_bytes: 500, ..LedgerConfig::default() };
    let ledger = Ledger::open(place.ledger_dir(), config).unwrap();
    append(&ledger, 100).await;
    let removable = async || noted(&place.store, ledger.id()).await.unwrap().min(ledger.end());
    let mut exporter = place.exporter(&ledger, 50);
    place.sink.will([LATER]);
    exporter.step().await.unwrap_err();
    assert_eq!(ledger.forget_before(removable().await).unwrap(), 0);
    exporter.step().await.unwrap();
    let first = ledger.forget_before(removable().await).unwrap();
    exporter.step().await.unwrap();
    let second = ledger.forget_before(removable().await).unwrap();
    assert!(first > 0 && second > 0, "{first} {second}");
    assert_eq!(place.sink.requests().concat().len(), 150);
}
