//! The usage ledger: the host's own append-only record of every invocation.
//!
//! One record per invocation, in files of its own under the data folder, written before the caller
//! has the answer. It is the source of bills, so it is exact about what it promises: a record whose
//! [`Receipt`] came back `Ok` survives the death of the process ([`Durability::Process`]) or the
//! loss of power ([`Durability::Disk`]); one that came back as an error is not in the ledger. A
//! stream is opened before its first byte and closed before its last; a host that dies in between
//! closes it as [`Outcome::Interrupted`] when it comes back.
//!
//! Knows nothing of prices, aggregates or databases: those read [`Ledger::records`].

mod codec;
mod commit;
mod frame;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod reader;
mod record;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

pub use commit::Receipt;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzzed::{check_entry, check_segment};
pub use reader::{Position, Records};
#[cfg(test)]
pub(crate) use record::samples;
pub use record::{Outcome, UsageOpened, UsageRecord};

use modelet_types::InvocationId;
use serde::{Deserialize, Serialize};

use crate::{Error, folder};
use commit::Committer;
use segment::Effect;

/// What an acknowledged record survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The death of the host's process, `kill -9` included: records are written to the kernel.
    #[default]
    Process,
    /// A loss of power too: records are synced to the device, many at a time. Costs each invocation
    /// the time of a sync.
    Disk,
    /// Nothing: nothing is recorded, so that there is no usage and no bill.
    Off,
}

impl Durability {
    fn is_disk(self) -> bool {
        self == Self::Disk
    }
}

/// How a ledger is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerConfig {
    /// What an acknowledged record survives. Default: [`Durability::Process`].
    pub durability: Durability,
    /// A segment of this size is followed by the next. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Records that wait for the file. When it is full, appending fails with [`Error::Full`].
    /// Default: 16 MiB, some 100,000 records.
    pub max_pending_bytes: usize,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { durability: Durability::Process, segment_bytes: 64 << 20, max_pending_bytes: 16 << 20 }
    }
}

/// What the ledger has done since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LedgerStats {
    /// Records and openings of streams written.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Writes that it took; fewer than entries when callers share them.
    pub writes: u64,
    /// Entries that could not be written.
    pub failed: u64,
    /// Streams that are open now.
    pub open_streams: u64,
    /// Streams that the host before did not close, recorded as interrupted at opening.
    pub interrupted: u64,
    /// Bytes of unfinished records cut off at opening.
    pub torn_bytes: u64,
}

/// An open ledger. Only one process can have it.
pub struct Ledger {
    dir: PathBuf,
    committer: Arc<Committer>,
    recovered: recovery::Recovered,
    id: String,
    is_off: bool,
    thread: Option<JoinHandle<()>>,
    /// Locked for as long as the ledger is open.
    _lock: File,
}

