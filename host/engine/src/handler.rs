//! A linked handler, and one call of it: an instance, its limits, its end.

mod transform;
mod typed;
mod wasi_http;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, StatusCode};
use http_body::Frame;
use modelet_types::manifest::Reuse;
use modelet_types::{Code as ErrorCode, Limits, Problem, TenantName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wasmtime::component::InstancePre;
use wasmtime_wasi_http::p2::bindings::ProxyIndices;

use crate::bindings::blocking::BlockingFunctionIndices;
use crate::bindings::function::FunctionIndices;
use crate::bindings::function::modelet::handler::types as wit;
use crate::bindings::transform::TransformFunctionIndices;
use crate::compile::HandlerKind;
use crate::failure::{Failure, HandlerProblem, classify};
use crate::host::Host;
use crate::idle::IdleInstances;
use crate::instance::Instance;
use crate::invocation::{BodyStream, HttpRequest, Invocation, NamedTensors, Reply, Rest, TensorRequest};
use crate::meter::Meter;
use crate::ports::{Level, Log, Source};
use crate::schedule::{Pace, is_within_first_slice};
use crate::ticker::Running;
use crate::{Code, Engine};

/// The most of a handler's text about an error that is told, and of its code and its field.
const MAX_DETAIL_BYTES: usize = 4 << 10;
const MAX_NAME_BYTES: usize = 128;
/// Connections of one revision's handlers at one time, of those that all handlers share.
const MAX_CONNECTIONS: usize = 64;

/// Compiled code linked with the host's functions, ready to make instances.
pub struct Handler {
    engine: Engine,
    linked: Linked,
    idle: Arc<IdleInstances>,
    pace: Arc<Pace>,
    /// Connections that its instances may have at one time.
    connections: Arc<Semaphore>,
}

pub(crate) struct Linked {
    pub(crate) pre: InstancePre<Host>,
    /// Where the functions of its contract of HTTP are, if it has one.
    pub(crate) http: Option<LinkedHttp>,
    /// Where those of tensors are, if it takes any.
    pub(crate) transform: Option<TransformFunctionIndices>,
}

pub(crate) enum LinkedHttp {
    Function(FunctionIndices),
    Blocking(BlockingFunctionIndices),
    WasiHttp(ProxyIndices),
}

impl Linked {
    /// Links `code`, which shows whether this host can run it.
    pub(crate) fn new(engine: &Engine, code: &Code) -> Result<Self, Problem> {
        let unlinkable = |error: wasmtime::Error| {
            Problem::new(ErrorCode::Internal, format!("cannot link the handler: {error:#}"))
        };
        let pre = engine.0.linker.instantiate_pre(&code.component).map_err(unlinkable)?;
        let contracts = code.contracts()?;
        let http = contracts.http.map(|kind| match kind {
            HandlerKind::Handler => FunctionIndices::new(&pre).map(LinkedHttp::Function),
            HandlerKind::BlockingHandler => BlockingFunctionIndices::new(&pre).map(LinkedHttp::Blocking),
            HandlerKind::WasiHttp => ProxyIndices::new(&pre).map(LinkedHttp::WasiHttp),
        });
        let http = http.transpose().map_err(unlinkable)?;
        let transform = contracts.tensors.then(|| TransformFunctionIndices::new(&pre));
        let transform = transform.transpose().map_err(unlinkable)?;
        Ok(Self { pre, http, transform })
    }
}

/// What lives as long as an invocation does: its instance's place, and the ticker that interrupts it.
struct Lease {
    _place: OwnedSemaphorePermit,
    _running: Running,
}

/// What holds for an invocation until the last byte of its response.
#[derive(Clone)]
struct Terms {
    tenant: TenantName,
    deadline: Instant,
    limits: Arc<Limits>,
    log: Arc<dyn Log>,
    meter: Arc<Meter>,
}

impl Terms {
    fn of(invocation: &Invocation) -> Self {
        let Invocation { tenant, deadline, limits, log, meter, .. } = invocation;
        Self {
            tenant: tenant.clone(),
            deadline: *deadline,
            limits: limits.clone(),
            log: log.clone(),
            meter: meter.clone(),
        }
    }
}

impl Handler {
    pub(crate) fn link(engine: &Engine, code: &Code, reuse: Reuse) -> Result<Self, Problem> {
        let linked = Linked::new(engine, code)?;
        let idle = Arc::new(IdleInstances::new(reuse, engine.0.idle_places.clone()));
        engine.0.idle.add(&idle);
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Ok(Self { engine: engine.clone(), linked, idle, pace: Arc::default(), connections })
    }

    /// Instances that have answered and wait for the next invocation.
    pub fn idle_instances(&self) -> usize {
        self.idle.count()
    }

    /// Ends the instances that have been idle for their time, and says when the next one will have
    /// been; `None` if none is left.
    pub fn sweep(&self, now: Instant) -> Option<Duration> {
        self.idle.sweep(now)
    }

    /// Answers one request, in an instance of its own or in one that has answered others before and is
    /// at nothing else. Dropping the future ends the instance.
    ///
    /// # Errors
    /// If the handler reports an error, traps, or goes over a limit.
    pub async fn invoke(
        self: &Arc<Self>,
        invocation: Invocation,
        request: HttpRequest,
    ) -> Result<Reply, Failure> {
        let (terms, lease) = self.enter(&invocation).await?;
        let answer = self.clone().answer(invocation, request, terms.clone(), lease).boxed();
        self.run(&terms, answer).await
    }

    /// The same for a handler in tensors. What it gives is not looked at here.
    ///
    /// # Errors
    /// As of [`Self::invoke`].
    pub async fn transform(
        self: &Arc<Self>,
        invocation: Invocation,
        request: TensorRequest,
    ) -> Result<(NamedTensors, Rest), Failure> {
        let (terms, lease) = self.enter(&invocation).await?;
        let answer = transform::answer(self.clone(), invocation, request, terms.clone(), lease).boxed();
        self.run(&terms, answer).await
    }

    /// Waits for a place for an instance.
    async fn enter(&self, invocation: &Invocation) -> Result<(Terms, Lease), Failure> {
        let places = self.engine.0.instances.clone();
        let place = tokio::time::timeout_at(invocation.deadline.into(), places.acquire_owned())
            .await
            .map_err(|_| Failure::host(ErrorCode::Overloaded, "every instance of this host is in use"))?
            .expect("the semaphore of instances is never closed");
        let lease = Lease { _place: place, _running: self.engine.0.ticker.enter() };
        Ok((Terms::of(invocation), lease))
    }

    /// Runs what a handler does, measured and until its wall time is over.
    async fn run<T: Send + 'static>(
        &self,
        terms: &Terms,
        work: BoxFuture<'static, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut work = self.engine.0.scheduler.run(&terms.tenant, &self.pace, &terms.meter, work);
        // Outside the store, because a timer inside it stands still while the guest runs.
        match tokio::time::timeout_at(terms.deadline.into(), &mut work).await {
            Ok(result) => result,
            Err(_) => {
                work.stop().await;
                Err(logged(wall_time_exceeded(&terms.limits), &*terms.log))
            }
        }
    }

    /// A response's body that `write` makes, counting what it has sent.
    fn body_stream<W>(
        self: Arc<Self>,
        terms: Terms,
        write: impl FnOnce(mpsc::Sender<Frame<Bytes>>, Arc<AtomicU64>) -> W,
    ) -> BodyStream
    where
        W: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (sender, chunks) = mpsc::channel(1);
        let written_bytes = Arc::new(AtomicU64::new(0));
        let work = write(sender, written_bytes.clone()).boxed();
        let run = async move { self.run(&terms, work).await };
        BodyStream { run: run.boxed(), chunks, written_bytes }
    }

    async fn answer(
        self: Arc<Self>,
        invocation: Invocation,
        request: HttpRequest,
        terms: Terms,
        lease: Lease,
    ) -> Result<Reply, Failure> {
        let instance = self.instance(&invocation).await?;
        match self.linked.http {
            Some(LinkedHttp::Function(_) | LinkedHttp::Blocking(_)) => {
                typed::answer(self, instance, invocation, request, terms, lease).await
            }
            Some(LinkedHttp::WasiHttp(_)) => wasi_http::answer(self, instance, request, terms, lease).await,
            None => Err(misdirected()),
        }
    }

    /// An instance that is at this invocation: one that has answered others, or a new one.
    async fn instance(&self, invocation: &Invocation) -> Result<Instance, Failure> {
        if let Some(mut instance) = self.idle.take() {
            instance.begin(invocation);
            return Ok(instance);
        }
        match self.make(invocation).await {
            // Of what the pool shares out, such as tables, idle instances may have the last.
            Err(failure) if failure.code() == ErrorCode::Overloaded && self.engine.end_idle() => {
                self.make(invocation).await
            }
            made => made,
        }
    }

    fn make<'h>(
        &'h self,
        invocation: &Invocation,
    ) -> impl Future<Output = Result<Instance, Failure>> + Send + use<'h> {
        Instance::make(&self.engine, &self.linked, &self.connections, invocation)
    }

    /// Keeps an instance that has answered for the next invocation, or gives it back to be dropped.
    async fn put_back(&self, mut instance: Instance, lease: Lease) -> Rest {
        if self.idle.is_used() && instance.settle().await {
            self.idle.put(instance);
            return Rest::default();
        }
        // Nothing of the request is held any more when this returns.
        instance.store.data_mut().end();
        // After long computing this is a thread apart, which has the time.
        let later = is_within_first_slice(&instance.store.data().meter);
        let rest: Box<dyn Send> = Box::new((instance, lease));
        Rest(later.then_some(rest))
    }
}

