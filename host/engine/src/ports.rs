//! What the engine needs from outside: models to run, a log to write to, and what outlives an invocation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
pub use modelet_types::log::{Level, Source};
use modelet_types::{FunctionName, Signature, Tensor};

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

/// The functions of a handler's tenant, which it may call where its manifest says so.
pub trait Functions: Send + Sync {
    /// Calls one. Dropping the future gives the call up.
    fn call(
        &self,
        function: FunctionName,
        request: http::Request<Frames>,
    ) -> BoxFuture<'static, Result<http::Response<Frames>, CallError>>;
}

/// A body on its way from one function to another.
pub type Frames = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Why a function was not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Too many functions wait for one another.
    #[error("functions call one another too deep")]
    TooDeep,
    /// One call from outside has led to too many.
    #[error("a call has led to too many calls of functions")]
    TooMany,
    /// The host failed.
    #[error("the call ended without an answer")]
    Failed,
}

/// The log of one invocation. The implementation counts and cuts off; it must not block.
pub trait Log: Send + Sync {
    /// Adds a line.
    fn line(&self, level: Level, source: Source, text: &str);
}

/// The keys and values of one function, with what its manifest grants. Each operation is one step for
/// all who see it, and durable when it is answered. Bounds are the implementation's to check.
pub trait KeyValue: Send + Sync {
    /// The values of keys, in the same order.
    fn get(&self, keys: Vec<String>) -> KeyValueFuture<Vec<Option<Vec<u8>>>>;

    /// Whether a key has a value.
    fn exists(&self, key: String) -> KeyValueFuture<bool>;

    /// At most so many keys as are a page, and where the next page begins; `None` if there is none. 0 is
    /// the first page.
    fn list(&self, after: u64) -> KeyValueFuture<(Vec<String>, Option<u64>)>;

    /// Which write was the last of a key; 0 if it has no value.
    fn version(&self, key: String) -> KeyValueFuture<u64>;

    /// Gives keys values.
    fn set(&self, entries: Vec<(String, Vec<u8>)>) -> KeyValueFuture<()>;

    /// Takes keys out.
    fn delete(&self, keys: Vec<String>) -> KeyValueFuture<()>;

    /// Adds to a number, and gives the sum, which must not be under `lowest`.
    fn increment(&self, key: String, delta: i64, lowest: i64) -> KeyValueFuture<i64>;

    /// Gives a key a value if its last write is still `version`; if not, gives the last write.
    fn swap(&self, key: String, value: Vec<u8>, version: u64) -> KeyValueFuture<Result<(), u64>>;
}

/// What an operation on keys and values comes to.
pub type KeyValueFuture<T> = BoxFuture<'static, Result<T, KeyValueError>>;

/// Why an operation on keys and values was not done, in words that the handler gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyValueError(pub String);
