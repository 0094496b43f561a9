//! Measures what a worker process costs: its start, and each run beside one in this process.
//!
//! `cargo run --release -p modelet-inference --example apart_time -- LIBRARY [MODEL...]`. Beside the models, an
//! operator over 10 MB runs. Inputs are zeros; dimensions that a call chooses are 1.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{
    BackendId, Inference, InferenceConfig, ModelSource, Session, SessionKey, SessionState,
};
use modelet_types::manifest::Device;
use modelet_types::{Digest, TenantName, Trust};

#[path = "../tests/it/models.rs"]
#[expect(dead_code, reason = "only one of the models is of use here")]
mod models;
#[path = "measure/runs.rs"]
mod runs;

use runs::runs;

const STARTS: u32 = 20;
const LARGE: usize = 10_000_000 / 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program is also the one that becomes a worker process.
    modelet_inference::model_worker_if_asked();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let library = arguments.next().ok_or("usage: apart_time LIBRARY [MODEL...]")?;
    let folder = std::env::temp_dir().join(format!("modelet-apart-time-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let large = folder.join("large.onnx");
    std::fs::write(&large, models::operator("Neg", &[("x", models::F32)], ("y", models::F32)))?;
    let config = InferenceConfig {
        onnxruntime: Some(library.into()),
        inline_threshold: Duration::ZERO,
        ..InferenceConfig::default()
    };
    let inference = Inference::start(config)?;
    starts(&inference, &large).await?;
    let models = arguments.map(|model| (PathBuf::from(model), 1)).chain([(large, LARGE)]);
    for (model, size) in models {
        for backend in [BackendId::Rten, BackendId::Onnxruntime] {
            let name = model.file_name().unwrap_or_default().to_string_lossy();
            let mut medians = Vec::new();
            for trust in [Trust::Trusted, Trust::Untrusted] {
                inference.set_trust(&TenantName::default_tenant(), trust);
                let (session, load) =
                    load(&inference, &model, backend, &TenantName::default_tenant()).await?;
                let (median, high, cpu) = runs(&session, size).await?;
                println!(
                    "{name} {backend} {trust:?}: load {load:.1?}, run {median:.1?} median, {high:.1?} p99, {cpu:.1?} CPU"
                );
                medians.push(median);
            }
            println!("{name} {backend}: {:.1?} more", medians[1].saturating_sub(medians[0]));
        }
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// A process from its start until it is ready, and a load that takes the spare one, each for a new tenant.
async fn starts(inference: &Arc<Inference>, model: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut cold = Vec::new();
    for _ in 0..STARTS {
        let begin = Instant::now();
        inference.check_worker().await?;
        cold.push(begin.elapsed());
    }
    cold.sort_unstable();
    println!("a process from its start until it is ready: {:.1?} median", cold[cold.len() / 2]);
    let mut spare = Vec::new();
    for number in 0..STARTS {
        let tenant: TenantName = format!("tenant-{number}").parse()?;
        let (_session, load) = load(inference, model, BackendId::Rten, &tenant).await?;
        spare.push(load);
        // Until the next spare one is ready.
        tokio::time::sleep(cold[cold.len() - 1] * 3).await;
    }
    // The first found none.
    spare.remove(0);
    spare.sort_unstable();
    println!(
        "a tenant's first load of a small model, with a spare process: {:.1?} median",
        spare[spare.len() / 2]
    );
    Ok(())
}

async fn load(
    inference: &Arc<Inference>,
    model: &Path,
    backend: BackendId,
    tenant: &TenantName,
) -> Result<(Arc<Session>, Duration), Box<dyn std::error::Error>> {
    let digest = Digest::of(&std::fs::read(model)?);
    let key = SessionKey {
        tenant: tenant.clone(),
        model: digest,
        backend,
        device: Device::Cpu,
        threads: 1,
        batching: None,
        response_cache: None,
    };
    let source = ModelSource {
        path: model.to_owned(),
        idle_timeout: Duration::MAX,
        memory_bytes: 0,
        warm_up: Arc::default(),
    };
    assert_eq!(inference.state(&key), SessionState::Cold);
    let begin = Instant::now();
    let session = inference.session(&key, &source).await?;
    Ok((session, begin.elapsed()))
}
