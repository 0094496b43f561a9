//! The files of a ledger: their names, their header, and the one that is being written.
//!
//! A segment is `<number>.ledger`, 20 digits, from 1. Its header is 24 bytes: `MDLEDGER`, the format
//! version as `u32 LE`, four zero bytes, the segment's number as `u64 LE`. Behind it the segment
//! repeats the streams that were open when it began, so that recovery reads the last segment only.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use modelet_types::InvocationId;

use super::record::UsageOpened;
use super::{LedgerConfig, Position, codec, frame};
use crate::Error;

const MAGIC: &[u8; 8] = b"MDLEDGER";

/// The version of the format that this host writes, and the highest that it reads.
const VERSION: u32 = 1;

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: u64 = 24;

/// After a segment could not be begun, so much more goes into the old one before the next attempt.
const ROTATION_RETRY_BYTES: u64 = 1 << 20;

/// The streams that are open, by invocation.
pub(super) type OpenStreams = HashMap<InvocationId, UsageOpened>;

/// What a written batch means for the streams.
pub(super) enum Effect {
    /// A stream began. Boxed, because nearly every effect is of the other kind.
    Open(Box<UsageOpened>),
    /// An invocation has its record; if it was a stream, that is closed.
    Close(InvocationId),
}

/// Where segment `number` of the ledger in `dir` is.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.ledger"))
}

/// The numbers of the segments in `dir`, ascending.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    let read = Error::io("read", dir);
    let names = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(read)?;
    let number = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".ledger")?.parse().ok()
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn header(number: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..].copy_from_slice(&number.to_le_bytes());
    header
}

/// Whether `file` begins as segment `number` does.
///
/// # Errors
/// If a newer host wrote it.
pub(super) fn check_header(file: &File, path: &Path, number: u64) -> Result<bool, Error> {
    let mut found = [0; HEADER_BYTES as usize];
    match file.read_exact_at(&mut found, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        result => result.map_err(Error::io("read", path))?,
    }
    let version = u32::from_le_bytes([found[8], found[9], found[10], found[11]]);
    if found[..8] == *MAGIC && version > VERSION {
        return Err(Error::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    Ok(found == header(number))
}

/// The last segment, and what a new one has to begin with.
pub(super) struct Segment {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    number: u64,
    /// Behind the last whole batch; whatever the file has beyond was never acknowledged.
    offset: u64,
    /// Bytes beyond `offset` may be in the file, left by a write that failed.
    dirty: bool,
    rotate_at: u64,
    config: LedgerConfig,
    open: OpenStreams,
}

impl Segment {
    /// Makes segment `number` of the ledger in `dir`, with `open` repeated at its beginning.
    pub(super) fn create(
        dir: &Path,
        number: u64,
        config: LedgerConfig,
        open: OpenStreams,
    ) -> Result<Self, Error> {
        let path = path(dir, number);
        let (file, offset) = begin(dir, &path, number, config, &open)?;
        let dir = dir.to_owned();
        let rotate_at = config.segment_bytes;
        Ok(Self { dir, path, file, number, offset, dirty: false, rotate_at, config, open })
    }

    /// Goes on with segment `number`, which ends at `offset`.
    pub(super) fn resume(
        dir: &Path,
        number: u64,
        file: File,
        offset: u64,
        config: LedgerConfig,
        open: OpenStreams,
    ) -> Self {
        let (dir, path) = (dir.to_owned(), path(dir, number));
        let rotate_at = config.segment_bytes;
        Self { dir, path, file, number, offset, dirty: false, rotate_at, config, open }
    }

    /// Behind the last whole batch.
    pub(super) fn position(&self) -> Position {
        Position { segment: self.number, offset: self.offset }
    }

    /// How many streams are open.
    pub(super) fn open_streams(&self) -> usize {
        self.open.len()
    }

    /// The streams that are open.
    pub(super) fn open(&self) -> &OpenStreams {
        &self.open
    }

    /// Swaps the file underneath, so that a test can make writes fail.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// Writes `frames` all or not at all, synced if so configured, then applies `effects`.
    pub(super) fn write(
        &mut self,
        frames: &[u8],
        effects: impl IntoIterator<Item = Effect>,
    ) -> Result<(), Error> {
        if self.offset >= self.rotate_at {
            self.rotate();
        }
        if self.dirty {
            self.cut()?;
        }
        if let Err(error) = self.put(frames) {
            self.dirty = true;
            // Now rather than at the next write, in case the host is stopped before that.
            let _ = self.cut();
            return Err(error);
        }
        self.offset += frames.len() as u64;
        for effect in effects {
            match effect {
                Effect::Open(opened) => {
                    self.open.insert(opened.invocation, *opened);
                }
                Effect::Close(invocation) => {
                    self.open.remove(&invocation);
                }
            }
        }
        Ok(())
    }

    fn put(&self, frames: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(frames, self.offset).map_err(Error::io("write", &self.path))?;
        if self.config.durability.is_disk() {
            self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        }
        Ok(())
    }

    /// Takes away what a failed write left, so that no record is found later whose caller was told
    /// that it was not written.
    fn cut(&mut self) -> Result<(), Error> {
        self.file.set_len(self.offset).map_err(Error::io("truncate", &self.path))?;
        self.dirty = false;
        Ok(())
    }

    /// Begins the next segment. If that fails, the old one grows beyond its size: better than to
    /// refuse records.
    fn rotate(&mut self) {
        if self.dirty && self.cut().is_err() {
            return;
        }
        let number = self.number + 1;
        let path = path(&self.dir, number);
        match begin(&self.dir, &path, number, self.config, &self.open) {
            Ok((file, offset)) => {
                (self.path, self.file, self.number, self.offset) = (path, file, number, offset);
                self.rotate_at = self.config.segment_bytes.max(offset + 1);
            }
            Err(error) => {
                self.rotate_at = self.offset + ROTATION_RETRY_BYTES;
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(error = cause, segment = self.number, "ledger segment not rotated");
            }
        }
    }
}

/// Writes the beginning of a segment beside its place and moves it there, so that a segment that
/// can be seen knows of every open stream.
fn begin(
    dir: &Path,
    path: &Path,
    number: u64,
    config: LedgerConfig,
    open: &OpenStreams,
) -> Result<(File, u64), Error> {
    let draft = path.with_extension("tmp");
    let mut bytes = header(number).to_vec();
    for opened in open.values() {
        bytes.extend(frame::encode(|out| codec::put_opened(out, opened, true)));
    }
    let write = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&bytes)?;
        if config.durability.is_disk() {
            file.sync_all()?;
        }
        fs::rename(&draft, path)?;
        if config.durability.is_disk() {
            File::open(dir)?.sync_all()?;
        }
        Ok(file)
    };
    let file = write().map_err(Error::io("write", path))?;
    Ok((file, bytes.len() as u64))
}
