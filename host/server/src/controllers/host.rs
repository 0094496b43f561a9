//! What this host is and can do.

use axum::Json;
use axum::extract::State;
use modelet_engine::Allocator;
use modelet_inference::BackendStatus;
use modelet_types::Limits;
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::Context;
use crate::problem::Result;

/// What this host is and can do.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostBody {
    /// Its version.
    version: &'static str,
    /// The inference backends.
    backends: Vec<BackendBody>,
    /// Instances that may live at one time without further allocation; `null` if each is allocated
    /// on demand.
    pooled_instances: Option<u32>,
    /// The highest limits that a manifest may ask for.
    limits: Limits,
    /// The most that a manifest may ask to keep.
    key_value: KeyValueBody,
}

/// What functions may keep.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyValueBody {
    /// The most bytes of one function; 0: no function keeps anything.
    max_bytes: u64,
}

/// An inference backend.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackendBody {
    /// Its name in a manifest.
    name: &'static str,
    /// Whether models can run on it.
    available: bool,
    /// Its version, if it is available.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Why it is not available and what helps, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<BackendStatus> for BackendBody {
    fn from(status: BackendStatus) -> Self {
        let available = status.available();
        Self { name: status.backend.as_str(), available, version: status.version, reason: status.unavailable }
    }
}

/// What this host is and can do.
#[utoipa::path(get, path = "/api/v1/host", tag = "host", responses((status = 200, body = HostBody)))]
pub(crate) async fn show(State(context): State<Context>, caller: Caller) -> Result<Json<HostBody>> {
    caller.known()?;
    Ok(Json(HostBody::new(&context)))
}

impl HostBody {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            backends: context.inference.backends().into_iter().map(Into::into).collect(),
            pooled_instances: match context.engine.allocator() {
                Allocator::Pooling { instances } => Some(instances),
                Allocator::OnDemand => None,
            },
            limits: context.config.limits.clone(),
            key_value: KeyValueBody { max_bytes: context.config.key_value.max_bytes },
        }
    }
}
