//! A model of a revision: what runs it and how, and the answers that it must give.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::invalid;
use crate::tensor_json::TensorLiteral;
use crate::{Digest, Problem};

/// One model of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The model file.
    pub artifact: Digest,
    /// What runs it.
    #[serde(default)]
    pub backend: BackendChoice,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Device::is_default")]
    pub device: Device,
    /// Threads for one run. One scales best when several requests run side by side.
    #[serde(default = "one")]
    pub threads: u32,
    /// How requests are put together into one run. Left out, each is a run of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batching: Option<Batching>,
    /// Whether answers are kept for the same inputs. Left out, none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_cache: Option<ResponseCache>,
    /// Answers that the model must give before the revision can be activated.
    #[serde(default)]
    pub golden: Vec<Golden>,
    /// Whether the golden inputs are also run each time that the model is loaded, before its first request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm_up: bool,
}

/// Where a model runs. This version has one place for it; others come beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The machine's processors.
    #[default]
    Cpu,
}

impl Device {
    /// The name in manifests, answers and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How requests to a model are put together into one run: along the first dimension of its inputs and
/// outputs, which every one of them leaves open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// The most rows of one run; 1 makes each request a run of its own.
    pub max_batch_size: u32,
    /// How long a request waits for others when a worker is free. Without any, a run takes what waits at
    /// the moment.
    pub max_queue_delay_us: u64,
    /// The inputs whose second dimension may differ between requests, and what fills the shorter ones up.
    pub pad: BTreeMap<String, i64>,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch_size: 32, max_queue_delay_us: 0, pad: BTreeMap::new() }
    }
}

impl Batching {
    fn check(&self, path: &str) -> Result<(), Problem> {
        let ranges = [
            ("max_batch_size", u64::from(self.max_batch_size), 1, 1_024),
            ("max_queue_delay_us", self.max_queue_delay_us, 0, 1_000_000),
        ];
        check_ranges(path, &ranges)
    }

    /// How long a request waits for others.
    pub fn max_queue_delay(&self) -> Duration {
        Duration::from_micros(self.max_queue_delay_us)
    }
}

/// Which answers of a model are kept, and given again for the same inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ResponseCache {
    /// The most bytes of answers. They count as memory of the model.
    pub max_bytes: u64,
    /// How long an answer is kept.
    pub ttl_ms: u64,
}

impl Default for ResponseCache {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, ttl_ms: 3_600_000 }
    }
}

impl ResponseCache {
    fn check(&self, path: &str) -> Result<(), Problem> {
        let ranges =
            [("max_bytes", self.max_bytes, 1 << 10, 256 << 20), ("ttl_ms", self.ttl_ms, 1, super::DAY_MS)];
        check_ranges(path, &ranges)
    }

    /// How long an answer is kept.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// Holds values against the lowest and the highest that are allowed.
fn check_ranges(path: &str, ranges: &[(&str, u64, u64, u64)]) -> Result<(), Problem> {
    match ranges.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value)) {
        Some((field, value, low, high)) => {
            let detail = format!("{value} is out of range: use {low} to {high}");
            Err(invalid(format!("{path}.{field}"), detail))
        }
        None => Ok(()),
    }
}

const fn one() -> u32 {
    1
}

impl ModelSpec {
    pub(super) fn check(&self, path: &str) -> Result<(), Problem> {
        if !(1..=64).contains(&self.threads) {
            return Err(invalid(
                format!("{path}.threads"),
                format!("{} is out of range: use 1 to 64", self.threads),
            ));
        }
        if let Some(batching) = &self.batching {
            batching.check(&format!("{path}.batching"))?;
        }
        if let Some(cache) = &self.response_cache {
            cache.check(&format!("{path}.response_cache"))?;
        }
        if self.warm_up && self.golden.is_empty() {
            let detail = "there are no golden inputs to warm up with: give some in `golden`";
            return Err(invalid(format!("{path}.warm_up"), detail.into()));
        }
        for (index, golden) in self.golden.iter().enumerate() {
            let path = format!("{path}.golden[{index}]");
            if !(golden.tolerance >= 0.0 && golden.tolerance.is_finite()) {
                return Err(invalid(format!("{path}.tolerance"), "use a number of at least 0".into()));
            }
            if golden.outputs.is_empty() {
                return Err(invalid(format!("{path}.outputs"), "name at least one output".into()));
            }
            for (side, tensors) in [("inputs", &golden.inputs), ("outputs", &golden.outputs)] {
                for (name, literal) in tensors {
                    literal
                        .to_tensor()
                        .map_err(|e| invalid(format!("{path}.{side}.{name}"), e.to_string()))?;
                }
            }
        }
        Ok(())
    }
}

/// Which backend runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The first that can load the model and gives its golden outputs; the answer says which and why.
    #[default]
    Auto,
    /// rten: built in, memory-safe, loads fastest.
    Rten,
    /// ONNX Runtime: complete and fast; needs its library on the host.
    Onnxruntime,
}

/// One known answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The inputs by name.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, Object>))]
    pub inputs: BTreeMap<String, TensorLiteral>,
    /// The expected outputs by name; outputs not named are not compared.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, Object>))]
    pub outputs: BTreeMap<String, TensorLiteral>,
    /// How far a float may be off, absolute or relative to the expected value, whichever allows
    /// more. Other element types must be equal.
    #[serde(default = "default_tolerance")]
    pub tolerance: f64,
}

/// The tolerance of golden outputs that state none.
pub const DEFAULT_TOLERANCE: f64 = 1e-4;

const fn default_tolerance() -> f64 {
    DEFAULT_TOLERANCE
}
