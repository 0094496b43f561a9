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
}

impl EngineConfig {
    /// The defaults, with compiled code under `code_dir`.
    pub fn new(code_dir: PathBuf) -> Self {
        Self {
            code_dir,
            max_instances: 1_000,
            tick: Duration::from_millis(1),
            outbound: OutboundConfig::default(),
        }
    }
}
