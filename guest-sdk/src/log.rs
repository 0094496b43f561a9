//! The function's log.
//!
//! ```
//! use modelet_sdk::log::{debug, warn};
//!
//! debug!("{} images", 3);
//! warn!("the confidence is low");
//! ```
//!
//! Lines count against the function's limit of log bytes. With the feature `log`, the macros of the
//! `log` crate write to it too.

use std::fmt;

use crate::host;
#[doc(inline)]
pub use crate::{
    __log_critical as critical, __log_debug as debug, __log_error as error, __log_info as info,
    __log_trace as trace, __log_warn as warn,
};

/// How much a message matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// The handler cannot go on; a panic is logged as this.
    Critical,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        })
    }
}

/// Writes one line; the macros of this module are shorter. `context` groups lines: the macros give
/// the Rust module.
pub fn write(level: Level, context: &str, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(message) => host::log(level, context, message),
        None => host::log(level, context, &message.to_string()),
    }
}

// Exported macros live at the crate's root, whatever module they stand in; `log` names them properly.

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:tt)+) => {
        $crate::log::write(
            $crate::log::Level::$level,
            ::core::module_path!(),
            ::core::format_args!($($message)+),
        )
    };
}

/// Logs at the level `trace`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($message:tt)+) => { $crate::__log!(Trace, $($message)+) };
}

/// Logs at the level `debug`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($message:tt)+) => { $crate::__log!(Debug, $($message)+) };
}

/// Logs at the level `info`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($message:tt)+) => { $crate::__log!(Info, $($message)+) };
}

/// Logs at the level `warn`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($message:tt)+) => { $crate::__log!(Warn, $($message)+) };
}

/// Logs at the level `error`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($message:tt)+) => { $crate::__log!(Error, $($message)+) };
}

/// Logs at the level `critical`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_critical {
    ($($message:tt)+) => { $crate::__log!(Critical, $($message)+) };
}

/// Sends the `log` crate's records to the function's log.
#[cfg(feature = "log")]
pub(crate) mod facade {
    use super::Level;

    struct Facade;

    impl ::log::Log for Facade {
        fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &::log::Record<'_>) {
            let level = match record.level() {
                ::log::Level::Trace => Level::Trace,
                ::log::Level::Debug => Level::Debug,
                ::log::Level::Info => Level::Info,
                ::log::Level::Warn => Level::Warn,
                ::log::Level::Error => Level::Error,
            };
            super::write(level, record.target(), *record.args());
        }

        fn flush(&self) {}
    }

    /// Installs it, unless the handler has installed a logger of its own.
    pub(crate) fn install() {
        if ::log::set_logger(&Facade).is_ok() {
            ::log::set_max_level(::log::LevelFilter::Trace);
        }
    }
}
