//! The ledger from outside: what survives, and that everything is there exactly once.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::FileExt;

use modelet_types::{Code, InvocationId};

use super::record::samples::{opened, record};
use super::*;

fn all(ledger: &Ledger) -> Vec<UsageRecord> {
    ledger.records(Position::START).unwrap().map(Result::unwrap).collect()
}

fn small_segments() -> LedgerConfig {
    LedgerConfig { segment_bytes: 1_000, ..LedgerConfig::default() }
}

async fn append_some(ledger: &Ledger, count: usize) -> Vec<UsageRecord> {
    let records: Vec<_> = (0..count).map(|_| record()).collect();
    for record in &records {
        ledger.append(record).await.unwrap();
    }
    records
}

#[tokio::test]
async fn a_ledger_that_is_off_records_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = LedgerConfig { durability: Durability::Off, ..LedgerConfig::default() };
    let ledger = Ledger::open(folder.path(), config).unwrap();
    ledger.append(&record()).await.unwrap();
    assert_eq!(ledger.stats().entries, 0);
    assert_eq!(ledger.records(Position::START).unwrap().count(), 0);
}

#[tokio::test]
async fn reads_back_what_was_appended_and_reads_on() {
    for durability in [Durability::Process, Durability::Disk] {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig { durability, ..small_segments() };
        let ledger = Ledger::open(dir.path(), config).unwrap();
        let mut expected = append_some(&ledger, 30).await;
        let mut reading = ledger.records(Position::START).unwrap();
        let first: Vec<_> = reading.by_ref().map(Result::unwrap).collect();
        assert_eq!(first, expected);
        drop(ledger);

        let ledger = Ledger::open(dir.path(), config).unwrap();
        let more = append_some(&ledger, 5).await;
        let rest: Vec<_> = ledger.records(reading.position()).unwrap().map(Result::unwrap).collect();
        assert_eq!(rest, more);
        expected.extend(more);
        assert_eq!(all(&ledger), expected);
    }
}

#[tokio::test]
async fn a_read_can_stop_anywhere_and_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), small_segments()).unwrap();
    let expected = append_some(&ledger, 40).await;
    let mut position = Position::START;
    for record in &expected {
        let mut reading = ledger.records(position).unwrap();
        assert_eq!(reading.next().unwrap().unwrap(), *record);
        assert!(reading.position() > position);
        position = reading.position();
    }
    assert!(ledger.records(position).unwrap().next().is_none());
}

/// Cuts the file at every byte of its last records, as a host that was killed in the middle of a
/// write would leave it.
#[tokio::test]
async fn a_torn_end_is_cut_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
    let records = append_some(&ledger, 4).await;
    let mut ends = Vec::new();
    let mut reading = ledger.records(Position::START).unwrap();
    while reading.next().is_some() {
        ends.push(reading.position().offset);
    }
    drop(ledger);
    let path = segment::path(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, ends[3]);

    for length in ends[1]..=ends[3] {
        fs::write(&path, &bytes[..length as usize]).unwrap();
        let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
        let whole = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(all(&ledger), records[..whole], "cut at {length}");
        assert_eq!(ledger.stats().torn_bytes, length - ends[whole - 1]);
        let next = record();
        ledger.append(&next).await.unwrap();
        assert_eq!(all(&ledger).last(), Some(&next), "cut at {length}");
        assert_eq!(all(&ledger).len(), whole + 1);
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_reported_and_loses_nothing_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
    let records = append_some(&ledger, 3).await;
    let mut reading = ledger.records(Position::START).unwrap();
    reading.next().unwrap().unwrap();
    let second = reading.position().offset;
    drop(ledger);
    let file = fs::OpenOptions::new().write(true).open(segment::path(dir.path(), 1)).unwrap();
    file.write_all_at(&[0xff; 3], second + 20).unwrap();

    let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
    let read: Vec<_> = ledger.records(Position::START).unwrap().collect();
    assert_eq!(read.len(), 3);
    assert_eq!(read[0].as_ref().unwrap(), &records[0]);
    assert!(matches!(read[1], Err(Error::Damaged { segment: 1, offset, .. }) if offset == second));
    assert_eq!(read[2].as_ref().unwrap(), &records[2]);
}

