//! Modelet's vocabulary: what every other crate means by a tenant, a revision, a tensor, an error.
//!
//! Plain data with its validation. No input or output, no async runtime, no SQL, no wasm.

pub mod access;
pub mod digest;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod id;
pub mod limits;
pub mod log;
pub mod manifest;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod outbound;
pub mod plan;
pub mod quota;
pub mod secret;
pub mod split;
pub mod tensor;
pub mod tensor_json;
pub mod usage;

pub use access::{ApiKeyText, KeyId, Permission, Role, Trust};
pub use digest::{Digest, Digester};
pub use error::{Code, Problem};
pub use id::{FunctionName, InvocationId, ModelName, RevisionNumber, SecretName, TenantName};
pub use limits::{Limits, StatedLimits};
pub use manifest::{Ceiling, RevisionSpec};
pub use quota::{InvocationQuotas, Quotas};
pub use secret::{SecretValue, Secrets};
pub use split::TrafficSplit;
pub use tensor::{ElementType, Signature, Tensor, TensorInfo};
pub use usage::Usage;
