//! What the ledger says about one invocation.

use jiff::Timestamp;
use modelet_types::{Code, FunctionName, InvocationId, RevisionNumber, TenantName, Usage};
use serde::Serialize;

/// How an invocation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The caller has the whole answer.
    Ok,
    /// It failed with this code. A code that only a newer host knows is read as `internal`.
    Failed(Code),
    /// The host died while the answer was being streamed.
    Interrupted,
}

impl Outcome {
    /// Whether the invocation is billed: not if the host was at fault, or has refused it for a quota.
    pub fn is_billed(self) -> bool {
        let free = [
            Code::Internal,
            Code::Overloaded,
            Code::ShuttingDown,
            Code::BackendUnavailable,
            Code::StorageUnavailable,
            Code::QuotaExceeded,
        ];
        match self {
            Self::Ok => true,
            Self::Failed(code) => !free.contains(&code),
            Self::Interrupted => false,
        }
    }

    /// The outcome in one word: `ok`, `interrupted` or the error's code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(code) => code.as_str(),
            Self::Interrupted => "interrupted",
        }
    }
}

/// The start of an invocation whose answer is a stream: written before its first byte.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct UsageOpened {
    /// The record's stable id.
    pub invocation: InvocationId,
    /// Who pays.
    pub tenant: TenantName,
    /// What was called.
    pub function: FunctionName,
    /// What answers.
    pub revision: RevisionNumber,
    /// When the request arrived; kept to the microsecond.
    pub started_at: Timestamp,
    /// The status that was sent.
    pub status: u16,
    /// Whether any layer had to wake.
    pub cold: bool,
}

/// One invocation, complete: what a bill is made of.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct UsageRecord {
    /// The record's stable id.
    pub invocation: InvocationId,
    /// Who pays.
    pub tenant: TenantName,
    /// What was called.
    pub function: FunctionName,
    /// What answered.
    pub revision: RevisionNumber,
    /// When the request arrived; kept to the microsecond.
    pub started_at: Timestamp,
    /// From the request's arrival to the last byte of the answer.
    pub wall_time_us: u64,
    /// Of that, waiting for admission.
    pub queue_time_us: u64,
    /// Of that, waiting for cold layers; 0 if all were warm.
    pub wake_time_us: u64,
    /// CPU time of the handler.
    pub cpu_time_us: u64,
    /// CPU time of the models, this invocation's share of a batch.
    pub inference_cpu_time_us: u64,
    /// The most memory that the handler's instance had at one time.
    pub peak_memory_bytes: u64,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// The status that the caller got.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether any layer had to wake.
    pub cold: bool,
}

impl UsageRecord {
    /// What of it is billed.
    pub fn usage(&self) -> Usage {
        if !self.outcome.is_billed() {
            return Usage { not_billed: 1, ..Usage::default() };
        }
        let waited_us = self.queue_time_us.saturating_add(self.wake_time_us);
        let duration_ms = self.wall_time_us.saturating_sub(waited_us).div_ceil(1_000);
        Usage {
            invocations: 1,
            failed: (self.outcome != Outcome::Ok).into(),
            cold: self.cold.into(),
            not_billed: 0,
            duration_ms,
            memory_mib_ms: self.peak_memory_bytes.div_ceil(1 << 20).saturating_mul(duration_ms),
            cpu_us: self.cpu_time_us,
            inference_cpu_us: self.inference_cpu_time_us,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
        }
    }

    /// The record of a stream that its host did not live to close: what was measured died with the
    /// host, so everything that is billed is 0.
    pub fn interrupted(opened: UsageOpened) -> Self {
        Self {
            invocation: opened.invocation,
            tenant: opened.tenant,
            function: opened.function,
            revision: opened.revision,
            started_at: opened.started_at,
            wall_time_us: 0,
            queue_time_us: 0,
            wake_time_us: 0,
            cpu_time_us: 0,
            inference_cpu_time_us: 0,
            peak_memory_bytes: 0,
            request_bytes: 0,
            response_bytes: 0,
            status: opened.status,
            outcome: Outcome::Interrupted,
            cold: opened.cold,
        }
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A record with a value of its own in every field.
    pub(crate) fn record() -> UsageRecord {
        UsageRecord {
            invocation: InvocationId::generate(),
            tenant: "acme".parse().unwrap(),
            function: "digits".parse().unwrap(),
            revision: RevisionNumber(7),
            started_at: Timestamp::from_microsecond(1_790_000_000_123_456).unwrap(),
            wall_time_us: 1_001,
            queue_time_us: 102,
            wake_time_us: 403,
            cpu_time_us: 204,
            inference_cpu_time_us: 305,
            peak_memory_bytes: 1 << 20,
            request_bytes: 300,
            response_bytes: 40,
            status: 200,
            outcome: Outcome::Ok,
            cold: true,
        }
    }

    /// The start of the stream that `record` would close.
    pub(crate) fn opened(record: &UsageRecord) -> UsageOpened {
        UsageOpened {
            invocation: record.invocation,
            tenant: record.tenant.clone(),
            function: record.function.clone(),
            revision: record.revision,
            started_at: record.started_at,
            status: record.status,
            cold: record.cold,
        }
    }
}
