//! The host's configuration: plain values with their defaults, read once at start.

mod check;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use modelet_control::Billing;
use modelet_engine::CompileConfig;
use modelet_inference::WorkerConfig;
use modelet_store::{MetastoreUrl, PublicKey};
use modelet_types::manifest::KeyValue;
use modelet_types::{Ceiling, Limits, StatedLimits};
use serde::{Deserialize, Deserializer, Serialize};

pub use check::InvalidSetting;

/// The largest artifact unless configured otherwise: 4 GiB.
pub const MAX_ARTIFACT_BYTES: u64 = 4 << 30;

/// Everything that an operator may set. Every field has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The one folder in which the host keeps everything.
    pub data_dir: PathBuf,
    /// The database with the metastore, on PostgreSQL; not set: a file of SQLite in the data folder.
    pub metastore_url: Option<MetastoreUrl>,
    /// Where the host listens.
    pub listen: SocketAddr,
    /// How the host finds out who makes a request.
    pub authentication: Authentication,
    /// Serve on an address that others can reach, although no key is asked for.
    pub allow_unauthenticated: bool,
    /// The certificate, for HTTPS.
    pub tls: TlsSettings,
    /// Further names under which the host may be called, beside its address and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Threads that run requests and handlers; 0 is one per core.
    pub workers: usize,
    /// Handler instances that may answer at one time.
    pub max_instances: u32,
    /// Connections that may be open at one time; more wait until one is closed. 0 is as many as the
    /// process may have file descriptors, less a quarter and at least 256 for files.
    pub max_connections: u32,
    /// Revisions that may be awake at one time. 0 is as many as the process has file descriptors and
    /// mappings for.
    pub max_awake_revisions: u32,
    /// Bytes of their compiled code. 0 is a quarter of the machine's memory.
    pub max_awake_code_bytes: u64,
    /// The largest artifact that may be uploaded.
    pub max_artifact_bytes: u64,
    /// The largest message over gRPC, which is received before it is known for which function it is.
    pub max_grpc_message_bytes: u64,
    /// The bucket that artifacts are kept in, `s3://BUCKET/PREFIX`; not set: the data folder.
    pub artifacts_url: Option<String>,
    /// The most bytes of the bucket's artifacts that the data folder keeps as well; 0 is all that were used here.
    pub artifact_cache_bytes: u64,
    /// The longest that a caller waits for a cold function to wake.
    pub wake_timeout_ms: u64,
    /// The longest that a client may take to send a request's headers, and that a connection stays
    /// open without a request.
    pub header_timeout_ms: u64,
    /// The longest pause in a request's body.
    pub body_idle_timeout_ms: u64,
    /// The longest that a client may read nothing of what is there for it.
    pub write_timeout_ms: u64,
    /// How long a shutdown waits for what runs.
    pub shutdown_grace_ms: u64,
    /// Inference.
    pub inference: InferenceSettings,
    /// Requests that handlers make.
    pub outbound: OutboundSettings,
    /// What functions keep.
    pub key_value: KeyValueSettings,
    /// How handlers are compiled.
    pub compile: CompileSettings,
    /// The usage ledger.
    pub ledger: LedgerSettings,
    /// Where usage records are sent.
    pub usage_export: UsageExportSettings,
    /// What usage costs.
    pub billing: Billing,
    /// The record of changes.
    pub audit: AuditSettings,
    /// The highest limits that a manifest may ask for. One that is left out is the highest that
    /// this version supports.
    #[serde(deserialize_with = "ceiling")]
    pub limits: Limits,
}

/// The certificate with which a host shows who it is. Without one it speaks HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// A file with the certificate and those that lead to its authority, in PEM format.
    pub certificate: Option<PathBuf>,
    /// A file with its private key, in PEM format.
    pub key: Option<PathBuf>,
}

/// How a host finds out who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// By an API key.
    Keys,
    /// Not at all: everybody is the operator.
    None,
}

/// How models run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceSettings {
    /// Threads that run models; 0 is one per core.
    pub workers: usize,
    /// Runs that may wait for a thread; 0 is the default of 1,024.
    pub queue: usize,
    /// The library of ONNX Runtime, `libonnxruntime.so`.
    pub onnxruntime: Option<PathBuf>,
    /// Memory that all loaded models may have together; 0 is half of what the host has.
    pub memory_bytes: u64,
    /// Processes with models of tenants that are not trusted; 0 is as many as there is memory for.
    pub worker_processes: usize,
    /// Memory that the process with the models of a tenant that is not trusted may write to.
    pub worker_memory_bytes: u64,
    /// What if the system cannot confine it.
    pub worker_confinement: Confinement,
    /// What is started with the argument `model-worker`; not set: this program.
    pub worker_program: Option<PathBuf>,
}

impl Default for InferenceSettings {
    fn default() -> Self {
        Self {
            workers: 0,
            queue: 0,
            onnxruntime: None,
            memory_bytes: 0,
            worker_processes: 0,
            worker_memory_bytes: WorkerConfig::default().memory_bytes,
            worker_confinement: Confinement::BestEffort,
            worker_program: None,
        }
    }
}

/// To whom handlers' requests may go, beside what their manifests say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundSettings {
    /// Networks that are not public and may be connected to all the same.
    pub allowed_networks: Vec<IpNet>,
    /// Networks that may not be connected to although they are public.
    pub denied_networks: Vec<IpNet>,
    /// A file of certificates in PEM format whose authorities are trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
}

