//! `wasi:logging/logging`: lines of the function's log.

use super::Host;
use crate::bindings::function::wasi::logging::logging;
use crate::ports::{Level, Source};

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
            logging::Level::Critical => Level::Critical,
        };
        if context.is_empty() {
            self.log.line(level, Source::Handler, &message);
        } else {
            self.log.line(level, Source::Handler, &format!("{context}: {message}"));
        }
        Ok(())
    }
}