#[tokio::test]
async fn orphans_are_closed_as_interrupted_once() {
    let dir = tempfile::tempdir().unwrap();
    // Small segments: the openings lie in segments that recovery does not read.
    let ledger = Ledger::open(dir.path(), small_segments()).unwrap();
    let (orphan, closed) = (record(), record());
    ledger.open_stream(opened(&orphan)).await.unwrap();
    ledger.open_stream(opened(&closed)).await.unwrap();
    append_some(&ledger, 60).await;
    ledger.append(&closed).await.unwrap();
    append_some(&ledger, 60).await;
    assert_eq!(ledger.stats().open_streams, 1);
    assert!(ledger.committer.committed().segment > 5);
    drop(ledger);

    for interrupted in [1, 0] {
        let ledger = Ledger::open(dir.path(), small_segments()).unwrap();
        assert_eq!(ledger.stats().interrupted, interrupted);
        let records = all(&ledger);
        assert_eq!(records.len(), 122);
        let of_orphan: Vec<_> = records.iter().filter(|r| r.invocation == orphan.invocation).collect();
        assert_eq!(of_orphan, [&UsageRecord::interrupted(opened(&orphan))]);
        let of_closed: Vec<_> = records.iter().filter(|r| r.invocation == closed.invocation).collect();
        assert_eq!(of_closed, [&closed]);
    }
}

/// A caller that leaves while its stream is being opened records an invocation that is no stream.
#[tokio::test]
async fn any_record_closes_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), small_segments()).unwrap();
    let left = record();
    ledger.open_stream(opened(&left)).await.unwrap();
    ledger.append(&left).await.unwrap();
    assert_eq!(ledger.stats().open_streams, 0);
    // Both lie in segments that recovery does not read.
    append_some(&ledger, 60).await;
    drop(ledger);

    let ledger = Ledger::open(dir.path(), small_segments()).unwrap();
    assert_eq!(ledger.stats().interrupted, 0);
    let records: Vec<_> = all(&ledger).into_iter().filter(|r| r.invocation == left.invocation).collect();
    assert_eq!(records, [left]);
}

#[test]
fn sixty_four_appenders_have_every_record_exactly_once() {
    for durability in [Durability::Process, Durability::Disk] {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig { durability, segment_bytes: 40_000, ..LedgerConfig::default() };
        let ledger = Ledger::open(dir.path(), config).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(8).build().unwrap();
        let each = if durability.is_disk() { 20 } else { 500 };
        let acknowledged: HashSet<InvocationId> = runtime.block_on(async {
            let appender = |ledger: Arc<Ledger>| async move {
                let mut ids = Vec::new();
                for turn in 0..each {
                    let record = record();
                    if turn % 3 == 0 {
                        ledger.open_stream(opened(&record)).await.unwrap();
                        ledger.append(&record).await.unwrap();
                    } else {
                        ledger.append(&record).await.unwrap();
                    }
                    ids.push(record.invocation);
                }
                ids
            };
            let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(appender(Arc::clone(&ledger)))).collect();
            let mut ids = HashSet::new();
            for task in tasks {
                ids.extend(task.await.unwrap());
            }
            ids
        });
        assert_eq!(acknowledged.len(), 64 * each);
        let mut found: HashMap<InvocationId, u32> = HashMap::new();
        for record in all(&ledger) {
            *found.entry(record.invocation).or_default() += 1;
        }
        assert!(found.values().all(|count| *count == 1));
        assert_eq!(found.keys().copied().collect::<HashSet<_>>(), acknowledged);
        let stats = ledger.stats();
        assert_eq!((stats.failed, stats.open_streams), (0, 0));
        assert!(stats.writes <= stats.entries);
        if durability.is_disk() {
            assert!(stats.writes < stats.entries / 4, "{stats:?}: syncs are not shared");
        }
    }
}