/// What functions may keep from one invocation to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyValueSettings {
    /// The most bytes that a manifest may ask for; 0 lets no function keep anything.
    pub max_bytes: u64,
}

impl Default for KeyValueSettings {
    fn default() -> Self {
        Self { max_bytes: KeyValue::HIGHEST_BYTES }
    }
}

/// The process that compiles one handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompileSettings {
    /// Memory that it may write to.
    pub memory_bytes: u64,
    /// Its CPU time, which is counted in whole seconds.
    pub cpu_time_ms: u64,
    /// How long it may take.
    pub wall_time_ms: u64,
    /// What if the system cannot confine it.
    pub confinement: Confinement,
    /// What is started with the argument `compile-worker`; not set: this program.
    pub program: Option<PathBuf>,
}

impl Default for CompileSettings {
    fn default() -> Self {
        let engine = CompileConfig::default();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            memory_bytes: engine.memory_bytes,
            cpu_time_ms: ms(engine.cpu_time),
            wall_time_ms: ms(engine.wall_time),
            confinement: Confinement::BestEffort,
            program: None,
        }
    }
}

/// What happens where the system has not all that confines a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confinement {
    /// The host does not start.
    Required,
    /// It says so in its log, and does with what is there.
    BestEffort,
}

/// How the usage ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// What an acknowledged record survives.
    pub durability: modelet_observe::Durability,
    /// Days that records are kept after they are added up; 0: for ever.
    pub retention_days: u32,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { durability: modelet_observe::Durability::default(), retention_days: 35 }
    }
}

impl LedgerSettings {
    /// How long records are kept.
    pub(crate) fn retention(&self) -> Option<Duration> {
        days(self.retention_days)
    }
}

/// `None` is for ever.
fn days(days: u32) -> Option<Duration> {
    const DAY_S: u64 = 24 * 3_600;
    (days > 0).then(|| Duration::from_secs(u64::from(days) * DAY_S))
}

/// Where usage records are sent, as CloudEvents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageExportSettings {
    /// The collector's address; not set: records are not sent.
    pub url: Option<String>,
    /// A file with the token that the collector asks for.
    pub token_file: Option<PathBuf>,
    /// A file of certificates in PEM format whose authorities are trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The most records in one request.
    pub max_records: u32,
    /// How long a request may take.
    pub timeout_ms: u64,
}

impl Default for UsageExportSettings {
    fn default() -> Self {
        Self { url: None, token_file: None, ca_file: None, max_records: 100, timeout_ms: 10_000 }
    }
}

/// How the record of changes is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// The file to which the last hash of each tenant's changes is appended; not set: `audit-heads.jsonl` in
    /// the data folder.
    pub heads_file: Option<PathBuf>,
    /// The key that signs them; not set: `audit.key` in the data folder.
    pub key_file: Option<PathBuf>,
    /// Other keys whose signatures count, such as the one before a change of keys.
    pub trusted_keys: Vec<PublicKey>,
    /// Days that changes are kept; 0: for ever.
    pub retention_days: u32,
}

impl AuditSettings {
    /// How long changes are kept.
    pub(crate) fn retention(&self) -> Option<Duration> {
        days(self.retention_days)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("modelet-data"),
            metastore_url: None,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8421),
            authentication: Authentication::Keys,
            allow_unauthenticated: false,
            tls: TlsSettings::default(),
            allowed_hosts: Vec::new(),
            workers: 0,
            max_instances: 1_000,
            max_connections: 0,
            max_awake_revisions: 0,
            max_awake_code_bytes: 0,
            max_artifact_bytes: MAX_ARTIFACT_BYTES,
            max_grpc_message_bytes: 64 << 20,
            artifacts_url: None,
            artifact_cache_bytes: 0,
            wake_timeout_ms: 60_000,
            header_timeout_ms: 10_000,
            body_idle_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            shutdown_grace_ms: 30_000,
            inference: InferenceSettings::default(),
            outbound: OutboundSettings::default(),
            key_value: KeyValueSettings::default(),
            compile: CompileSettings::default(),
            ledger: LedgerSettings::default(),
            usage_export: UsageExportSettings::default(),
            billing: Billing::default(),
            audit: AuditSettings::default(),
            limits: Limits::HIGHEST,
        }
    }
}

impl Config {
    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(crate) fn body_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.body_idle_timeout_ms)
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    pub(crate) fn wake_timeout(&self) -> Duration {
        Duration::from_millis(self.wake_timeout_ms)
    }

    pub(crate) fn audit_heads_file(&self) -> PathBuf {
        self.audit.heads_file.clone().unwrap_or_else(|| self.data_dir.join("audit-heads.jsonl"))
    }

    pub(crate) fn audit_key_file(&self) -> PathBuf {
        self.audit.key_file.clone().unwrap_or_else(|| self.data_dir.join("audit.key"))
    }

    /// The most that a manifest may ask for.
    pub(crate) fn ceiling(&self) -> Ceiling {
        Ceiling { limits: self.limits.clone(), key_value_bytes: self.key_value.max_bytes }
    }

    pub(crate) fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}

/// Reads a ceiling: what the operator does not mention is not restricted.
fn ceiling<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    StatedLimits::deserialize(deserializer).map(|stated| stated.or(&Limits::HIGHEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_restricts_what_it_mentions() {
        let config: Config = serde_json::from_str(r#"{"limits": {"handles": 100}}"#).unwrap();
        assert_eq!(config.limits, Limits { handles: 100, ..Limits::HIGHEST });
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
    }
}
