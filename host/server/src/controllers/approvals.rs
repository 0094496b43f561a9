//! Activations that need a second person: which functions ask for one, and what that person says.

use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use http::request::Parts;
use modelet_store::{Actor, FunctionSetting, PendingActivation};
use modelet_types::{Code, FunctionName, Permission, Problem, TenantName, TrafficSplit};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::config::Authentication;
use crate::context::Context;
use crate::controllers::functions::{self, FunctionBody};
use crate::extract::Path;
use crate::extract::conditional::{self, IdempotencyKey, IfMatch, Tagged};
use crate::problem::{ProblemBody, Result};

const MAX_BODY_BYTES: usize = 1 << 10;

/// A traffic split that waits for a second person.
#[derive(Serialize, ToSchema)]
pub(crate) struct PendingBody {
    /// What it is approved or rejected by.
    activation: u64,
    /// What was asked for.
    traffic: TrafficSplit,
    /// Who asked for it, and cannot approve it.
    #[schema(value_type = String)]
    requested_by: Actor,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    requested_at: jiff::Timestamp,
}

impl From<PendingActivation> for PendingBody {
    fn from(pending: PendingActivation) -> Self {
        let PendingActivation { id, traffic, requested_by, requested_at, .. } = pending;
        Self { activation: id, traffic, requested_by, requested_at }
    }
}

/// Whether a function's traffic needs a second person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalBody {
    /// Whether it does.
    needed: bool,
}

/// Says whether a change of a function's traffic needs a second person. Without that need, nothing waits.
#[utoipa::path(put, path = "/api/v1/functions/{function}/approval", tag = "traffic",
    params(("function" = inline(FunctionName), Path), IfMatch), request_body = ApprovalBody,
    responses(
        (status = 200, body = FunctionBody, headers(("etag" = String))),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 412, body = ProblemBody),
    ))]
pub(crate) async fn set(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Tagged<FunctionBody>> {
    functions::set(&context, &caller, &name, &headers, async || {
    let ApprovalBody { needed } = context.json(&headers, body, MAX_BODY_BYTES).await?;
    if needed && context.config.authentication == Authentication::None {
        let detail = "this host asks for no keys, so that everybody is one person and none could approve: set \
                      `authentication = \"keys\"` first";
        return Err(Problem::new(Code::Conflict, detail).at("needed"));
    }
    Ok(FunctionSetting::NeedsApproval(needed))
    })
    .await
}

/// Makes an activation that waits. Whoever asked for it cannot approve it, nor with a key that they have made.
#[utoipa::path(post, path = "/api/v1/functions/{function}/activations/{activation}/approve", tag = "traffic",
    params(("function" = inline(FunctionName), Path), ("activation" = u64, Path), IdempotencyKey),
    responses(
        (status = 200, body = FunctionBody, headers(("etag" = String))), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody),
    ))]
pub(crate) async fn approve(
    State(context): State<Context>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    parts: Parts,
) -> Result<Tagged<FunctionBody>> {
    let Question { tenant, actor, function, id } = Question::of(&caller, path, &parts)?;
    let function = context.control.approve_activation(&actor, tenant, &function, id).await?;
    Ok(FunctionBody::tagged(tenant, function))
}

/// Does away with an activation that waits. Whoever asked for it may do so, too.
#[utoipa::path(post, path = "/api/v1/functions/{function}/activations/{activation}/reject", tag = "traffic",
    params(("function" = inline(FunctionName), Path), ("activation" = u64, Path), IdempotencyKey),
    responses(
        (status = 200, body = FunctionBody, headers(("etag" = String))), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody),
    ))]
pub(crate) async fn reject(
    State(context): State<Context>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    parts: Parts,
) -> Result<Tagged<FunctionBody>> {
    let Question { tenant, actor, function, id } = Question::of(&caller, path, &parts)?;
    let function = context.control.reject_activation(&actor, tenant, &function, id).await?;
    Ok(FunctionBody::tagged(tenant, function))
}

/// Which activation somebody answers for, and who that is.
struct Question<'c> {
    tenant: &'c TenantName,
    actor: Actor,
    function: FunctionName,
    id: u64,
}

impl<'c> Question<'c> {
    fn of(
        caller: &'c Caller,
        (name, activation): (String, String),
        parts: &Parts,
    ) -> std::result::Result<Self, Problem> {
        let (identity, function) = caller.may_with(Permission::Deploy, &name)?;
        let id = activation.parse().map_err(|_| {
            let shown: String = activation.chars().take(40).collect();
            Problem::new(Code::InvalidInput, format!("`{shown}` is not the number of an activation"))
                .at("activation")
        })?;
        let actor = identity.actor.clone().with_request(conditional::request(parts, b"")?);
        Ok(Self { tenant: &identity.tenant, actor, function, id })
    }
}
