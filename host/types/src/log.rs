//! What a line of a function's log is marked with.

use serde::{Deserialize, Serialize};

/// How much a line matters; the levels of `wasi:logging`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every step.
    Trace,
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// Nothing works.
    Critical,
}

/// Where a line comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The handler, through `wasi:logging`.
    Handler,
    /// The handler's standard output.
    Stdout,
    /// The handler's standard error.
    Stderr,
    /// The host, about this function: a trap's backtrace, lines that were dropped.
    Host,
}
