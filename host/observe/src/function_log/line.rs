//! One line of a function's log, as it is queued, stored and read.

use jiff::Timestamp;
use modelet_types::log::{Level, Source};
use modelet_types::{InvocationId, RevisionNumber};
use serde::{Deserialize, Serialize};

/// A line as it stands in the log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was said.
    pub at: Timestamp,
    /// Counts the function's lines from 1, in the order of the file. What a follower makes up (see
    /// [`super::FunctionLogs::follow`]) has the number of the line before.
    pub seq: u64,
    /// How much it matters.
    pub level: Level,
    /// Where it comes from.
    pub source: Source,
    /// By which invocation; none for the host's own lines about the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<InvocationId>,
    /// By which revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionNumber>,
    /// What was said. May contain control characters; in the file they are JSON escapes.
    pub message: String,
}

impl LogLine {
    /// What the host has to say behind line `seq`.
    pub(super) fn from_host(seq: u64, level: Level, message: String) -> Self {
        let (invocation, revision) = (None, None);
        Self { at: Timestamp::now(), seq, level, source: Source::Host, invocation, revision, message }
    }
}

/// A line that has no number yet.
#[derive(Debug)]
pub(super) struct NewLine {
    at: Timestamp,
    level: Level,
    source: Source,
    invocation: Option<InvocationId>,
    revision: Option<RevisionNumber>,
    message: Box<str>,
}

impl NewLine {
    pub(super) fn new(
        level: Level,
        source: Source,
        invocation: Option<InvocationId>,
        revision: Option<RevisionNumber>,
        message: &str,
    ) -> Self {
        Self { at: Timestamp::now(), level, source, invocation, revision, message: message.into() }
    }

    /// What it weighs in the queue.
    pub(super) fn queued_bytes(&self) -> usize {
        size_of::<Self>() + self.message.len()
    }

    pub(super) fn numbered(self, seq: u64) -> LogLine {
        LogLine {
            at: self.at,
            seq,
            level: self.level,
            source: self.source,
            invocation: self.invocation,
            revision: self.revision,
            message: self.message.into(),
        }
    }
}
