//! One invocation as the engine sees it: what goes in and what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::HeaderMap;
use http_body::Frame;
use modelet_types::outbound::OutboundRule;
use modelet_types::{
    FunctionName, InvocationId, Limits, Problem, RevisionNumber, Secrets, TenantName, Tensor,
};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::meter::Meter;
use crate::ports::{Functions, KeyValue, Log, Models};

/// Everything that one call of a handler needs, beside what it is asked.
pub struct Invocation {
    /// Its id.
    pub id: InvocationId,
    /// Whose function it is.
    pub tenant: TenantName,
    /// The function that was called.
    pub function: FunctionName,
    /// The revision that answers.
    pub revision: RevisionNumber,
    /// When the host stops the invocation.
    pub deadline: Instant,
    /// What it may use.
    pub limits: Arc<Limits>,
    /// What `wasi:config` answers.
    pub config: Arc<BTreeMap<String, String>>,
    /// The secrets that the manifest grants, which `wasi:config` answers too.
    pub secrets: Arc<Secrets>,
    /// What the function keeps; `None` if the manifest does not grant it.
    pub key_value: Option<Arc<dyn KeyValue>>,
    /// The requests that it may make.
    pub outbound: Arc<[OutboundRule]>,
    /// The models of the revision.
    pub models: Arc<dyn Models>,
    /// The functions that it may call.
    pub functions: Arc<dyn Functions>,
    /// Where its log lines go.
    pub log: Arc<dyn Log>,
    /// Where what it used is added up.
    pub meter: Arc<Meter>,
}

/// What a handler of HTTP is asked.
pub struct HttpRequest {
    /// In upper case.
    pub method: String,
    /// The path below the function's address, with its leading `/`.
    pub path: String,
    /// What follows the first `?`.
    pub query: Option<String>,
    /// The headers that the handler may see.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
}

/// A request's body as it arrives.
pub type BodyFrames = BoxStream<'static, Result<Frame<Bytes>, Problem>>;

/// A request's body.
pub enum RequestBody {
    /// All at once.
    Bytes(Bytes),
    /// As it arrives, trailers included. An error ends the invocation, and is what its caller is told.
    Stream(BodyFrames),
}

/// Tensors by name.
pub type NamedTensors = Vec<(String, Tensor)>;

/// What a request asks of a model, or of a handler in tensors.
#[derive(Debug)]
pub struct TensorRequest {
    /// The inputs by name, in any order.
    pub inputs: NamedTensors,
    /// The outputs wanted, in order; empty means all.
    pub outputs: Vec<String>,
}

/// A handler's response. Status and headers are valid HTTP; connection headers are taken out.
#[derive(Debug)]
pub struct Reply {
    /// From 200 to 599.
    pub status: http::StatusCode,
    /// The handler's headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: ReplyBody,
    /// What is left of the invocation.
    pub rest: Rest,
}

/// The instance of an invocation that is over, if it is not kept. Dropping it resets its memory, which
/// takes about as long as a short call, so it is best dropped when the answer has been sent.
#[derive(Default)]
pub struct Rest(pub(crate) Option<Box<dyn Send>>);

impl Rest {
    /// Whether there is anything to drop.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}

/// A response's body.
#[derive(Debug)]
pub enum ReplyBody {
    /// All at once. The instance is done with it.
    Bytes(Bytes),
    /// As the handler makes it.
    Stream(BodyStream),
}

/// A body that its handler is still writing.
pub struct BodyStream {
    /// Runs the handler until its stream ends, it fails, or its wall time is over. To be polled
    /// whether or not anybody takes the chunks: the deadline stands in here. Dropping it ends the
    /// handler.
    pub run: BoxFuture<'static, Result<(), Failure>>,
    /// What the handler writes; it waits while one piece is not taken. Ends with `run`, which says
    /// whether that was the whole.
    pub chunks: mpsc::Receiver<Frame<Bytes>>,
    /// Bytes that went into `chunks` so far.
    pub written_bytes: Arc<AtomicU64>,
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyStream").field("written_bytes", &self.written_bytes).finish_non_exhaustive()
    }
}
