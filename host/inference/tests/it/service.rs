//! A service over files in a temporary folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{
    BackendId, Inference, InferenceConfig, InferenceError, ModelSource, RunOutput, RunRequest, Session,
    SessionKey,
};
use modelet_types::manifest::{BackendChoice, ModelSpec};
use modelet_types::tensor::Element;
use modelet_types::{Digest, TenantName, Tensor, Trust};

pub const BOTH: [BackendId; 2] = [BackendId::Rten, BackendId::Onnxruntime];

/// Where ONNX Runtime is: named by the environment, or fetched into the workspace.
pub fn library() -> PathBuf {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/onnxruntime/libonnxruntime.so");
    let path = std::env::var_os("MODELET_ONNXRUNTIME").map_or_else(|| fetched.into(), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `python3 examples/fetch.py onnxruntime`", path.display());
    path
}

pub fn config() -> InferenceConfig {
    InferenceConfig { onnxruntime: Some(library()), workers: 2, ..InferenceConfig::default() }
}

/// A service and a folder for its models.
pub struct TestService {
    pub inference: Arc<Inference>,
    folder: tempfile::TempDir,
}

impl TestService {
    pub fn start() -> Self {
        Self::with(config())
    }

    pub fn with(config: InferenceConfig) -> Self {
        let inference = Inference::start(config).unwrap();
        inference.set_trust(&TenantName::default_tenant(), Trust::Trusted);
        Self { inference, folder: tempfile::tempdir().unwrap() }
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
            threads: 1,
            batching: None,
        }
    }

    pub fn source(&self, bytes: &[u8]) -> ModelSource {
        ModelSource { path: self.file(bytes), idle_timeout: Duration::from_secs(60) }
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
    }
}

pub async fn run(session: &Arc<Session>, inputs: &[(&str, Tensor)]) -> Result<RunOutput, InferenceError> {
    session.run(request(inputs)).await
}

pub fn spec(bytes: &[u8], backend: BackendChoice) -> ModelSpec {
    ModelSpec { artifact: Digest::of(bytes), backend, threads: 1, batching: None, golden: Vec::new() }
}

/// Waits for a condition that another thread brings about.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