impl Ledger {
    /// Opens the ledger in `dir`, made if missing, and repairs what a killed host left: the torn
    /// end is cut, open streams are closed as interrupted. Reads at most one segment, blocking.
    ///
    /// # Errors
    /// If another process has it, a newer host wrote it, or the file system refuses.
    pub fn open(dir: impl AsRef<Path>, config: LedgerConfig) -> Result<Arc<Self>, Error> {
        let dir = dir.as_ref();
        folder::create(dir)?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(Error::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &lock_path)(error)),
        }
        let id = identity(dir)?;
        let (segment, recovered) = recovery::open(dir, config)?;
        let inline = !config.durability.is_disk();
        let committer = Arc::new(Committer::new(segment, config.max_pending_bytes, inline));
        let writer = Arc::clone(&committer);
        let thread = thread::Builder::new()
            .name("ledger".into())
            .spawn(move || writer.run())
            .map_err(Error::io("start the writer of", dir))?;
        let dir = dir.to_owned();
        let is_off = config.durability == Durability::Off;
        Ok(Arc::new(Self { dir, committer, recovered, id, is_off, thread: Some(thread), _lock: lock }))
    }

    /// Writes the record of an invocation, once, and closes its stream if it has one. Call before
    /// the answer or the stream's last byte is sent; at once in `Process` mode unless others are
    /// writing.
    ///
    /// # Errors
    /// If it could not be written. The ledger stays usable and tries again with the next record; a
    /// stream is then still open, and its record can be written again.
    pub async fn append(&self, record: &UsageRecord) -> Result<(), Error> {
        self.submit(record).written().await
    }

    /// As [`Self::append`], for a place that cannot wait, such as a `Drop`: the record is on its
    /// way when this returns.
    pub fn submit(&self, record: &UsageRecord) -> Receipt {
        if self.is_off {
            return Receipt::of_nothing();
        }
        let frame = frame::encode(|out| codec::put_record(out, record));
        // Every record closes: whoever leaves while a stream is being opened cannot tell whether it
        // was, and it would be recorded again, as interrupted.
        self.committer.submit(&frame, Effect::Close(record.invocation))
    }

    /// Writes that a stream begins. Call before its first byte is sent.
    ///
    /// # Errors
    /// As [`Self::append`]; the stream is then not open.
    pub async fn open_stream(&self, opened: UsageOpened) -> Result<(), Error> {
        if self.is_off {
            return Ok(());
        }
        let frame = frame::encode(|out| codec::put_opened(out, &opened, false));
        self.committer.submit(&frame, Effect::Open(Box::new(opened))).written().await
    }

    /// The acknowledged records behind `from`, oldest first; streams at the place where they
    /// closed. A record's stable id is its invocation.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn records(&self, from: Position) -> Result<Records, Error> {
        Records::new(self.dir.clone(), from, self.committer.committed())
    }

    /// What tells this ledger from another one that had its place before: positions in one mean nothing in
    /// the other.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it records anything at all.
    pub fn records_usage(&self) -> bool {
        !self.is_off
    }

    /// Behind the last acknowledged record.
    pub fn end(&self) -> Position {
        self.committer.committed()
    }

    /// Removes the segments that lie wholly before `position` and were last written to before `time`, and
    /// says how many: the oldest first, up to the first that has to stay.
    ///
    /// # Errors
    /// If a file cannot be read or removed.
    pub fn forget_older(&self, time: SystemTime, position: Position) -> Result<usize, Error> {
        let mut keep = Position { segment: 0, offset: 0 };
        for number in segment::list(&self.dir)? {
            let path = segment::path(&self.dir, number);
            let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
            keep.segment = number;
            if written.map_err(Error::io("read", &path))? >= time {
                break;
            }
        }
        self.forget_before(keep.min(position))
    }

    /// Removes the segments that lie wholly before `position`, never the one being written, and
    /// says how many. For records that have been shipped or are older than they are kept.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn forget_before(&self, position: Position) -> Result<usize, Error> {
        let last = position.segment.min(self.committer.committed().segment);
        let mut removed = 0;
        for number in segment::list(&self.dir)?.into_iter().take_while(|number| *number < last) {
            let path = segment::path(&self.dir, number);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// What the ledger has done since it was opened.
    pub fn stats(&self) -> LedgerStats {
        let counters = &self.committer.counters;
        LedgerStats {
            entries: counters.entries.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            writes: counters.writes.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            open_streams: counters.open_streams.load(Relaxed),
            interrupted: self.recovered.interrupted,
            torn_bytes: self.recovered.torn_bytes,
        }
    }
}

/// The text in the file `id`, made when it is missing.
fn identity(dir: &Path) -> Result<String, Error> {
    let path = dir.join("id");
    match fs::read_to_string(&path) {
        Ok(text) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    let id = InvocationId::generate().to_string();
    // Renamed into place, so that a host killed here leaves no half of it.
    let draft = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(id.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        // A ledger that lost its id would be added up from its beginning again.
        File::open(dir)?.sync_all()
    };
    write().map_err(Error::io("write", &path))?;
    Ok(id)
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.committer.stop();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; a panic of it was logged when it happened.
            let _ = thread.join();
        }
    }
}
