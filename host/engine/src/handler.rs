//! A linked handler, and one call of it: a fresh instance, its limits, its end.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use modelet_types::{Code as ErrorCode, Problem};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::PollSender;
use wasmtime::component::StreamReader;
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::blocking::BlockingFunctionPre;
use crate::bindings::function::FunctionPre;
use crate::bindings::function::exports::modelet::handler::handler::Body;
use crate::bindings::function::modelet::handler::types as wit;
use crate::body::{RequestStream, ResponseStream};
use crate::compile::{HANDLER, HandlerKind};
use crate::failure::{CpuTimeExceeded, Failure, HandlerProblem, classify};
use crate::host::Host;
use crate::invocation::{BodyStream, Invocation, Reply, ReplyBody, RequestBody};
use crate::ports::{Level, Log, Source};
use crate::ticker::Running;
use crate::{Code, Engine};

/// The part of hostcall fuel that is not bodies or tensors: headers, names, messages.
const HOSTCALL_OVERHEAD_BYTES: u64 = 4 << 20;

/// Handles of the guest's own runtime, such as the sets that it waits on, beside those it is given.
const HANDLES_OVERHEAD: usize = 64;

/// Compiled code linked with the host's functions, ready to make instances.
pub struct Handler {
    engine: Engine,
    linked: Linked,
}

enum Linked {
    Function(FunctionPre<Host>),
    Blocking(BlockingFunctionPre<Host>),
}

/// What lives as long as an instance does: its place, and the ticker that interrupts it.
struct Lease {
    _place: OwnedSemaphorePermit,
    _running: Running,
}

/// What a handler gave back: its response and the body, or its error.
type Answer = Result<(wit::Response, Body), wit::Problem>;

impl Handler {
    pub(crate) fn link(engine: &Engine, code: &Code) -> Result<Self, Problem> {
        let unlinkable = |error: wasmtime::Error| {
            Problem::new(ErrorCode::Internal, format!("cannot link the handler: {error:#}"))
        };
        let pre = engine.0.linker.instantiate_pre(&code.0).map_err(unlinkable)?;
        // What was compiled exports exactly one of the two.
        let linked = if code.0.get_export_index(None, HANDLER).is_some() {
            Linked::Function(FunctionPre::new(pre).map_err(unlinkable)?)
        } else {
            Linked::Blocking(BlockingFunctionPre::new(pre).map_err(unlinkable)?)
        };
        Ok(Self { engine: engine.clone(), linked })
    }

    /// Which contract the handler fulfils.
    pub fn kind(&self) -> HandlerKind {
        match self.linked {
            Linked::Function(_) => HandlerKind::Handler,
            Linked::Blocking(_) => HandlerKind::BlockingHandler,
        }
    }

    /// Answers one request in an instance of its own. Dropping the future ends the instance.
    ///
    /// # Errors
    /// If the handler reports an error, traps, or goes over a limit.
    pub async fn invoke(&self, invocation: Invocation) -> Result<Reply, Failure> {
        let deadline = invocation.deadline;
        let place = tokio::time::timeout_at(deadline.into(), self.engine.0.instances.clone().acquire_owned())
            .await
            .map_err(|_| Failure::host(ErrorCode::Overloaded, "every instance of this host is in use"))?
            .expect("the semaphore of instances is never closed");
        let lease = Lease { _place: place, _running: self.engine.0.ticker.enter() };
        let limits = invocation.limits.clone();
        let meter = invocation.meter.clone();
        let log = invocation.log.clone();
        let run = meter.measure(Box::pin(self.run(invocation, lease)));
        // Outside the store, because a timer inside it stands still while the guest runs.
        match tokio::time::timeout_at(deadline.into(), run).await {
            Ok(result) => result,
            Err(_) => Err(told(wall_time_exceeded(&limits), &*log)),
        }
    }

