//! The host's half of the WIT contract: what one instance can reach.

mod config;
mod holdings;
mod key_value;
mod logging;
mod models;
mod stdio;
mod tensors;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use modelet_types::{Limits, Secrets};
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use holdings::Holdings;
pub use key_value::{Bucket, Cas};
use stdio::LogStream;
pub(crate) use tensors::HeldTensors;

use crate::bindings;
use crate::body::LentBody;
use crate::invocation::{BodyFrames, Invocation};
use crate::limiter::MemoryLimiter;
use crate::meter::Meter;
use crate::outbound::{Outbound, Sender};
use crate::ports::{KeyValue, Level, Log, Models, Source};

/// What a guest's handle to a model is typed by.
pub enum ModelHandle {}

/// The most things of WASI that a guest holds, whatever its limit of handles: behind some of them stand
/// buffers, the largest of [`MAX_FIELD_BYTES`].
const MAX_WASI_HANDLES: usize = 1_024;

/// The most bytes of one set of HTTP fields.
const MAX_FIELD_BYTES: usize = 64 << 10;

/// The most bytes that a guest gets from one call for random bytes.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// The data of one store: what belongs to its instance, and what belongs to the invocation that the
/// instance is at.
pub(crate) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Sender,
    /// Held by everything that goes on for the invocation outside of the guest.
    under_way: Arc<()>,
    request_body: Option<LentBody>,
    stdout: LogStream,
    stderr: LogStream,
    /// What a guest holds of WASI.
    table: ResourceTable,
    pub(crate) holdings: Holdings,
    pub(crate) limiter: MemoryLimiter,
    pub(crate) limits: Arc<Limits>,
    pub(crate) meter: Arc<Meter>,
    models: Arc<dyn Models>,
    log: Arc<dyn Log>,
    config: Arc<BTreeMap<String, String>>,
    secrets: Arc<Secrets>,
    key_value: Option<Arc<dyn KeyValue>>,
}

impl Host {
    pub(crate) fn new(outbound: Arc<Outbound>, connections: Arc<Semaphore>, invocation: &Invocation) -> Self {
        let Invocation { limits, meter, models, log, config, secrets, key_value, .. } = invocation;
        let Invocation { functions, outbound: rules, .. } = invocation;
        let stdout = LogStream::new(log.clone(), Level::Info, Source::Stdout);
        let stderr = LogStream::new(log.clone(), Level::Warn, Source::Stderr);
        let wasi = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(MAX_RANDOM_BYTES)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX).min(MAX_WASI_HANDLES));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELD_BYTES);
        let under_way = Arc::default();
        Self {
            wasi,
            http,
            outbound: Sender {
                outbound,
                rules: rules.clone(),
                limits: limits.clone(),
                connections,
                usage: Arc::default(),
                under_way: Arc::clone(&under_way),
                functions: functions.clone(),
                log: log.clone(),
            },
            under_way,
            request_body: None,
            stdout,
            stderr,
            table,
            holdings: Holdings::new(limits.handles),
            limiter: MemoryLimiter::new(limits.memory_bytes, meter.clone()),
            limits: limits.clone(),
            meter: meter.clone(),
            models: models.clone(),
            log: log.clone(),
            config: config.clone(),
            secrets: secrets.clone(),
            key_value: key_value.clone(),
        }
    }

    /// Turns to another invocation of the same revision.
    pub(crate) fn begin(&mut self, invocation: &Invocation) {
        let Invocation { meter, models, functions, log, secrets, key_value, .. } = invocation;
        self.limiter.begin(meter.clone());
        self.stdout.turn_to(log.clone());
        self.stderr.turn_to(log.clone());
        // Not the old one set back: a request of the invocation before may still count there.
        self.outbound.usage = Arc::default();
        self.outbound.functions = functions.clone();
        self.outbound.log = log.clone();
        self.meter = meter.clone();
        self.models = models.clone();
        self.log = log.clone();
        self.secrets = secrets.clone();
        self.key_value = key_value.clone();
    }

    /// Ends what belongs to the invocation.
    pub(crate) fn end(&mut self) {
        self.holdings.clear();
        if let Some(body) = self.request_body.take() {
            body.take_back();
        }
        self.stdout.end_line();
        self.stderr.end_line();
    }

    /// Whether another invocation can begin: nothing goes on for the last one, and it was refused no
    /// memory, after which a guest is seldom sound.
    pub(crate) fn is_settled(&self) -> bool {
        // This one and the sender's.
        Arc::strong_count(&self.under_way) == 2 && !self.limiter.refused() && self.holdings.has_room()
    }

    /// Gives the guest the request's body until the invocation ends: kept longer, it would keep the
    /// caller's connection.
    pub(crate) fn lend_body(&mut self, body: BodyFrames) -> BodyFrames {
        let lent = LentBody::new(body);
        self.request_body = Some(lent.clone());
        lent.boxed()
    }

    /// To be held for as long as something goes on for the invocation.
    pub(crate) fn under_way(&self) -> Arc<()> {
        self.under_way.clone()
    }

    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

/// Links everything that a handler may import.
pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    bindings::function::Function::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    bindings::blocking::modelet::inference::blocking_models::add_to_linker::<_, HasSelf<Host>>(
        linker,
        |host| host,
    )?;
    bindings::key_value::Imports::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    bindings::key_value_draft::Imports::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    Ok(())
}
