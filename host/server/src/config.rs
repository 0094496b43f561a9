//! The host's configuration: plain values with their defaults, read once at start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use modelet_types::Limits;
use serde::{Deserialize, Serialize};

/// The largest artifact unless configured otherwise: 4 GiB.
pub const MAX_ARTIFACT_BYTES: u64 = 4 << 30;

/// Everything that an operator may set. Every field has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The one folder in which the host keeps everything.
    pub data_dir: PathBuf,
    /// Where the host listens.
    pub listen: SocketAddr,
    /// Serve on an address that others can reach, although no key is asked for.
    pub allow_unauthenticated: bool,
    /// Further names under which the host may be called, beside its address and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Threads that run requests and handlers; 0 is one per core.
    pub workers: usize,
    /// Handler instances that may live at one time.
    pub max_instances: u32,
    /// The largest artifact that may be uploaded.
    pub max_artifact_bytes: u64,
    /// The longest that a caller waits for a cold function to wake.
    pub wake_timeout_ms: u64,
    /// The longest that a client may take to send a request's headers.
    pub header_timeout_ms: u64,
    /// The longest pause in a request's body.
    pub body_idle_timeout_ms: u64,
    /// How long a shutdown waits for what runs.
    pub shutdown_grace_ms: u64,
    /// Inference.
    pub inference: InferenceSettings,
    /// The usage ledger.
    pub ledger: LedgerSettings,
    /// The highest limits that a manifest may ask for.
    pub limits: Limits,
}

/// How models run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceSettings {
    /// Threads that run models; 0 is one per core.
    pub workers: usize,
    /// Runs that may wait for a thread; 0 is the default of 1,024.
    pub queue: usize,
    /// The library of ONNX Runtime, `libonnxruntime.so`.
    pub onnxruntime: Option<PathBuf>,
}

/// How the usage ledger is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// What an acknowledged record survives.
    pub durability: modelet_observe::Durability,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("modelet-data"),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8421),
            allow_unauthenticated: false,
            allowed_hosts: Vec::new(),
            workers: 0,
            max_instances: 1_000,
            max_artifact_bytes: MAX_ARTIFACT_BYTES,
            wake_timeout_ms: 60_000,
            header_timeout_ms: 10_000,
            body_idle_timeout_ms: 30_000,
            shutdown_grace_ms: 30_000,
            inference: InferenceSettings::default(),
            ledger: LedgerSettings::default(),
            limits: Limits::HIGHEST,
        }
    }
}

impl Config {
    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(crate) fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}
