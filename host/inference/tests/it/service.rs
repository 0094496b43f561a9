//! A service over files in a temporary folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use modelet_inference::{
    BackendId, Inference, InferenceConfig, InferenceError, ModelSource, RunOutput, RunRequest, Session,
    SessionKey, WorkerConfig,
};
use modelet_types::manifest::{BackendChoice, Device, ModelSpec, Priority};
use modelet_types::tensor::Element;
use modelet_types::{Digest, TenantName, Tensor, Trust};
use rustix::process::{Pid, Signal};

pub const BOTH: [BackendId; 2] = [BackendId::Rten, BackendId::Onnxruntime];

/// Where ONNX Runtime is: named by the environment, or fetched into the workspace.
pub fn library() -> PathBuf {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/onnxruntime/libonnxruntime.so");
    let path = std::env::var_os("MODELET_ONNXRUNTIME").map_or_else(|| fetched.into(), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `python3 examples/fetch.py onnxruntime`", path.display());
    path
}

pub fn config() -> InferenceConfig {
    let worker = WorkerConfig { program: worker_program(), ..WorkerConfig::default() };
    InferenceConfig { onnxruntime: Some(library()), workers: 2, worker, ..InferenceConfig::default() }
}

/// A test is no program that could become a worker process.
pub fn worker_program() -> PathBuf {
    env!("CARGO_BIN_EXE_model-worker").into()
}

/// A service and a folder for its models.
pub struct TestService {
    pub inference: Arc<Inference>,
    pub worker: WorkerConfig,
    folder: tempfile::TempDir,
}

impl TestService {
    pub fn start() -> Self {
        Self::with(config())
    }

    pub fn with(config: InferenceConfig) -> Self {
        Self::of(config, Trust::Trusted)
    }

    /// A service whose tenant is trusted or is not.
    pub fn of(config: InferenceConfig, trust: Trust) -> Self {
        let worker = config.worker.clone();
        let inference = Inference::start(config).unwrap();
        inference.set_trust(&TenantName::default_tenant(), trust);
        Self { inference, worker, folder: tempfile::tempdir().unwrap() }
    }

    pub fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(Digest::of(bytes).to_hex());
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn key(&self, backend: BackendId, bytes: &[u8]) -> SessionKey {
        SessionKey {
            tenant: TenantName::default_tenant(),
            model: Digest::of(bytes),
            backend,
            device: Device::Cpu,
            threads: 1,
            batching: None,
            response_cache: None,
        }
    }

    pub fn source(&self, bytes: &[u8]) -> ModelSource {
        ModelSource {
            path: self.file(bytes),
            idle_timeout: Duration::from_secs(60),
            memory_bytes: bytes.len() as u64,
            warm_up: Arc::default(),
        }
    }

    pub async fn load(&self, backend: BackendId, bytes: &[u8]) -> Result<Arc<Session>, InferenceError> {
        self.inference.session(&self.key(backend, bytes), &self.source(bytes)).await
    }

    pub async fn session(&self, backend: BackendId, bytes: &[u8]) -> Arc<Session> {
        self.load(backend, bytes).await.unwrap_or_else(|e| panic!("{backend}: {e}"))
    }
}

pub fn tensor<T: Element>(shape: &[usize], values: &[T]) -> Tensor {
    Tensor::from_vec(shape, values.to_vec()).unwrap()
}

pub fn request(inputs: &[(&str, Tensor)]) -> RunRequest {
    RunRequest {
        inputs: inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect(),
        outputs: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(60),
        max_output_bytes: u64::MAX,
        priority: Priority::Normal,
        unanswered: None,
    }
}

pub async fn run(session: &Arc<Session>, inputs: &[(&str, Tensor)]) -> Result<RunOutput, InferenceError> {
    session.run(request(inputs)).await
}

pub fn spec(bytes: &[u8], backend: BackendChoice) -> ModelSpec {
    let artifact = Digest::of(bytes);
    ModelSpec {
        artifact,
        backend,
        device: Device::Cpu,
        threads: 1,
        batching: None,
        response_cache: None,
        golden: Vec::new(),
        warm_up: false,
    }
}

/// Waits for a condition that another thread brings about.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What is told of processes by the memory that they may have, so that a test knows its own: at least so many
/// bytes, and some that no other test has.
pub fn marked(memory_bytes: u64) -> WorkerConfig {
    static MARKS: AtomicU64 = AtomicU64::new(1);
    let mark = MARKS.fetch_add(1, Ordering::Relaxed) << 12;
    WorkerConfig { program: worker_program(), memory_bytes: memory_bytes + mark, ..WorkerConfig::default() }
}

/// The worker processes of a service with lanes, over which models are loaded and run.
pub fn processes(config: &WorkerConfig) -> Vec<Pid> {
    let name_of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    let has_lanes = |pid: &Pid| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        tasks.flatten().any(|task| name_of(task).is_ok_and(|name| name.starts_with("lane-")))
    };
    all_processes(config).into_iter().filter(has_lanes).collect()
}

/// The same with those that are spare, or try a model.
pub fn all_processes(config: &WorkerConfig) -> Vec<Pid> {
    let mark = format!("memory_bytes={}", config.memory_bytes);
    let is_marked = |pid: &Pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw).filter(is_marked).collect()
}

/// Ends a process as the kernel does that lacks memory.
pub fn kill(pid: Pid) {
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}
