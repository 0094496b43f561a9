//! The one wasmtime engine of a host: its settings, its allocator, its linker.

use std::sync::Arc;

use modelet_types::manifest::Reuse;
use modelet_types::{Code as ErrorCode, Problem, TenantName};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::{CompileConfig, EngineConfig};
use crate::handler::Handler;
use crate::host::{self, Host};
use crate::idle::{AllIdle, IdlePlaces};
use crate::outbound::Outbound;
use crate::schedule::Scheduler;
use crate::ticker::Ticker;
use crate::{Code, CodeCache};

/// Below this many pooled instances, allocating each on demand serves better.
const MIN_POOLED_INSTANCES: u32 = 16;

/// The most parts of one component. Python's and JavaScript's need dozens of core instances.
pub(crate) const MAX_CORE_INSTANCES: u32 = 64;
/// The most linear memories of one component.
pub(crate) const MAX_MEMORIES: u32 = 4;
/// The most tables of one component.
pub(crate) const MAX_TABLES: u32 = 32;
/// The most elements of one table.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// Stack of a handler's code. The fiber's stack must hold this and what host functions need.
const WASM_STACK_BYTES: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 1 << 20;

/// How memory for instances is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocator {
    /// Slots reserved at start: an instance costs microseconds.
    Pooling {
        /// The number of slots.
        instances: u32,
    },
    /// Memory is mapped for each instance: slower, for hosts with little address space.
    OnDemand,
}

/// Keeps the code of handlers and makes instances of them. It does not compile: it has a process of its
/// own do that (`apart.rs`). Cloning shares the engine.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: Linker<Host>,
    pub(crate) ticker: Ticker,
    pub(crate) scheduler: Scheduler,
    pub(crate) instances: Arc<Semaphore>,
    pub(crate) idle_places: Arc<IdlePlaces>,
    pub(crate) idle: AllIdle,
    pub(crate) code: CodeCache,
    pub(crate) compile: CompileConfig,
    pub(crate) outbound: Arc<Outbound>,
    allocator: Allocator,
    max_instances: u32,
}

impl Engine {
    /// Starts an engine, taking the pooling allocator in the largest size that fits.
    ///
    /// # Errors
    /// If wasmtime cannot run on this machine, or `code_dir` cannot be written.
    pub fn start(config: &EngineConfig) -> Result<Self, Problem> {
        let internal = |what: &str, error: &dyn std::fmt::Display| {
            Problem::new(ErrorCode::Internal, format!("{what}: {error}"))
        };
        let (wasmtime, allocator) = with_largest_pool(config.max_instances)
            .map_err(|error| internal("cannot start the WebAssembly engine", &format!("{error:#}")))?;
        let linker = linker(&wasmtime)
            .map_err(|error| internal("cannot link the host's functions", &format!("{error:#}")))?;
        let ticker = Ticker::start(wasmtime.weak(), config.tick)
            .map_err(|error| internal("cannot start the ticker thread", &error))?;
        let scheduler = Scheduler::start()
            .map_err(|error| internal("cannot start the threads for long computing", &error))?;
        let code = CodeCache::open(&config.code_dir, &wasmtime)
            .map_err(|error| internal(&format!("cannot use {}", config.code_dir.display()), &error))?;
        let outbound = Outbound::new(&config.outbound)
            .map_err(|error| internal("cannot use the authorities for outbound requests", &error))?;
        let max_instances = match allocator {
            Allocator::Pooling { instances } => instances,
            Allocator::OnDemand => config.max_instances,
        };
        let instances = Arc::new(Semaphore::new(max_instances as usize));
        let idle_places = Arc::new(IdlePlaces::new(idle_beside(max_instances) as usize));
        let shared = Shared {
            wasmtime,
            linker,
            ticker,
            scheduler,
            instances,
            idle_places,
            idle: AllIdle::default(),
            code,
            compile: config.compile.clone(),
            outbound: Arc::new(outbound),
            allocator,
            max_instances,
        };
        Ok(Self(Arc::new(shared)))
    }

    /// How memory for instances is had.
    pub fn allocator(&self) -> Allocator {
        self.0.allocator
    }

