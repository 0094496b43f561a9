//! Reading records back, in the order in which they were written.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::codec::{self, Entry};
use super::frame::{Found, FrameReader};
use super::record::UsageRecord;
use super::segment::{self, HEADER_BYTES};
use crate::Error;

/// A place between two entries of the ledger. Positions are ordered, and stay valid for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number; 0 is before the first.
    pub segment: u64,
    /// Bytes from the segment's beginning.
    pub offset: u64,
}

impl Position {
    /// Before the first record.
    pub const START: Self = Self { segment: 0, offset: 0 };
}

/// The records from a position to where the ledger ended when the reading began.
///
/// Reads files, so it belongs on a thread that may block. Damaged bytes are reported as
/// [`Error::Damaged`] and passed over; after any other error the iterator ends.
pub struct Records {
    dir: PathBuf,
    segments: VecDeque<u64>,
    from: Position,
    end: Position,
    current: Option<(u64, FrameReader)>,
}

impl Records {
    pub(super) fn new(dir: PathBuf, from: Position, end: Position) -> Result<Self, Error> {
        let inside = |number: &u64| (from.segment..=end.segment).contains(number);
        let segments = segment::list(&dir)?.into_iter().filter(inside).collect();
        Ok(Self { dir, segments, from, end, current: None })
    }

    /// Behind the record that was given out last: where to read on from.
    pub fn position(&self) -> Position {
        match &self.current {
            Some((segment, frames)) => Position { segment: *segment, offset: frames.offset() },
            None => self.from,
        }
    }

    fn enter(&mut self, number: u64) -> Result<(), Error> {
        let path = segment::path(&self.dir, number);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        segment::check_header(&file, &path, number)?;
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        let start = if number == self.from.segment { self.from.offset } else { 0 };
        let end = if number == self.end.segment { self.end.offset } else { length };
        self.current = Some((number, FrameReader::new(file, start.max(HEADER_BYTES), end)));
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<UsageRecord>, Error> {
        loop {
            if let Some((segment, frames)) = &mut self.current {
                let (segment, offset) = (*segment, frames.offset());
                let path = || segment::path(&self.dir, segment);
                match frames.next().map_err(|source| Error::io("read", &path())(source))? {
                    Some(Found::Payload(payload)) => match codec::decode(payload) {
                        Some(Entry::Record(record)) => return Ok(Some(record)),
                        Some(Entry::Opened(_) | Entry::StillOpen(_)) => continue,
                        None => {
                            let bytes = frames.offset() - offset;
                            return Err(Error::Damaged { segment, offset, bytes });
                        }
                    },
                    Some(Found::Damage(bytes)) => return Err(Error::Damaged { segment, offset, bytes }),
                    None => {}
                }
            }
            match self.segments.pop_front() {
                Some(number) => self.enter(number)?,
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<UsageRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.advance();
        if let Err(error) = &result
            && !matches!(error, Error::Damaged { .. })
        {
            // Going on would skip what could not be read without a word.
            self.segments.clear();
            self.current = None;
        }
        result.transpose()
    }
}
