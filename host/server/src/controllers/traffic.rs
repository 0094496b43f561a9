//! The traffic split of a function: set, and rolled back.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use modelet_types::{Permission, TrafficSplit};

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::functions::FunctionBody;
use crate::extract::Path;
use crate::problem::{ProblemBody, Result};

/// The largest traffic split.
const MAX_SPLIT_BYTES: usize = 64 << 10;

/// Divides a function's calls anew. One share activates a revision.
#[utoipa::path(put, path = "/api/v1/functions/{function}/traffic", tag = "traffic",
    params(("function" = String, Path)),
    request_body = TrafficSplit,
    responses(
        (status = 200, body = FunctionBody), (status = 400, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 408, body = ProblemBody),
        (status = 413, body = ProblemBody), (status = 415, body = ProblemBody),
    ))]
pub(crate) async fn set(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<FunctionBody>> {
    let (identity, name) = caller.may_with(Permission::Deploy, &name)?;
    let split: TrafficSplit = context.json(&headers, body, MAX_SPLIT_BYTES).await?;
    let function = context.control.set_traffic(&identity.actor, &identity.tenant, &name, split).await?;
    Ok(Json(FunctionBody::new(&identity.tenant, function)))
}

/// Goes back to the traffic split before the present one.
#[utoipa::path(post, path = "/api/v1/functions/{function}/rollback", tag = "traffic",
    params(("function" = String, Path)),
    responses((status = 200, body = FunctionBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(crate) async fn rollback(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<FunctionBody>> {
    let (identity, name) = caller.may_with(Permission::Deploy, &name)?;
    let function = context.control.rollback(&identity.actor, &identity.tenant, &name).await?;
    Ok(Json(FunctionBody::new(&identity.tenant, function)))
}
