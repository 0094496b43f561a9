//! What the engine needs from outside: models to run and a log to write to.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
pub use modelet_types::log::{Level, Source};
use modelet_types::{Signature, Tensor};

/// The models of one revision, by the names in its manifest.
pub trait Models: Send + Sync {
    /// Waits until the model called `name` is loaded.
    fn load(&self, name: &str) -> BoxFuture<'static, Result<Arc<dyn Model>, InferError>>;
}

/// One loaded model.
pub trait Model: Send + Sync {
    /// The declared inputs and outputs.
    fn signature(&self) -> &Signature;

    /// Runs the model. `outputs` chooses what is computed; empty means all, in the model's order.
    /// Dropping the future cancels the run.
    fn infer(
        self: Arc<Self>,
        inputs: Vec<(String, Tensor)>,
        outputs: Vec<String>,
    ) -> BoxFuture<'static, Result<Inferred, InferError>>;
}

/// What a run gave and what it cost.
pub struct Inferred {
    /// The chosen outputs by name.
    pub outputs: Vec<(String, Tensor)>,
    /// CPU time of the run.
    pub cpu_time: Duration,
    /// Whether the run took place on the calling thread, inside the poll that returned this. Its
    /// CPU time is then the model's, not the handler's.
    pub inline: bool,
}

/// Why a model gave no answer. The cases are those of `modelet:inference/tensors.error`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "documented in wit/deps/modelet-inference")]
pub enum InferError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error("{0}")]
    InvalidInput(String),
    #[error("{0}")]
    Overloaded(String),
    #[error("the invocation's deadline passed before the model answered")]
    DeadlineExceeded,
    #[error("the caller left")]
    Cancelled,
    #[error("{0}")]
    Backend(String),
}

/// The log of one invocation. The implementation counts and cuts off; it must not block.
pub trait Log: Send + Sync {
    /// Adds a line.
    fn line(&self, level: Level, source: Source, text: &str);
}
