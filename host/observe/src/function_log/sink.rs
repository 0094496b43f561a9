//! The lines of one invocation, and their limit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use modelet_types::{InvocationId, RevisionNumber};

use super::line::NewLine;
use super::{FunctionLog, FunctionLogs, Level, Source};

/// What a line counts at least against the limit, since storing it costs about that: an invocation
/// cannot fill the log with empty lines.
const MIN_LINE_BYTES: u64 = 64;

/// The longest line of the host's own, such as a backtrace.
const MAX_HOST_LINE_BYTES: usize = 16 << 10;

/// Where one invocation writes its lines.
///
/// Cheap to make and to drop when nothing is said. When the limit is reached, the line at hand is
/// cut, further ones are dropped, and the last line, written when the sink is dropped, says so.
pub struct LogSink {
    logs: Arc<FunctionLogs>,
    log: Arc<FunctionLog>,
    revision: RevisionNumber,
    invocation: InvocationId,
    max_bytes: u64,
    used_bytes: AtomicU64,
    limit_reached: AtomicBool,
    dropped: AtomicU64,
}

impl LogSink {
    pub(super) fn new(
        logs: Arc<FunctionLogs>,
        log: Arc<FunctionLog>,
        revision: RevisionNumber,
        invocation: InvocationId,
        max_bytes: u64,
    ) -> Self {
        let (used_bytes, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        let limit_reached = AtomicBool::new(false);
        Self { logs, log, revision, invocation, max_bytes, used_bytes, limit_reached, dropped }
    }

    /// Writes one line; a line break inside `text` stays inside the line. Never waits.
    ///
    /// A line counts its bytes, but at least 64, against the limit. Lines of [`Source::Host`] do
    /// not count, and are cut at 16 KiB: what the host says about a trap is not lost to a flood.
    pub fn line(&self, level: Level, source: Source, text: &str) {
        if source == Source::Host {
            return self.push(level, source, cut(text, MAX_HOST_LINE_BYTES));
        }
        // A single addition would let a flood wrap around; past the limit nothing is added.
        if self.limit_reached.load(Relaxed) {
            self.drop_line();
            return;
        }
        let cost = (text.len() as u64).max(MIN_LINE_BYTES);
        let used = self.used_bytes.fetch_add(cost, Relaxed);
        let left = self.max_bytes.saturating_sub(used);
        if cost <= left {
            return self.push(level, source, text);
        }
        self.limit_reached.store(true, Relaxed);
        let part = cut(text, usize::try_from(left).unwrap_or(usize::MAX));
        if part.is_empty() {
            self.drop_line();
        } else {
            self.push(level, source, part);
        }
    }

    fn push(&self, level: Level, source: Source, text: &str) {
        let (invocation, revision) = (Some(self.invocation), Some(self.revision));
        self.logs.push(&self.log, NewLine::new(level, source, invocation, revision, text));
    }

    fn drop_line(&self) {
        self.dropped.fetch_add(1, Relaxed);
        self.logs.shared.dropped_lines.fetch_add(1, Relaxed);
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        if *self.limit_reached.get_mut() {
            let (limit, dropped) = (self.max_bytes, *self.dropped.get_mut());
            let text = format!("log limit of {limit} bytes reached; {dropped} further lines dropped");
            self.line(Level::Warn, Source::Host, &text);
        }
    }
}

impl fmt::Debug for LogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSink").field("invocation", &self.invocation).finish_non_exhaustive()
    }
}

/// The longest beginning of `text` that is at most `bytes` long and ends between characters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
