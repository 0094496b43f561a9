//! The engine's log lines, written to the function's log without the function's secrets.

use std::sync::Arc;

use modelet_engine::{Level, Log, Source};
use modelet_observe::LogSink;
use modelet_types::Secrets;

use crate::masks::masked;

/// The log of one invocation.
pub(crate) struct InvocationLog {
    sink: LogSink,
    secrets: Arc<Secrets>,
}

impl InvocationLog {
    pub(crate) fn new(sink: LogSink, secrets: Arc<Secrets>) -> Self {
        Self { sink, secrets }
    }

    /// The secrets that the invocation began with.
    pub(crate) fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }
}

impl Log for InvocationLog {
    fn line(&self, level: Level, source: Source, text: &str) {
        self.sink.line(level, source, &masked(text, &self.secrets));
    }
}