    async fn run(&self, invocation: Invocation, lease: Lease) -> Result<Reply, Failure> {
        let deadline = invocation.deadline;
        let mut store = self.store(&invocation);
        let answer = match self.call(&mut store, invocation).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(problem)) => return Err(handler_problem(problem, store.data())),
            Err(error) => return Err(failed(&error, store.data())),
        };
        let (head, body) = answer;
        let (status, headers) = checked_head(head).map_err(|failure| told(failure, &**store.data().log()))?;
        let limit = store.data().limits.response_body_bytes;
        let body = match body {
            Body::Bytes(bytes) if bytes.len() as u64 > limit => {
                let detail = format!(
                    "the response has {} bytes, over the limit of {limit} (limits.response_body_bytes)",
                    bytes.len()
                );
                return Err(told(Failure::host(ErrorCode::ResponseTooLarge, detail), &**store.data().log()));
            }
            Body::Bytes(bytes) => ReplyBody::Bytes(Bytes::from(bytes)),
            Body::Stream(reader) => ReplyBody::Stream(stream_out(store, reader, lease, deadline)),
        };
        Ok(Reply { status, headers, body })
    }

    fn store(&self, invocation: &Invocation) -> Store<Host> {
        let limits = &invocation.limits;
        let host = Host::new(
            limits.clone(),
            invocation.meter.clone(),
            invocation.models.clone(),
            invocation.log.clone(),
            invocation.config.clone(),
        );
        let mut store = Store::new(&self.engine.0.wasmtime, host);
        store.limiter(|host| &mut host.limiter);
        let largest_value = limits
            .request_body_bytes
            .max(limits.response_body_bytes)
            .max(limits.tensor_bytes)
            .saturating_add(HOSTCALL_OVERHEAD_BYTES);
        store.set_hostcall_fuel(usize::try_from(largest_value).unwrap_or(usize::MAX));
        // The host's own table refuses at the limit itself, with an error that a handler can deal
        // with; this is for handles that a guest makes alone. A handle counts once where it is held
        // and once more while it is lent.
        let handles = usize::try_from(limits.handles).unwrap_or(usize::MAX);
        let handles = handles.saturating_mul(2).saturating_add(HANDLES_OVERHEAD);
        store.set_max_component_handles(handles);
        if let Some(table) = store.concurrent_resource_table() {
            // What stands behind a handle, such as a stream's two ends and what is between them.
            table.set_max_capacity(handles.saturating_mul(4));
        }
        // The next tick may come at once; from here it is a whole one, within which most calls end.
        store.set_epoch_deadline(2);
        store.epoch_deadline_callback(|store| {
            let host = store.data();
            if host.meter.handler_cpu_time() > host.limits.cpu_time() {
                return Err(CpuTimeExceeded { limit_ms: host.limits.cpu_time_ms }.into());
            }
            // tokio's own yield lets the IO driver run before this task is polled again; a waker
            // that only wakes itself would starve it.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }

    async fn call(&self, store: &mut Store<Host>, invocation: Invocation) -> wasmtime::Result<Answer> {
        let request = wit_request(&invocation);
        match &self.linked {
            Linked::Function(pre) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                let body = match invocation.body {
                    RequestBody::Bytes(bytes) => Body::Bytes(bytes.into()),
                    RequestBody::Stream(stream) => {
                        Body::Stream(StreamReader::new(&mut *store, RequestStream(stream))?)
                    }
                };
                let handler = instance.modelet_handler_handler();
                store
                    .run_concurrent(async |accessor| handler.call_handle(accessor, request, body).await)
                    .await?
            }
            Linked::Blocking(pre) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                let RequestBody::Bytes(bytes) = invocation.body else {
                    return Err(wasmtime::Error::msg("a blocking handler takes its body as bytes"));
                };
                let handler = instance.modelet_handler_blocking_handler();
                let answer = handler.call_handle(&mut *store, &request, &bytes).await?;
                Ok(answer.map(|(response, body)| (response, Body::Bytes(body))))
            }
        }
    }
}