#[tokio::test]
async fn a_record_that_nobody_waits_for_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = LedgerConfig { durability: Durability::Disk, ..LedgerConfig::default() };
    let ledger = Ledger::open(dir.path(), config).unwrap();
    let record = record();
    drop(ledger.submit(&record));
    drop(ledger);
    let ledger = Ledger::open(dir.path(), config).unwrap();
    assert_eq!(all(&ledger), [record]);
}

#[tokio::test]
async fn segments_rotate_and_are_forgotten_from_the_front() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), small_segments()).unwrap();
    let records = append_some(&ledger, 100).await;
    let segments = segment::list(dir.path()).unwrap();
    assert!(segments.len() > 5, "{segments:?}");
    for number in &segments {
        let size = fs::metadata(segment::path(dir.path(), *number)).unwrap().len();
        assert!(size < 1_200, "{size}");
    }
    let mut reading = ledger.records(Position::START).unwrap();
    reading.by_ref().take(50).for_each(|record| assert!(record.is_ok()));
    let position = reading.position();
    assert_eq!(ledger.forget_before(position).unwrap() as u64, position.segment - 1);
    let rest: Vec<_> = ledger.records(position).unwrap().map(Result::unwrap).collect();
    assert_eq!(rest, records[50..]);
    // The segment that is being written stays, whatever is asked.
    ledger.forget_before(Position { segment: u64::MAX, offset: 0 }).unwrap();
    append_some(&ledger, 1).await;
    assert_eq!(segment::list(dir.path()).unwrap().first(), segments.last());
}

#[tokio::test]
async fn a_failed_write_is_reported_and_the_next_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
    let before = append_some(&ledger, 1).await;
    let failed = record();
    {
        // A file that can only be read stands for a disk that is full.
        let read_only = fs::File::open(segment::path(dir.path(), 1)).unwrap();
        let whole = ledger.committer.replace_file(read_only);
        let error = ledger.append(&failed).await.unwrap_err();
        assert!(matches!(error, Error::Io { action: "write", .. }), "{error}");
        let error = ledger.open_stream(opened(&failed)).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        ledger.committer.replace_file(whole);
    }
    assert_eq!((ledger.stats().failed, ledger.stats().open_streams), (2, 0));
    let after = append_some(&ledger, 1).await;
    assert_eq!(all(&ledger), [before, after].concat());
}

#[tokio::test]
async fn a_full_buffer_refuses_instead_of_growing() {
    let dir = tempfile::tempdir().unwrap();
    let config = LedgerConfig { max_pending_bytes: 50, ..LedgerConfig::default() };
    let ledger = Ledger::open(dir.path(), config).unwrap();
    assert!(matches!(ledger.append(&record()).await, Err(Error::Full(0))));
    assert_eq!(ledger.stats().failed, 1);
}

#[test]
fn only_one_process_has_it_and_newer_formats_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
    assert!(matches!(Ledger::open(dir.path(), LedgerConfig::default()), Err(Error::InUse(_))));
    drop(ledger);
    let file = fs::OpenOptions::new().write(true).open(segment::path(dir.path(), 1)).unwrap();
    file.write_all_at(&[2], 8).unwrap();
    let error = Ledger::open(dir.path(), LedgerConfig::default()).err().unwrap();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_segment_without_its_header_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
    let failed = UsageRecord { outcome: Outcome::Failed(Code::HandlerTrap), ..record() };
    ledger.append(&failed).await.unwrap();
    drop(ledger);
    fs::write(segment::path(dir.path(), 2), [0; 100]).unwrap();
    fs::write(dir.path().join("00000000000000000003.tmp"), b"half").unwrap();

    let ledger = Ledger::open(dir.path(), LedgerConfig::default()).unwrap();
    let more = append_some(&ledger, 1).await;
    assert_eq!(all(&ledger), [vec![failed], more].concat());
    assert_eq!(segment::list(dir.path()).unwrap(), [1, 3]);
    assert!(segment::path(dir.path(), 2).with_extension("damaged").exists());
    assert!(!dir.path().join("00000000000000000003.tmp").exists());
}
