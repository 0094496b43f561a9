//! The host's half of the WIT contract: what one instance can reach.

mod config;
mod logging;
mod models;
mod stdio;
mod tensors;

use std::collections::BTreeMap;
use std::sync::Arc;

use modelet_types::Limits;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings;
use crate::limiter::MemoryLimiter;
use crate::meter::Meter;
use crate::ports::{Level, Log, Model, Models, Source};

/// A model that the guest holds a handle to.
pub struct ModelHandle(pub(crate) Arc<dyn Model>);

/// The most bytes that a guest gets from one call for random bytes.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// The data of one store: everything that belongs to one invocation.
pub(crate) struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    /// Bytes of the tensors in `table`.
    tensor_bytes: u64,
    pub(crate) limiter: MemoryLimiter,
    pub(crate) limits: Arc<Limits>,
    pub(crate) meter: Arc<Meter>,
    models: Arc<dyn Models>,
    log: Arc<dyn Log>,
    config: Arc<BTreeMap<String, String>>,
}

impl Host {
    pub(crate) fn new(
        limits: Arc<Limits>,
        meter: Arc<Meter>,
        models: Arc<dyn Models>,
        log: Arc<dyn Log>,
        config: Arc<BTreeMap<String, String>>,
    ) -> Self {
        let wasi = WasiCtx::builder()
            .stdout(stdio::LogStream::new(log.clone(), Level::Info, Source::Stdout))
            .stderr(stdio::LogStream::new(log.clone(), Level::Warn, Source::Stderr))
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(MAX_RANDOM_BYTES)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        let limiter = MemoryLimiter::new(limits.memory_bytes, meter.clone());
        Self { wasi, table, tensor_bytes: 0, limiter, limits, meter, models, log, config }
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

/// Links everything that a handler may import.
pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    bindings::function::Function::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    bindings::blocking::modelet::inference::blocking_models::add_to_linker::<_, HasSelf<Host>>(
        linker,
        |host| host,
    )?;
    Ok(())
}