/// What goes on running the handler until its response's body has ended.
fn stream_out(store: Store<Host>, reader: StreamReader<u8>, lease: Lease, deadline: Instant) -> BodyStream {
    let (sender, chunks) = mpsc::channel(1);
    let meter = store.data().meter.clone();
    let written_bytes = Arc::new(AtomicU64::new(0));
    let written = written_bytes.clone();
    let run = async move {
        let _lease = lease;
        let mut store = store;
        let limits = store.data().limits.clone();
        let log = store.data().log().clone();
        let (ended, end) = oneshot::channel();
        let consumer =
            ResponseStream::new(PollSender::new(sender), written, limits.response_body_bytes, ended);
        let piped = async {
            reader.pipe(&mut store, consumer)?;
            // The error of `end` is what is waited for: the consumer was dropped with its sender.
            store.run_concurrent(async |_| drop(end.await)).await
        };
        match tokio::time::timeout_at(deadline.into(), meter.measure(Box::pin(piped))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(&error, store.data())),
            Err(_) => Err(told(wall_time_exceeded(&limits), &*log)),
        }
    };
    BodyStream { run: run.boxed(), chunks, written_bytes }
}

/// Names the cause of `error`, and writes the whole of it to the function's log: the backtrace is
/// for the author, not for the caller.
fn failed(error: &wasmtime::Error, host: &Host) -> Failure {
    let failure = classify(error, host.limiter.refused(), host.limits.memory_bytes);
    host.log().line(Level::Error, Source::Host, &format!("{failure}: {error:?}"));
    failure
}

/// Writes a failure that has no backtrace to the function's log.
fn told(failure: Failure, log: &dyn Log) -> Failure {
    log.line(Level::Error, Source::Host, &failure.to_string());
    failure
}

fn wall_time_exceeded(limits: &modelet_types::Limits) -> Failure {
    let detail = format!(
        "the invocation took longer than its limit of {} ms (limits.wall_time_ms)",
        limits.wall_time_ms
    );
    Failure::host(ErrorCode::WallTimeExceeded, detail)
}

fn handler_problem(problem: wit::Problem, host: &Host) -> Failure {
    let status = problem.status;
    if !(400..=599).contains(&status) {
        let detail = format!("the handler reported an error with status {status}; use 400 to 599");
        return told(Failure::host(ErrorCode::InvalidResponse, detail), &**host.log());
    }
    let wit::Problem { status, code, detail, field } = problem;
    Failure::Handler(HandlerProblem { status, code, detail, field })
}

fn wit_request(invocation: &Invocation) -> wit::Request {
    let remaining = invocation.deadline.saturating_duration_since(Instant::now());
    wit::Request {
        method: invocation.method.clone(),
        path: invocation.path.clone(),
        query: invocation.query.clone(),
        headers: invocation
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        invocation: wit::Invocation {
            id: invocation.id.to_string(),
            function: invocation.function.to_string(),
            revision: invocation.revision.0,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        },
    }
}

/// Headers that belong to the connection (RFC 9110 §7.6.1) and are the host's to set.
const CONNECTION_HEADERS: [HeaderName; 6] =
    [CONNECTION, TRANSFER_ENCODING, TE, TRAILER, UPGRADE, CONTENT_LENGTH];

fn checked_head(head: wit::Response) -> Result<(StatusCode, HeaderMap), Failure> {
    let invalid = |detail: String| Failure::host(ErrorCode::InvalidResponse, detail);
    let status = StatusCode::from_u16(head.status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| {
            invalid(format!("the handler answered with status {}; use 200 to 599", head.status))
        })?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for (name, value) in head.headers {
        let shown = || name.chars().take(80).collect::<String>().escape_debug().to_string();
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            invalid(format!(
                "the handler answered with a header named `{}`, which HTTP does not allow",
                shown()
            ))
        })?;
        if CONNECTION_HEADERS.contains(&parsed)
            || parsed.as_str() == "keep-alive"
            || parsed.as_str() == "proxy-connection"
        {
            continue;
        }
        let value = HeaderValue::from_bytes(&value).map_err(|_| {
            invalid(format!(
                "the value of the handler's header `{}` has bytes that HTTP does not allow",
                shown()
            ))
        })?;
        headers
            .try_append(parsed, value)
            .map_err(|_| invalid("the handler answered with more headers than are possible".into()))?;
    }
    Ok((status, headers))
}