    /// Instances that live now.
    pub fn running_instances(&self) -> usize {
        (self.0.max_instances as usize).saturating_sub(self.0.instances.available_permits())
    }

    /// Sets how much of the threads for long computing a tenant gets while others want them too, as it stands
    /// to theirs; 1 is the weight of one of which nothing was said.
    pub fn set_weight(&self, tenant: &TenantName, weight: u32) {
        self.0.scheduler.set_weight(tenant, weight);
    }

    /// Ends the instances that wait for an invocation, and says whether there was one.
    pub(crate) fn end_idle(&self) -> bool {
        self.0.idle.end()
    }

    /// The compiled code on this host.
    pub fn code(&self) -> &CodeCache {
        &self.0.code
    }

    /// Links compiled code with the host's functions: done once, then every instance is cheap. How often
    /// an instance answers is what `reuse` says.
    ///
    /// # Errors
    /// If the component does not fit this host, which compiling it had found out before.
    pub fn link(&self, code: &Code, reuse: Reuse) -> Result<Handler, Problem> {
        Handler::link(self, code, reuse)
    }
}

/// Instances that may be idle beside those that run. A function that has them keeps no other from
/// running: where there is no place for an idle one, it ends.
fn idle_beside(max_instances: u32) -> u32 {
    max_instances.div_ceil(4)
}

fn with_largest_pool(max_instances: u32) -> wasmtime::Result<(wasmtime::Engine, Allocator)> {
    let mut instances = max_instances;
    while instances >= MIN_POOLED_INSTANCES {
        let mut config = base_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
            instances + idle_beside(instances),
        )));
        match wasmtime::Engine::new(&config) {
            Ok(engine) => return Ok((engine, Allocator::Pooling { instances })),
            Err(error) => tracing::debug!(instances, error = %error, "pool does not fit the address space"),
        }
        instances /= 2;
    }
    Ok((without_pool()?, Allocator::OnDemand))
}

/// An engine that allocates on demand. What it compiles runs in one with a pool as well.
pub(crate) fn without_pool() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(base_config().allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

/// The host's functions, for handlers to import.
pub(crate) fn linker(wasmtime: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(wasmtime);
    host::add_to_linker(&mut linker)?;
    Ok(linker)
}

fn base_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        // For unwinders other than wasmtime's own, of which there are none here; registering it makes
        // loading code slower, the more the more code is loaded.
        .native_unwind_info(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES);
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        // What few components need many of is shared by all: a host full of such components meets
        // the limit earlier and answers `overloaded`.
        .total_core_instances(instances.saturating_mul(8))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(8))
        .total_stacks(instances.saturating_mul(2))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .max_memory_size(4 << 30)
        .table_elements(MAX_TABLE_ELEMENTS)
        // What a small memory has is reset by writing to it, which takes no system call and leaves no
        // page faults to the next instance.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10)
        .async_stack_keep_resident(32 << 10)
        .max_unused_warm_slots(instances.min(64));
    pool
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use modelet_types::Digest;

    use super::*;

    #[test]
    fn what_is_compiled_without_a_pool_runs_in_one() {
        let folder = tempfile::tempdir().unwrap();
        let (pooled, allocator) = with_largest_pool(MIN_POOLED_INSTANCES).unwrap();
        assert!(matches!(allocator, Allocator::Pooling { .. }), "the pool does not fit: {allocator:?}");
        let compiling = without_pool().unwrap();
        let wasm = wat::parse_str("(component (core module (memory 1) (func)))").unwrap();
        let digest = Digest::of(&wasm);
        #[expect(clippy::disallowed_methods, reason = "what is compiled is written above")]
        let code = compiling.precompile_component(&wasm).unwrap();
        // Each looks in the folder that is named by what wasmtime says of its compatibility.
        let cache = CodeCache::open(folder.path(), &compiling).unwrap();
        let mut draft = cache.draft().unwrap();
        draft.write_all(&code).unwrap();
        cache.keep(&digest, draft).unwrap();
        assert!(CodeCache::open(folder.path(), &pooled).unwrap().load(&digest).unwrap().is_some());
    }
}
