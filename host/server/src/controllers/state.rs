//! Which layers of a function are awake, and what it keeps.

use axum::Json;
use axum::extract::State;
use modelet_keyvalue::Owner;
use modelet_runtime::FunctionState;
use modelet_store::StoreError;
use modelet_types::{Code, FunctionName, Permission, Problem};
use serde::Serialize;

use crate::caller::Caller;
use crate::context::Context;
use crate::extract::Path;
use crate::problem::{ProblemBody, Result};

/// A function's layers, and what it keeps.
#[derive(Serialize)]
pub(crate) struct StateBody {
    #[serde(flatten)]
    layers: FunctionState,
    /// What it keeps through `wasi:keyvalue`, whichever revision has written it.
    key_value: UsageBody,
}

/// What a function keeps.
#[derive(Serialize)]
struct UsageBody {
    /// Keys.
    keys: u64,
    /// Bytes, as they count against `key_value.max_bytes`.
    bytes: u64,
}

/// Which layers of a function are awake (code, handler, instances, sessions), and what it keeps.
#[utoipa::path(get, path = "/api/v1/functions/{function}/state", tag = "functions",
    params(("function" = inline(FunctionName), Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<StateBody>> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let tenant = identity.tenant.clone();
    let function = context.control.store().function(&tenant, &name).await?;
    let (Some(function), Some(layers)) = (function, context.runtime.state(tenant.as_str(), &name)) else {
        return Err(StoreError::NoFunction(name).into());
    };
    let owner = Owner { tenant, function: name, id: function.id };
    let usage = context.key_values.usage(&owner).await.map_err(|error| {
        let code = match error {
            modelet_keyvalue::Error::ShuttingDown => Code::ShuttingDown,
            _ => Code::Internal,
        };
        Problem::new(code, error.to_string())
    })?;
    let key_value = UsageBody { keys: usage.keys, bytes: usage.bytes };
    Ok(Json(StateBody { layers, key_value }))
}
