//! What a host remembers of its work: the usage ledger, the functions' logs, the metrics.
//!
//! Knows the vocabulary of `modelet-types` and the local file system. It has never heard of HTTP,
//! wasm, inference backends or SQL: those who do the work report it here in plain records.

pub mod error;
mod folder;
pub mod function_log;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ledger;
pub mod metrics;
mod sync;

pub use error::Error;
pub use function_log::{FunctionLogs, FunctionLogsConfig, Level, LogLine, LogSink, Source};
pub use ledger::{Durability, Ledger, LedgerConfig, Outcome, Position, UsageOpened, UsageRecord};
pub use metrics::Metrics;
