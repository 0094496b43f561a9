//! Which layers of a function are awake.

use axum::Json;
use axum::extract::State;
use modelet_runtime::FunctionState;
use modelet_store::StoreError;

use crate::context::{Context, function_name};
use crate::extract::Path;
use crate::problem::{ProblemBody, Result};

/// Which layers of a function are awake: code, handler, instances, sessions.
#[utoipa::path(get, path = "/api/v1/functions/{function}/state", tag = "functions",
    params(("function" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<FunctionState>> {
    let name = function_name(&name)?;
    let state = context.runtime.state(context.tenant().as_str(), &name);
    Ok(Json(state.ok_or(StoreError::NoFunction(name))?))
}
