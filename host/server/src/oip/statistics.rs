//! What the calls of models came to, as Triton's extension has it: `docs/protocol/extension_statistics.md` of
//! triton-inference-server/server, whose JSON has the names of `grpc_service.proto`.

use std::time::UNIX_EPOCH;

use modelet_runtime::Total;
use modelet_types::{FunctionName, RevisionNumber};
use prost::Message;
use serde::Serialize;

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct ModelStatisticsResponse {
    #[prost(message, repeated, tag = "1")]
    pub model_stats: Vec<ModelStatistics>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct ModelStatistics {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    /// In milliseconds since 1970; 0 if there was none.
    #[prost(uint64, tag = "3")]
    pub last_inference: u64,
    #[prost(uint64, tag = "4")]
    pub inference_count: u64,
    #[prost(uint64, tag = "5")]
    pub execution_count: u64,
    #[prost(message, optional, tag = "6")]
    pub inference_stats: Option<InferStatistics>,
    #[prost(message, repeated, tag = "7")]
    pub batch_stats: Vec<InferBatchStatistics>,
    #[prost(message, repeated, tag = "8")]
    pub memory_usage: Vec<MemoryUsage>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct InferStatistics {
    #[prost(message, optional, tag = "1")]
    pub success: Option<StatisticDuration>,
    #[prost(message, optional, tag = "2")]
    pub fail: Option<StatisticDuration>,
    #[prost(message, optional, tag = "3")]
    pub queue: Option<StatisticDuration>,
    #[prost(message, optional, tag = "4")]
    pub compute_input: Option<StatisticDuration>,
    #[prost(message, optional, tag = "5")]
    pub compute_infer: Option<StatisticDuration>,
    #[prost(message, optional, tag = "6")]
    pub compute_output: Option<StatisticDuration>,
    #[prost(message, optional, tag = "7")]
    pub cache_hit: Option<StatisticDuration>,
    #[prost(message, optional, tag = "8")]
    pub cache_miss: Option<StatisticDuration>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct InferBatchStatistics {
    #[prost(uint64, tag = "1")]
    pub batch_size: u64,
    #[prost(message, optional, tag = "2")]
    pub compute_input: Option<StatisticDuration>,
    #[prost(message, optional, tag = "3")]
    pub compute_infer: Option<StatisticDuration>,
    #[prost(message, optional, tag = "4")]
    pub compute_output: Option<StatisticDuration>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct StatisticDuration {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(uint64, tag = "2")]
    pub ns: u64,
}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(crate) struct MemoryUsage {
    #[prost(string, tag = "1")]
    #[serde(rename = "type")]
    pub kind: String,
    #[prost(int64, tag = "2")]
    pub id: i64,
    #[prost(uint64, tag = "3")]
    pub byte_size: u64,
}

impl ModelStatistics {
    /// Of one revision.
    pub(crate) fn new(
        function: &FunctionName,
        revision: RevisionNumber,
        counted: &modelet_runtime::ModelStatistics,
    ) -> Self {
        let last = counted.last_answer.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let batch = |(rows, batch): (&u32, &modelet_runtime::BatchStatistics)| InferBatchStatistics {
            batch_size: u64::from(*rows),
            compute_input: duration(batch.input),
            compute_infer: duration(batch.run),
            compute_output: duration(batch.output),
        };
        let memory = |byte_size| MemoryUsage { kind: "CPU".into(), id: 0, byte_size };
        Self {
            name: function.to_string(),
            version: revision.to_string(),
            last_inference: last.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
            inference_count: counted.rows,
            execution_count: counted.executions,
            inference_stats: Some(InferStatistics {
                success: duration(counted.answered),
                fail: duration(counted.failed),
                queue: duration(counted.queue),
                compute_input: duration(counted.input),
                compute_infer: duration(counted.run),
                compute_output: duration(counted.output),
                cache_hit: duration(counted.cache_hits),
                cache_miss: duration(counted.cache_misses),
            }),
            batch_stats: counted.batches.iter().map(batch).collect(),
            memory_usage: counted.memory_bytes.map(memory).into_iter().collect(),
        }
    }
}

/// There is always one: its absence would say nothing else than nothing.
fn duration(total: Total) -> Option<StatisticDuration> {
    let Total { count, ns } = total;
    Some(StatisticDuration { count, ns })
}
