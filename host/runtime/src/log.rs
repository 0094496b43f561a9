//! The engine's log lines, written to the function's log.

use modelet_engine::{Level, Log, Source};
use modelet_observe::LogSink;
use modelet_observe::function_log as observe;

/// The log of one invocation.
pub(crate) struct InvocationLog(pub(crate) LogSink);

impl Log for InvocationLog {
    fn line(&self, level: Level, source: Source, text: &str) {
        let level = match level {
            Level::Trace => observe::Level::Trace,
            Level::Debug => observe::Level::Debug,
            Level::Info => observe::Level::Info,
            Level::Warn => observe::Level::Warn,
            Level::Error => observe::Level::Error,
            Level::Critical => observe::Level::Critical,
        };
        let source = match source {
            Source::Handler => observe::Source::Handler,
            Source::Stdout => observe::Source::Stdout,
            Source::Stderr => observe::Source::Stderr,
            Source::Host => observe::Source::Host,
        };
        self.0.line(level, source, text);
    }
}
