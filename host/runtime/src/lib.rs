//! The data plane: one invocation, end to end.
//!
//! [`Runtime::find`] routes a request, and [`Runtime::invoke`] reads as the list of what happens to it
//! then: receive, admit, wake, handle, account, answer. [`Runtime::infer`] is the same for a function that
//! takes tensors. Everything it needs to know of functions is in a routing table
//! that somebody else publishes: it never sees SQL, and no protocol's status numbers.

mod account;
mod admission;
mod answer;
mod body;
mod budget;
mod call;
mod functions;
mod gate;
mod infer;
mod invoke;
mod key_value;
mod layer;
mod log;
mod masks;
mod model_files;
mod models;
mod preload;
mod revision;
mod routing;
mod runtime;
mod state;
mod statistics;
mod stream;
mod sweep;
#[cfg(test)]
mod testing;
mod timing;

pub use answer::{Answer, AnswerBody, Reply};
pub use call::Call;
pub use functions::{FunctionCalls, Origin};
pub use gate::InUse;
pub use infer::{ArrivedBody, Encoded, LARGE_BODY_BYTES, TensorBody, TensorCall, TensorCodec};
pub use model_files::{HeldFile, ModelFiles};
pub use modelet_engine::TensorRequest;
pub use revision::{ModelRow, RevisionRow};
pub use routing::{RouteRow, Routed, no_function};
pub use runtime::{Runtime, RuntimeConfig};
pub use state::{FunctionState, Instances, Layer, RevisionState, Row, SessionLayer, SessionPhase};
pub use statistics::{BatchStatistics, ModelStatistics, Total};
pub use sweep::AwakeBudget;
pub use timing::Stage;
