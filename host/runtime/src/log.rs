//! The engine's log lines, written to the function's log.

use modelet_engine::{Level, Log, Source};
use modelet_observe::LogSink;

/// The log of one invocation.
pub(crate) struct InvocationLog(pub(crate) LogSink);

impl Log for InvocationLog {
    fn line(&self, level: Level, source: Source, text: &str) {
        self.0.line(level, source, text);
    }
}
