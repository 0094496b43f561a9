//! Why a model could not be loaded or run.

use modelet_types::{Code, Problem};

use crate::backend::BackendId;

/// Why a model could not be loaded or run. Cloned for every waiter of a load that failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InferenceError {
    /// A tensor or a name in the request does not fit the model's signature.
    #[error("{0}")]
    InvalidInput(String),
    /// The file is not a model that the backend can run.
    #[error("{0}")]
    InvalidModel(String),
    /// The backend is not on this host.
    #[error("backend `{backend}` is not available: {reason}")]
    BackendUnavailable {
        /// Which backend.
        backend: BackendId,
        /// Why not, and what helps.
        reason: String,
    },
    /// As many runs wait as may wait; the same run may succeed later.
    #[error("{waiting} runs are waiting for a worker, which is the limit")]
    Overloaded {
        /// The length of the full queue.
        waiting: usize,
    },
    /// The memory for models is taken by those that are in use; the same load may succeed later.
    #[error("no memory for the model, which takes {wanted} bytes: other models are in use, or wait for some")]
    NoMemory {
        /// What the model takes.
        wanted: u64,
    },
    /// As many worker processes as there may be have runs or loads in them; the same load may succeed later.
    #[error(
        "all {most} worker processes for models are in use (`inference.worker_processes`); the same request may \
         succeed later"
    )]
    NoProcess {
        /// How many there may be.
        most: usize,
    },
    /// The worker process with the model ended before the answer, or has ended too often to be started now;
    /// the same run may succeed later.
    #[error(
        "the worker process of this tenant's models is gone: {reason}; the same request may succeed later"
    )]
    WorkerLost {
        /// What became of it.
        reason: String,
    },
    /// Whoever keeps the model's file does not have it, or cannot give it now.
    #[error("{0}")]
    File(Problem),
    /// The deadline passed before the answer.
    #[error("the deadline passed before the model answered")]
    DeadlineExceeded,
    /// The run was stopped because nobody waits for it.
    #[error("the run was cancelled")]
    Cancelled,
    /// The backend failed while running.
    #[error("{backend} failed: {reason}")]
    Backend {
        /// Which backend.
        backend: BackendId,
        /// What it said.
        reason: String,
    },
    /// The host could not do what a run needs, such as starting a thread.
    #[error("{context}: {reason}")]
    Host {
        /// What was being done.
        context: &'static str,
        /// What the system said.
        reason: String,
    },
}

impl InferenceError {
    /// The stable code under which a caller sees this.
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidInput(_) => Code::InvalidInput,
            Self::InvalidModel(_) => Code::InvalidModel,
            Self::BackendUnavailable { .. } => Code::BackendUnavailable,
            Self::Overloaded { .. } | Self::NoMemory { .. } | Self::NoProcess { .. } => Code::Overloaded,
            Self::WorkerLost { .. } => Code::WorkerLost,
            Self::File(problem) => problem.code,
            Self::DeadlineExceeded => Code::WallTimeExceeded,
            Self::Cancelled => Code::Cancelled,
            Self::Backend { .. } => Code::BackendFailed,
            Self::Host { .. } => Code::Internal,
        }
    }
}

impl From<InferenceError> for Problem {
    fn from(error: InferenceError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
