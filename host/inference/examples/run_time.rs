//! Measures a model in both backends: the load, runs on the pool, and runs inline.
//!
//! `cargo run --release -p modelet-inference --example run_time -- MODEL [LIBRARY] [BATCH]`. Inputs
//! are zeros; dimensions that a call chooses are BATCH, or 1.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{BackendId, Inference, InferenceConfig, ModelSource, SessionKey};
use modelet_types::manifest::Device;
use modelet_types::{Digest, TenantName, Trust};

#[path = "measure/runs.rs"]
mod runs;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("usage: run_time MODEL [LIBRARY] [BATCH]")?;
    let library = arguments.next().map(Into::into);
    let batch = arguments.next().map_or(Ok(1), |batch| batch.parse())?;
    let digest = Digest::of(&std::fs::read(&model)?);
    for (mode, inline_threshold) in [("pool", Duration::ZERO), ("inline", Duration::from_secs(1))] {
        let onnxruntime: Option<std::path::PathBuf> = library.clone();
        let config = InferenceConfig { onnxruntime, inline_threshold, ..InferenceConfig::default() };
        let inference = Inference::start(config)?;
        for backend in [BackendId::Rten, BackendId::Onnxruntime] {
            let tenant = TenantName::default_tenant();
            inference.set_trust(&tenant, Trust::Trusted);
            let key = SessionKey {
                tenant,
                model: digest,
                backend,
                device: Device::Cpu,
                threads: 1,
                batching: None,
                response_cache: None,
            };
            let source = ModelSource {
                path: model.clone().into(),
                idle_timeout: Duration::MAX,
                memory_bytes: 0,
                warm_up: Arc::default(),
            };
            let begin = Instant::now();
            let session = match inference.session(&key, &source).await {
                Ok(session) => session,
                Err(error) => {
                    println!("{backend}: {error}");
                    continue;
                }
            };
            let load = begin.elapsed();
            let (median, _, cpu) = runs::runs(&session, batch).await?;
            println!("{backend} {mode}: load {load:.1?}, run {median:.1?} median, {cpu:.1?} CPU");
        }
    }
    Ok(())
}
