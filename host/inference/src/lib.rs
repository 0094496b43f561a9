//! Inference: backends, loaded sessions, and which of them stay in memory.
//!
//! [`Inference`] is the service. It checks a model when it is deployed, loads it once for all who
//! wait, runs it inline or on a bounded pool of threads, and drops it when it has been idle.
//! It knows nothing of HTTP, SQL or wasm: models are files, and requests are tensors.

pub mod backend;
mod batch;
mod check;
mod control;
mod cpu_time;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod golden;
mod model_file;
pub mod onnx;
mod pace;
mod pool;
mod residency;
mod service;
mod session;

pub use backend::{BackendId, BackendStatus};
pub use check::CheckedModel;
pub use control::Control;
pub use error::InferenceError;
pub use model_file::ModelFile;
pub use residency::{ModelSource, SessionKey, SessionState};
pub use service::{Inference, InferenceConfig, Stats};
pub use session::{RunOutput, RunRequest, Session};
