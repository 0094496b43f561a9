//! The data plane: one invocation, end to end.
//!
//! [`Runtime::invoke`] reads as the list of what happens to a request: route, receive, admit,
//! wake, handle, account, answer. Everything it needs to know of functions is in a routing table
//! that somebody else publishes: it never sees SQL, and no protocol's status numbers.

mod account;
mod admission;
mod answer;
mod body;
mod budget;
mod call;
mod invoke;
mod key_value;
mod layer;
mod log;
mod masks;
mod models;
mod revision;
mod routing;
mod runtime;
mod state;
mod stream;
mod sweep;
#[cfg(test)]
mod testing;

pub use answer::{Answer, AnswerBody, Reply};
pub use call::Call;
pub use revision::{ModelRow, RevisionRow};
pub use routing::RouteRow;
pub use runtime::{Runtime, RuntimeConfig};
pub use state::{FunctionState, Instances, Layer, RevisionState, Row, SessionLayer, SessionPhase};
pub use sweep::AwakeBudget;
