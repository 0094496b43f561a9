//! What the operator may set about the engine.

use std::path::PathBuf;
use std::time::Duration;

use crate::outbound::OutboundConfig;

/// The engine's configuration.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where compiled code is kept. Only the host may write here: the files are run as they are.
    pub code_dir: PathBuf,
    /// Instances that may live at one time; more wait for a free one. The pooling allocator
    /// reserves address space for all of them, so the number is halved until it fits.
    pub max_instances: u32,
    /// How often a running handler is interrupted to let others run and to check its CPU time.
    pub tick: Duration,
    /// Requests that handlers make.
    pub outbound: OutboundConfig,
    /// How components are compiled.
    pub compile: CompileConfig,
}

/// The process that compiles one component.
#[derive(Clone, Debug)]
pub struct CompileConfig {
    /// The program, whose `main` begins with [`compile_worker_if_asked`].
    ///
    /// [`compile_worker_if_asked`]: crate::compile_worker_if_asked
    pub program: PathBuf,
    /// Memory that it may write to.
    pub memory_bytes: u64,
    /// Its CPU time, in whole seconds; a part of one counts as one.
    pub cpu_time: Duration,
    /// How long it may take.
    pub wall_time: Duration,
    /// Whether nothing is compiled on a machine where the process cannot be confined in full.
    pub require_confinement: bool,
}

impl Default for CompileConfig {
    fn default() -> Self {
        Self {
            // The file that this process was started from, also when another one has its name by now.
            program: PathBuf::from("/proc/self/exe"),
            memory_bytes: 2 << 30,
            cpu_time: Duration::from_secs(120),
            wall_time: Duration::from_secs(300),
            require_confinement: false,
        }
    }
}

impl EngineConfig {
    /// The defaults, with compiled code under `code_dir`.
    pub fn new(code_dir: PathBuf) -> Self {
        Self {
            code_dir,
            max_instances: 1_000,
            tick: Duration::from_millis(1),
            outbound: OutboundConfig::default(),
            compile: CompileConfig::default(),
        }
    }
}
