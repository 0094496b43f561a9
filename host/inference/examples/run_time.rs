//! Measures a model in both backends: the load, runs on the pool, and runs inline.
//!
//! `cargo run --release -p modelet-inference --example run_time -- MODEL [LIBRARY] [BATCH]`. Inputs
//! are zeros; dimensions that a call chooses are BATCH, or 1.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{
    BackendId, Inference, InferenceConfig, InferenceError, ModelSource, RunRequest, Session, SessionKey,
};
use modelet_types::{Digest, ElementType, TenantName, Tensor, TensorInfo, Trust};

const RUNS: usize = 2000;

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
            let (median, cpu) = measure(&session, batch).await?;
            println!("{backend} {mode}: load {load:.1?}, run {median:.1?} median, {cpu:.1?} CPU");
        }
    }
    Ok(())
}

async fn measure(session: &Arc<Session>, batch: usize) -> Result<(Duration, Duration), InferenceError> {
    let inputs: Vec<(String, Tensor)> = session
        .signature()
        .inputs
        .iter()
        .map(|info| Ok((info.name.clone(), zeros(info, batch)?)))
        .collect::<Result<_, InferenceError>>()?;
    let (mut times, mut cpu) = (Vec::new(), Duration::ZERO);
    let end = Instant::now() + Duration::from_secs(5);
    while times.len() < RUNS && Instant::now() < end {
        let begin = Instant::now();
        let deadline = begin + Duration::from_secs(60);
        let request =
            RunRequest { inputs: inputs.clone(), outputs: Vec::new(), deadline, max_output_bytes: u64::MAX };
        cpu += session.run(request).await?.cpu_time;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], cpu / u32::try_from(times.len()).unwrap_or(u32::MAX)))
}

fn zeros(info: &TensorInfo, batch: usize) -> Result<Tensor, InferenceError> {
    let shape: Vec<usize> = info.shape.iter().map(|dim| dim.unwrap_or(batch)).collect();
    let count = shape.iter().product();
    match info.element_type {
        ElementType::I64 => Tensor::from_vec(&shape, vec![0_i64; count]),
        ElementType::I32 => Tensor::from_vec(&shape, vec![0_i32; count]),
        ElementType::F64 => Tensor::from_vec(&shape, vec![0_f64; count]),
        _ => Tensor::from_vec(&shape, vec![0_f32; count]),
    }
    .map_err(|e| InferenceError::InvalidInput(e.to_string()))
}
