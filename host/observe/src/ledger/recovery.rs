//! Opening a ledger as a host left it, however it died.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use super::codec::Entry;
use super::frame::{Found, FrameReader};
use super::record::UsageRecord;
use super::segment::{self, Effect, HEADER_BYTES, OpenStreams, Segment};
use super::{LedgerConfig, codec, frame};
use crate::Error;

/// What was found, for the log and the metrics.
#[derive(Default)]
pub(super) struct Recovered {
    /// Bytes cut off the end: of records that nobody was told about.
    pub torn_bytes: u64,
    /// Streams that were closed as interrupted.
    pub interrupted: u64,
}

/// Opens the last segment in `dir` for writing, or makes the first.
pub(super) fn open(dir: &Path, config: LedgerConfig) -> Result<(Segment, Recovered), Error> {
    remove_drafts(dir)?;
    let numbers = segment::list(dir)?;
    let next = numbers.last().map_or(1, |last| last + 1);
    for &number in numbers.iter().rev() {
        let path = segment::path(dir, number);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io("open", &path))?;
        if segment::check_header(&file, &path, number)? {
            let (mut segment, mut recovered) = resume(dir, number, file, config)?;
            if number + 1 != next {
                // The segments behind this one were set aside; their numbers are not used again.
                segment = Segment::create(dir, next, config, segment.open().clone())?;
            }
            recovered.interrupted = close_orphans(&mut segment)?;
            return Ok((segment, recovered));
        }
        // Only a loss of power without `Durability::Disk` leaves this. Kept for a person to see.
        let aside = path.with_extension("damaged");
        fs::rename(&path, &aside).map_err(Error::io("rename", &path))?;
        tracing::error!(path = %aside.display(), "ledger segment without a header set aside");
    }
    Ok((Segment::create(dir, next, config, OpenStreams::new())?, Recovered::default()))
}

/// Removes segments that were being begun when the host died.
fn remove_drafts(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Reads a segment through, cuts its torn tail and learns which streams are open.
fn resume(dir: &Path, number: u64, file: File, config: LedgerConfig) -> Result<(Segment, Recovered), Error> {
    let path = segment::path(dir, number);
    let length = file.metadata().map_err(Error::io("read", &path))?.len();
    let copy = file.try_clone().map_err(Error::io("open", &path))?;
    let mut frames = FrameReader::new(copy, HEADER_BYTES, length);
    let mut open = OpenStreams::new();
    let mut end = HEADER_BYTES;
    while let Some(found) = frames.next().map_err(Error::io("read", &path))? {
        let Found::Payload(payload) = found else { continue };
        match codec::decode(payload) {
            Some(Entry::Opened(opened) | Entry::StillOpen(opened)) => {
                open.insert(opened.invocation, opened);
            }
            Some(Entry::Record(record)) => {
                open.remove(&record.invocation);
            }
            None => {}
        }
        end = frames.offset();
    }
    let torn_bytes = length - end;
    if torn_bytes > 0 {
        file.set_len(end).map_err(Error::io("truncate", &path))?;
        tracing::warn!(segment = number, offset = end, bytes = torn_bytes, "torn end of the ledger cut");
    }
    let segment = Segment::resume(dir, number, file, end, config, open);
    Ok((segment, Recovered { torn_bytes, interrupted: 0 }))
}

/// Gives every open stream the record that its host could not write.
fn close_orphans(segment: &mut Segment) -> Result<u64, Error> {
    let mut frames = Vec::new();
    let mut effects = Vec::new();
    for opened in segment.open().values() {
        let record = UsageRecord::interrupted(opened.clone());
        frames.extend(frame::encode(|out| codec::put_record(out, &record)));
        effects.push(Effect::Close(opened.invocation));
    }
    let count = effects.len() as u64;
    if count > 0 {
        segment.write(&frames, effects)?;
    }
    Ok(count)
}
