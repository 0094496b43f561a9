//! The files of one function's log: `<tenant>/<function>/<first line's number>.jsonl`.
//!
//! Lines are numbered without a gap inside a segment, so its last number follows from its name and
//! its line breaks.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use modelet_types::{FunctionName, TenantName};

use super::{FunctionLogsConfig, LogLine};
use crate::Error;

/// Where a function's log is.
pub(super) fn dir(base: &Path, tenant: &TenantName, function: &FunctionName) -> PathBuf {
    base.join(tenant.as_str()).join(function.as_str())
}

/// The segment that begins with line `first_seq`.
pub(super) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.jsonl"))
}

/// The first line's number of each segment, ascending; none if there is no such folder.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(Error::io("read", dir))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("read", dir))?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// The whole lines of a segment from `offset`, and where they end; `None` if the segment is gone.
pub(super) fn read_lines(path: &Path, offset: u64) -> Result<Option<(Vec<LogLine>, u64)>, Error> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(Error::io("open", path))?,
    };
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(Error::io("read", path))?;
    // What has no line break yet is still being written.
    bytes.truncate(whole_lines(&bytes));
    // A line that is damaged is left out; the numbers show the gap.
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    Ok(Some((lines.collect(), offset + bytes.len() as u64)))
}

/// The last `count` lines, oldest first.
pub(super) fn tail(dir: &Path, count: usize) -> Result<Vec<LogLine>, Error> {
    let mut lines = VecDeque::new();
    for first_seq in list(dir)?.into_iter().rev() {
        if lines.len() >= count {
            break;
        }
        // Gone if the ring has turned meanwhile; then so is everything before it.
        let Some((older, _)) = read_lines(&path(dir, first_seq), 0)? else { break };
        older.into_iter().rev().take(count - lines.len()).for_each(|line| lines.push_front(line));
    }
    Ok(lines.into())
}

fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

/// A log that is being written.
pub(super) struct Ring {
    dir: PathBuf,
    config: FunctionLogsConfig,
    /// First line's number and size of each segment, oldest first.
    segments: VecDeque<(u64, u64)>,
    next_seq: u64,
    file: Option<File>,
    /// Encoded lines that are not in the file yet.
    buffer: Vec<u8>,
    buffered_lines: u64,
}

impl Ring {
    /// Opens a log as the last writer left it, without what it had not finished.
    pub(super) fn open(dir: PathBuf, config: FunctionLogsConfig) -> Result<Self, Error> {
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let mut segments = VecDeque::new();
        let mut next_seq = 1;
        let found = list(&dir)?;
        for &first_seq in &found {
            let path = path(&dir, first_seq);
            let size = if Some(&first_seq) == found.last() {
                let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
                let whole = whole_lines(&bytes);
                if whole < bytes.len() {
                    let file = OpenOptions::new().write(true).open(&path);
                    let cut = file.and_then(|file| file.set_len(whole as u64));
                    cut.map_err(Error::io("truncate", &path))?;
                }
                next_seq = first_seq + bytes[..whole].iter().filter(|byte| **byte == b'\n').count() as u64;
                whole as u64
            } else {
                fs::metadata(&path).map_err(Error::io("read", &path))?.len()
            };
            segments.push_back((first_seq, size));
        }
        let (file, buffer, buffered_lines) = (None, Vec::new(), 0);
        Ok(Self { dir, config, segments, next_seq, file, buffer, buffered_lines })
    }

    /// The number of the next line.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Adds a line to what is to be written, and says how much that is.
    pub(super) fn add(&mut self, line: &LogLine) -> usize {
        serde_json::to_writer(&mut self.buffer, line).expect("a line has text keys only, into memory");
        self.buffer.push(b'\n');
        self.buffered_lines += 1;
        self.next_seq += 1;
        self.buffer.len()
    }

    /// Lines that are not in the file yet.
    pub(super) fn buffered_lines(&self) -> u64 {
        self.buffered_lines
    }

    /// Writes what was added, and turns the ring. After an error, open the log anew.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let first_new = self.next_seq - self.buffered_lines;
        let full = self.segments.back().is_none_or(|(_, size)| *size >= self.config.segment_bytes);
        if full {
            self.file = None;
            self.segments.push_back((first_new, 0));
        }
        let (first_seq, size) = self.segments.back_mut().expect("pushed if there was none");
        let path = path(&self.dir, *first_seq);
        let write = |file: &mut Option<File>| -> io::Result<()> {
            if file.is_none() {
                *file = Some(OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?);
            }
            file.as_mut().expect("opened above").write_all(&self.buffer)
        };
        write(&mut self.file).map_err(Error::io("write", &path))?;
        *size += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffered_lines = 0;
        self.turn()
    }

    /// Removes the oldest segments while all together are over the cap.
    fn turn(&mut self) -> Result<(), Error> {
        let mut total: u64 = self.segments.iter().map(|(_, size)| size).sum();
        while total > self.config.cap_bytes && self.segments.len() > 1 {
            let (first_seq, size) = self.segments[0];
            let path = path(&self.dir, first_seq);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
            self.segments.pop_front();
            total -= size;
        }
        Ok(())
    }

    /// Whether a descriptor is held.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Gives the descriptor back; the next line opens the file again.
    pub(super) fn close_file(&mut self) {
        self.file = None;
    }
}
