//! What is asked of ONNX Runtime when it makes a session.

use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::prepared::folder::{GRAPH, WEIGHTS};
use super::threads::MeteredThreads;
use crate::cpu_time::SharedMeter;

/// Weights from this size on stand in the file that is mapped; smaller ones stay in the graph.
const MAPPED_FROM_BYTES: &str = "1024";

/// A session that runs on `threads`, with the clocks of the others than the caller's on `meter`.
pub fn running(
    environment: &Environment,
    threads: usize,
    meter: Option<&Arc<SharedMeter>>,
) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // A thread that spins for the next run takes the CPU from a neighbour.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // Patterns are kept for every input shape ever seen, so callers could grow them at will.
        .with_memory_pattern(false)?
        // Failures are returned to the caller as well; the log is for what is not.
        .with_log_level(LogLevel::Error)?;
    Ok(match meter {
        Some(meter) => builder.with_thread_manager(MeteredThreads(Arc::clone(meter)))?,
        None => builder,
    })
}

/// A session that writes what it has made of its model into `folder`: the graph, optimised as far as for a
/// session that runs, and the weights, also in the order in which kernels want them.
pub fn preparing(environment: &Environment, folder: &Path) -> ort::Result<SessionBuilder> {
    Ok(running(environment, 1, None)?
        .with_optimized_model_path(folder.join(GRAPH))?
        .with_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)?
        .with_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes",
            MAPPED_FROM_BYTES,
        )?
        .with_config_entry("session.save_external_prepacked_constant_initializers", "1")?)
}

/// A session of a graph that is optimised already.
pub fn as_it_stands(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    Ok(builder.with_optimization_level(GraphOptimizationLevel::Disable)?)
}
