//! One live instance of a handler: its store, its exports, and the one invocation that it is at.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Semaphore;
use wasmtime::component::StreamReader;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::Proxy;

use crate::Engine;
use crate::bindings::blocking::BlockingFunction;
use crate::bindings::function::Function;
use crate::bindings::function::exports::modelet::handler::handler::Body;
use crate::bindings::function::modelet::handler::types as wit;
use crate::bindings::transform::TransformFunction;
use crate::body::RequestStream;
use crate::failure::{CpuTimeExceeded, Failure};
use crate::handler::{Linked, LinkedHttp, failed};
use crate::host::Host;
use crate::invocation::{Invocation, RequestBody};

/// The part of hostcall fuel that is not bodies or tensors: headers, names, messages.
const HOSTCALL_OVERHEAD_BYTES: u64 = 4 << 20;

/// Handles of the guest's own runtime, such as the sets that it waits on, beside those it is given.
const HANDLES_OVERHEAD: usize = 64;

/// How often the guest's event loop may turn after an answer before its instance counts as busy.
const SETTLING_TURNS: usize = 16;

/// A live instance. Dropping it ends whatever it is at.
pub(crate) struct Instance {
    pub(crate) store: Store<Host>,
    pub(crate) exports: Exports,
    /// The invocations that it has begun.
    invocations: u32,
}

/// What an instance can be asked.
pub(crate) struct Exports {
    /// Over HTTP.
    pub(crate) http: Option<HttpExports>,
    /// In tensors.
    pub(crate) transform: Option<TransformFunction>,
}

pub(crate) enum HttpExports {
    Function(Function),
    Blocking(BlockingFunction),
    WasiHttp(Proxy),
}

impl Exports {
    async fn make(linked: &Linked, store: &mut Store<Host>) -> wasmtime::Result<Self> {
        let instance = linked.pre.instantiate_async(&mut *store).await?;
        let http = linked.http.as_ref().map(|http| match http {
            LinkedHttp::Function(indices) => indices.load(&mut *store, &instance).map(HttpExports::Function),
            LinkedHttp::Blocking(indices) => indices.load(&mut *store, &instance).map(HttpExports::Blocking),
            LinkedHttp::WasiHttp(indices) => indices.load(&mut *store, &instance).map(HttpExports::WasiHttp),
        });
        let http = http.transpose()?;
        let transform = linked.transform.as_ref().map(|indices| indices.load(&mut *store, &instance));
        Ok(Self { http, transform: transform.transpose()? })
    }
}

/// What a handler gave back: its response and the body, or its error.
pub(crate) type Answer = Result<(wit::Response, Body), wit::Problem>;

impl Instance {
    /// Makes an instance for an invocation.
    ///
    /// # Errors
    /// If what the component does when it starts fails.
    pub(crate) fn make<'l>(
        engine: &Engine,
        linked: &'l Linked,
        connections: &Arc<Semaphore>,
        invocation: &Invocation,
    ) -> impl Future<Output = Result<Self, Failure>> + Send + use<'l> {
        let mut store = store(engine, connections, invocation);
        async move {
            let exports = Exports::make(linked, &mut store).await;
            match exports {
                Ok(exports) => Ok(Self { store, exports, invocations: 1 }),
                Err(error) => Err(failed(&error, store.data())),
            }
        }
    }

    /// Turns to another invocation.
    pub(crate) fn begin(&mut self, invocation: &Invocation) {
        self.invocations = self.invocations.saturating_add(1);
        self.store.data_mut().begin(invocation);
        set_first_slice(&mut self.store);
    }

    /// The invocations that it has begun.
    pub(crate) fn invocations(&self) -> u32 {
        self.invocations
    }

    /// Bytes of its linear memories and tables.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().limiter.used()
    }

    /// Ends the invocation, and says whether nothing of it is left that the next one could meet: no task
    /// of the guest, no run of a model, no request of its own.
    pub(crate) async fn settle(&mut self) -> bool {
        self.store.data_mut().end();
        let quiet = self.store.run_concurrent(async |accessor| {
            for _ in 0..SETTLING_TURNS {
                if poll_fn(|cx| Poll::Ready(accessor.poll_no_interesting_tasks(cx).is_ready())).await {
                    return true;
                }
                tokio::task::yield_now().await;
            }
            false
        });
        matches!(quiet.await, Ok(true)) && self.store.data().is_settled()
    }

    /// Asks for an answer to one request, in the types of `modelet:handler`.
    pub(crate) async fn handle(
        &mut self,
        request: wit::Request,
        body: RequestBody,
    ) -> wasmtime::Result<Answer> {
        let store = &mut self.store;
        match &self.exports.http {
            Some(HttpExports::Function(function)) => {
                let body = match body {
                    RequestBody::Bytes(bytes) => Body::Bytes(bytes.into()),
                    RequestBody::Stream(frames) => {
                        let frames = store.data_mut().lend_body(frames);
                        Body::Stream(StreamReader::new(&mut *store, RequestStream(frames))?)
                    }
                };
                let handler = function.modelet_handler_handler();
                store
                    .run_concurrent(async |accessor| handler.call_handle(accessor, request, body).await)
                    .await?
            }
            Some(HttpExports::Blocking(function)) => {
                let RequestBody::Bytes(bytes) = body else {
                    return Err(wasmtime::Error::msg("a blocking handler takes its body as bytes"));
                };
                let handler = function.modelet_handler_blocking_handler();
                let answer = handler.call_handle(&mut *store, &request, &bytes).await?;
                Ok(answer.map(|(response, body)| (response, Body::Bytes(body))))
            }
            Some(HttpExports::WasiHttp(_)) | None => {
                Err(wasmtime::Error::msg("a handler is asked in the types of its own interface"))
            }
        }
    }
}

fn store(engine: &Engine, connections: &Arc<Semaphore>, invocation: &Invocation) -> Store<Host> {
    let limits = &invocation.limits;
    let mut store =
        Store::new(&engine.0.wasmtime, Host::new(engine.0.outbound.clone(), connections.clone(), invocation));
    store.limiter(|host| &mut host.limiter);
    let largest_value = limits
        .request_body_bytes
        .max(limits.response_body_bytes)
        .max(limits.tensor_bytes)
        .saturating_add(HOSTCALL_OVERHEAD_BYTES);
    store.set_hostcall_fuel(usize::try_from(largest_value).unwrap_or(usize::MAX));
    // The host's own tables refuse at the limit itself, with an error that a handler can deal with; this
    // is for handles that a guest makes alone. A handle counts once where it is held, once more while it
    // is lent, and as many may be left of earlier invocations.
    let handles = usize::try_from(limits.handles).unwrap_or(usize::MAX);
    let handles = handles.saturating_mul(3).saturating_add(HANDLES_OVERHEAD);
    store.set_max_component_handles(handles);
    if let Some(table) = store.concurrent_resource_table() {
        // What stands behind a handle, such as a stream's two ends and what is between them.
        table.set_max_capacity(handles.saturating_mul(4));
    }
    set_first_slice(&mut store);
    store.epoch_deadline_callback(|store| {
        let host = store.data();
        if host.meter.handler_cpu_time_now() > host.limits.cpu_time() {
            return Err(CpuTimeExceeded { limit_ms: host.limits.cpu_time_ms }.into());
        }
        // tokio's own yield lets the IO driver run before this task is polled again; a waker
        // that only wakes itself would starve it.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store
}

/// The next tick may come at once; from here it is a whole one, within which most calls end.
fn set_first_slice(store: &mut Store<Host>) {
    store.set_epoch_deadline(2);
}
