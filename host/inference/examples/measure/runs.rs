//! How long runs of a session take, one after another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{InferenceError, RunRequest, Session};
use modelet_types::manifest::Priority;
use modelet_types::{ElementType, Tensor, TensorInfo};

const RUNS: usize = 2000;

/// The median and the 99th percentile of the time that runs on zeros take, and the mean of their CPU time.
/// Dimensions that a call chooses are `size`.
pub async fn runs(
    session: &Arc<Session>,
    size: usize,
) -> Result<(Duration, Duration, Duration), InferenceError> {
    let (mut times, mut cpu) = (Vec::new(), Duration::ZERO);
    let end = Instant::now() + Duration::from_secs(5);
    while times.len() < RUNS && Instant::now() < end {
        let request = request(session, size)?;
        let begin = Instant::now();
        cpu += session.run(request).await?.cpu_time;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    Ok((times[times.len() / 2], times[times.len() * 99 / 100], cpu / count))
}

/// A request with zeros.
pub fn request(session: &Arc<Session>, size: usize) -> Result<RunRequest, InferenceError> {
    let infos = &session.signature().inputs;
    let inputs = infos.iter().map(|info| Ok((info.name.clone(), zeros(info, size)?)));
    Ok(RunRequest {
        inputs: inputs.collect::<Result<_, InferenceError>>()?,
        outputs: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(60),
        max_output_bytes: u64::MAX,
        priority: Priority::Normal,
        unanswered: None,
    })
}

fn zeros(info: &TensorInfo, size: usize) -> Result<Tensor, InferenceError> {
    let shape: Vec<usize> = info.shape.iter().map(|dim| dim.unwrap_or(size)).collect();
    let count = shape.iter().product();
    match info.element_type {
        ElementType::I64 => Tensor::from_vec(&shape, vec![0_i64; count]),
        ElementType::I32 => Tensor::from_vec(&shape, vec![0_i32; count]),
        ElementType::F64 => Tensor::from_vec(&shape, vec![0_f64; count]),
        _ => Tensor::from_vec(&shape, vec![0_f32; count]),
    }
    .map_err(|e| InferenceError::InvalidInput(e.to_string()))
}