/// Names the cause of `error`, and writes the whole of it to the function's log: the backtrace is
/// for the author, not for the caller.
pub(crate) fn failed(error: &wasmtime::Error, host: &Host) -> Failure {
    let failure = classify(error, host.limiter.refused(), host.limits.memory_bytes);
    host.log().line(Level::Error, Source::Host, &format!("{failure}: {error:?}"));
    failure
}

/// Writes a failure that has no backtrace to the function's log.
fn logged(failure: Failure, log: &dyn Log) -> Failure {
    log.line(Level::Error, Source::Host, &failure.to_string());
    failure
}

/// As much of a text as fits.
fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

/// A handler is asked in the types of its own interface.
fn misdirected() -> Failure {
    Failure::host(ErrorCode::Internal, "the handler was asked in the types of another interface")
}

fn wall_time_exceeded(limits: &Limits) -> Failure {
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
        return logged(Failure::host(ErrorCode::InvalidResponse, detail), &**host.log());
    }
    let wit::Problem { status, code, detail, field } = problem;
    // They are told in heads and bodies that nothing else bounds.
    let (code, detail) = (cut(code, MAX_NAME_BYTES), cut(detail, MAX_DETAIL_BYTES));
    let field = field.map(|field| cut(field, MAX_NAME_BYTES));
    Failure::Handler(HandlerProblem { status, code, detail, field })
}

fn wit_invocation(invocation: &Invocation) -> wit::Invocation {
    let remaining = invocation.deadline.saturating_duration_since(Instant::now());
    wit::Invocation {
        id: invocation.id.to_string(),
        function: invocation.function.to_string(),
        revision: invocation.revision.0,
        remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Headers that belong to the connection (RFC 9110 §7.6.1) and are the host's to set.
const CONNECTION_HEADERS: [HeaderName; 7] = [
    CONNECTION,
    TRANSFER_ENCODING,
    TE,
    UPGRADE,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The status, if a response may have it.
fn checked_status(status: u16) -> Result<StatusCode, Failure> {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| invalid_response(format!("the handler answered with status {status}; use 200 to 599")))
}

fn invalid_response(detail: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::host(ErrorCode::InvalidResponse, detail)
}

fn response_too_large(bytes: u64, limit: u64) -> Failure {
    let detail =
        format!("the response has {bytes} bytes, over the limit of {limit} (limits.response_body_bytes)");
    Failure::host(ErrorCode::ResponseTooLarge, detail)
}
