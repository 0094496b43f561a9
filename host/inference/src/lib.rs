//! Inference: backends, loaded sessions, and which of them stay in memory.
//!
//! [`Inference`] is the service. It checks a model when it is deployed, loads it once for all who
//! wait, runs it inline or on a bounded pool of threads, and drops it when it has been idle. Models of
//! tenants that are not trusted run in processes of their own (`apart`).
//! It knows nothing of HTTP, SQL or wasm: models are files, and requests are tensors.

mod apart;
pub mod backend;
mod batch;
mod check;
mod control;
mod cpu_time;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod golden;
mod load;
mod memory;
mod model_file;
pub mod onnx;
mod pace;
mod pin;
mod pool;
mod pools;
mod residency;
mod response_cache;
mod room;
mod service;
mod session;
mod stats;
mod unanswered;

pub use apart::{Layers, WorkerConfig, model_worker_if_asked};
pub use backend::onnxruntime::library::onnxruntime_version;
pub use backend::{BackendId, BackendStatus};
pub use check::CheckedModel;
pub use control::Control;
pub use error::InferenceError;
pub use model_file::ModelFile;
pub use pin::Pin;
pub use residency::{ModelSource, SessionKey, SessionState};
pub use response_cache::CacheStats;
pub use service::{Inference, InferenceConfig};
pub use session::plan::match_inputs;
pub use session::{Execution, RunOutput, RunRequest, Session};
pub use stats::Stats;
pub use unanswered::Unanswered;
