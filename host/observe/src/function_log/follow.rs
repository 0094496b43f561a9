//! Following a log: always from its files, so that a slow follower holds nothing in memory.

use std::collections::VecDeque;
use std::path::PathBuf;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::watch;

use super::Level;
use super::line::LogLine;
use super::{Progress, blocking, files};
use crate::Error;

/// Where a follower is.
struct Cursor {
    dir: PathBuf,
    /// The segment being read, by its first line, and how far.
    place: Option<(u64, u64)>,
    /// The number of the next line; 0 if whatever is oldest will do.
    next_seq: u64,
}

impl Cursor {
    /// The lines that have come since; empty if there are none.
    fn read(&mut self) -> Result<Vec<LogLine>, Error> {
        loop {
            let segments = files::list(&self.dir)?;
            let (first_seq, offset) = match self.place {
                // Its segment may have been removed: then the oldest that is left.
                Some((first_seq, offset)) if segments.contains(&first_seq) => (first_seq, offset),
                _ => {
                    let holding = segments.iter().rfind(|first_seq| **first_seq <= self.next_seq);
                    let Some(first_seq) = holding.or(segments.first()) else { return Ok(Vec::new()) };
                    (*first_seq, 0)
                }
            };
            self.place = Some((first_seq, offset));
            let Some((lines, end)) = files::read_lines(&files::path(&self.dir, first_seq), offset)? else {
                continue;
            };
            self.place = Some((first_seq, end));
            let lines = self.accept(lines);
            if !lines.is_empty() {
                return Ok(lines);
            }
            match segments.iter().find(|later| **later > first_seq) {
                Some(later) => self.place = Some((*later, 0)),
                None => return Ok(lines),
            }
        }
    }

    /// Leaves out what was seen, and puts a word where lines are missing.
    fn accept(&mut self, lines: Vec<LogLine>) -> Vec<LogLine> {
        let mut accepted = Vec::with_capacity(lines.len());
        for line in lines {
            if line.seq < self.next_seq {
                continue;
            }
            let skipped = line.seq - self.next_seq;
            if self.next_seq > 0 && skipped > 0 {
                let text = format!("{skipped} lines skipped: they were removed before they could be read");
                accepted.push(LogLine::from_host(line.seq - 1, Level::Warn, text));
            }
            self.next_seq = line.seq + 1;
            accepted.push(line);
        }
        accepted
    }
}

struct Follower {
    cursor: Cursor,
    progress: watch::Receiver<Progress>,
    ready: VecDeque<LogLine>,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<LogLine>, Error> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            // Looked at before reading, so that what is written meanwhile is a change.
            if self.progress.borrow_and_update().removed {
                return Ok(None);
            }
            let dir = self.cursor.dir.clone();
            let mut cursor = std::mem::replace(&mut self.cursor, Cursor { dir, place: None, next_seq: 0 });
            let read = blocking(move || {
                let lines = cursor.read()?;
                Ok((cursor, lines))
            });
            let lines;
            (self.cursor, lines) = read.await?;
            self.ready = lines.into();
            if self.ready.is_empty() && self.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

/// The lines of the log in `dir` behind `after_seq`, and those to come. Ends with the log, or after
/// an error.
pub(super) fn follow(
    dir: PathBuf,
    progress: watch::Receiver<Progress>,
    after_seq: u64,
) -> impl Stream<Item = Result<LogLine, Error>> + Send + 'static {
    let next_seq = if after_seq == 0 { 0 } else { after_seq + 1 };
    let cursor = Cursor { dir, place: None, next_seq };
    let follower = Follower { cursor, progress, ready: VecDeque::new() };
    unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        match follower.next().await {
            Ok(line) => line.map(|line| (Ok(line), Some(follower))),
            Err(error) => Some((Err(error), None)),
        }
    })
}
