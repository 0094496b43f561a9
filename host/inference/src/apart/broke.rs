//! Why a call gave nothing, and what whoever made it is told.

use std::time::Duration;

use super::call::NoAnswer;
use super::process::{Process, Why};
use super::wire::Failure;
use crate::backend::BackendId;
use crate::{Control, InferenceError};

/// How long a process that has closed a lane may take to end.
const CLOSING: Duration = Duration::from_millis(200);

/// How long it is waited for how a process has ended.
const ENDING: Duration = Duration::from_secs(2);

/// Why a call gave nothing.
pub(super) enum Broke {
    /// What the process says of it.
    Failed(Failure),
    /// What the process says cannot be.
    Lied(&'static str),
    /// The outputs have more bytes than are of use.
    TooLarge {
        length: u64,
        most: u64,
    },
    NoAnswer(NoAnswer),
}

impl From<NoAnswer> for Broke {
    fn from(none: NoAnswer) -> Self {
        Self::NoAnswer(none)
    }
}

impl Broke {
    /// Whether nothing was asked, since the process was closed by then: the next one is as good.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::NoAnswer(NoAnswer::Closed))
    }

    /// What whoever asked is told, of a process that may write to so much memory. Ends one that lied.
    pub(super) fn into_error(
        self,
        process: &Process,
        memory_bytes: u64,
        backend: BackendId,
        control: &Control,
        is_load: bool,
    ) -> InferenceError {
        let failed = |reason: String| match is_load {
            true => InferenceError::InvalidModel(reason),
            false => InferenceError::Backend { backend, reason },
        };
        match self {
            Self::Failed(Failure::InvalidInput(text)) => InferenceError::InvalidInput(text),
            Self::Failed(Failure::InvalidModel(text)) => InferenceError::InvalidModel(text),
            Self::Failed(Failure::Unavailable(reason)) => {
                InferenceError::BackendUnavailable { backend, reason }
            }
            Self::Failed(Failure::Backend(reason) | Failure::OutOfMemory(reason)) => {
                InferenceError::Backend { backend, reason }
            }
            Self::Failed(Failure::Panicked(text)) => failed(match is_load {
                true => format!("the backend panicked on the model: {text}"),
                false => format!("it panicked: {text}"),
            }),
            // Nobody but the host stops a run.
            Self::Failed(Failure::Stopped) => {
                control.check().err().unwrap_or_else(|| failed("it stopped without a reason".into()))
            }
            Self::Failed(Failure::Host(reason)) => {
                InferenceError::Host { context: "a worker process", reason }
            }
            Self::TooLarge { length, most } => failed(format!(
                "the outputs have {length} bytes, and the function may hold {most} (`limits.tensor_bytes`)"
            )),
            Self::Lied(lie) => {
                process.kill(Why::Lied(lie.into()));
                lost(process, memory_bytes)
            }
            Self::NoAnswer(NoAnswer::Lost | NoAnswer::Closed) => lost(process, memory_bytes),
            Self::NoAnswer(NoAnswer::Stopped(error)) => error,
            Self::NoAnswer(NoAnswer::Host(error)) => {
                InferenceError::Host { context: "asking a worker process", reason: error.to_string() }
            }
        }
    }
}

/// What those are told whose process is gone.
fn lost(process: &Process, memory_bytes: u64) -> InferenceError {
    if !process.ends_within(CLOSING) {
        process.kill(Why::Lied("it closed a lane".into()));
    }
    InferenceError::WorkerLost {
        reason: process
            .ending(ENDING)
            .map_or_else(|| "it does not answer".into(), |ending| ending.told(memory_bytes)),
    }
}
