//! The wasmtime side of Modelet: has handlers compiled, keeps their code, makes instances, enforces
//! limits, and implements the host's half of the WIT contract.
//!
//! It knows wasmtime and nothing else of ours but the vocabulary. What it needs from inference, from
//! logging and of what handlers keep it declares as traits ([`Models`], [`Log`], [`KeyValue`]) that
//! `modelet-runtime` implements. Of tenants it knows the name, to let each have its turn; it knows no
//! SQL and no backend.

mod apart;
mod bindings;
mod body;
mod code;
mod compile;
mod config;
mod engine;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handler;
mod host;
mod idle;
mod instance;
mod invocation;
mod limiter;
mod meter;
mod outbound;
mod ports;
mod schedule;
mod ticker;

pub use apart::{Layers, compile_worker_if_asked};
pub use code::{Code, CodeCache};
pub use compile::{Contracts, HandlerKind};
pub use config::{CompileConfig, EngineConfig};
pub use engine::{Allocator, Engine};
pub use failure::{Failure, HandlerProblem};
pub use handler::Handler;
pub use invocation::{
    BodyStream, HttpRequest, Invocation, NamedTensors, Reply, ReplyBody, RequestBody, Rest, TensorRequest,
};
pub use meter::Meter;
pub use outbound::OutboundConfig;
pub use ports::{
    CallError, Frames, Functions, InferError, Inferred, KeyValue, KeyValueError, KeyValueFuture, Level, Log,
    Model, Models, Source,
};
