//! The traffic split of a function: set, and rolled back.

use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use http::request::Parts;
use modelet_types::{FunctionName, Permission, TrafficSplit};

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::functions::FunctionBody;
use crate::extract::Path;
use crate::extract::conditional::{self, IdempotencyKey, IfMatch, Tagged};
use crate::problem::{ProblemBody, Result};

/// The largest traffic split.
const MAX_SPLIT_BYTES: usize = 64 << 10;

/// Divides a function's calls anew. One share activates a revision. Where the function needs a second person,
/// the answer's `pending` has what waits for one.
#[utoipa::path(put, path = "/api/v1/functions/{function}/traffic", tag = "traffic",
    params(("function" = inline(FunctionName), Path), IfMatch),
    request_body = TrafficSplit,
    responses(
        (status = 200, body = FunctionBody, headers(("etag" = String))),
        (status = 404, body = ProblemBody), (status = 412, body = ProblemBody),
    ))]
pub(crate) async fn set(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Tagged<FunctionBody>> {
    let (identity, name) = caller.may_with(Permission::Deploy, &name)?;
    let precondition = conditional::precondition(&headers)?;
    let split: TrafficSplit = context.json(&headers, body, MAX_SPLIT_BYTES).await?;
    let changed = context.control.set_traffic(&identity.actor, &identity.tenant, &name, split, precondition);
    Ok(FunctionBody::tagged(&identity.tenant, changed.await?))
}

/// Goes back to the traffic split before the present one.
#[utoipa::path(post, path = "/api/v1/functions/{function}/rollback", tag = "traffic",
    params(
        ("function" = inline(FunctionName), Path), IfMatch,
        IdempotencyKey,
    ),
    responses(
        (status = 200, body = FunctionBody, headers(("etag" = String))), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 412, body = ProblemBody), (status = 422, body = ProblemBody),
    ))]
pub(crate) async fn rollback(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    parts: Parts,
) -> Result<Tagged<FunctionBody>> {
    let (identity, name) = caller.may_with(Permission::Deploy, &name)?;
    let precondition = conditional::precondition(&parts.headers)?;
    let actor = identity.actor.clone().with_request(conditional::request(&parts, b"")?);
    let function = context.control.rollback(&actor, &identity.tenant, &name, precondition).await?;
    Ok(FunctionBody::tagged(&identity.tenant, function))
}
