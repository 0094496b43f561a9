//! What invocations used, summed up: what a bill is made of.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Sums over invocations. Whole numbers of the smallest unit that is billed, so that sums are exact in
/// whatever order they are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Invocations that are billed.
    pub invocations: u64,
    /// Of those, the ones that ended with an error.
    pub failed: u64,
    /// Of those that are billed, the ones that had to wake a layer.
    pub cold: u64,
    /// Invocations that are not billed, because the host was at fault (it was overloaded, was shutting down,
    /// died or failed) or has refused them for a quota. Nothing else of them is in these sums.
    pub not_billed: u64,
    /// Time, in ms: of each invocation, without what it waited for a place and for waking, rounded up.
    pub duration_ms: u64,
    /// Memory times time, in MiB·ms: of each invocation, the most memory that its instance had, rounded up
    /// to MiB, times its duration.
    pub memory_mib_ms: u64,
    /// CPU time of handlers, in µs.
    pub cpu_us: u64,
    /// CPU time of models, in µs.
    pub inference_cpu_us: u64,
    /// Bytes of requests' bodies.
    pub request_bytes: u64,
    /// Bytes of responses' bodies.
    pub response_bytes: u64,
}

impl Add for Usage {
    type Output = Self;

    /// A sum that no number can hold stays at the largest: there is none in practice.
    fn add(self, other: Self) -> Self {
        Self {
            invocations: self.invocations.saturating_add(other.invocations),
            failed: self.failed.saturating_add(other.failed),
            cold: self.cold.saturating_add(other.cold),
            not_billed: self.not_billed.saturating_add(other.not_billed),
            duration_ms: self.duration_ms.saturating_add(other.duration_ms),
            memory_mib_ms: self.memory_mib_ms.saturating_add(other.memory_mib_ms),
            cpu_us: self.cpu_us.saturating_add(other.cpu_us),
            inference_cpu_us: self.inference_cpu_us.saturating_add(other.inference_cpu_us),
            request_bytes: self.request_bytes.saturating_add(other.request_bytes),
            response_bytes: self.response_bytes.saturating_add(other.response_bytes),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), Add::add)
    }
}
