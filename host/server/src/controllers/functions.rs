//! Functions: listed, shown, held to quotas, deleted.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use modelet_store::{Function, FunctionSetting, Page, StoreError};
use modelet_types::{
    FunctionName, InvocationQuotas, Permission, Problem, RevisionNumber, TenantName, TrafficSplit,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::approvals::PendingBody;
use crate::controllers::tenants::InUseBody;
use crate::extract::conditional::{self, IfMatch, Tagged};
use crate::extract::page::{self, PageParams};
use crate::extract::{Path, Query};
use crate::problem::{ProblemBody, Result};

const MAX_QUOTAS_BYTES: usize = 4 << 10;

/// A function, as it is now.
#[derive(Serialize, ToSchema)]
pub(crate) struct FunctionBody {
    /// Its name.
    function: FunctionName,
    /// How its calls are divided. Empty: no revision is active.
    traffic: TrafficSplit,
    /// Its newest revision, active or not.
    latest: Option<RevisionNumber>,
    /// The most that its invocations may use, within what the tenant may.
    quotas: InvocationQuotas,
    /// Whether a change of its traffic needs a second person.
    needs_approval: bool,
    /// What waits for that person; `null`: nothing.
    pending: Option<PendingBody>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: jiff::Timestamp,
    /// Where it is called.
    url: String,
}

impl FunctionBody {
    pub(crate) fn new(tenant: &TenantName, function: Function) -> Self {
        let url = format!("/f/{tenant}/{}/", function.name);
        let Function {
            name, traffic, latest, quotas, approval_since, pending, created_at, updated_at, ..
        } = function;
        let (needs_approval, pending) = (approval_since.is_some(), pending.map(Into::into));
        Self { function: name, traffic, latest, quotas, needs_approval, pending, created_at, updated_at, url }
    }

    /// With the tag of its state.
    pub(crate) fn tagged(tenant: &TenantName, function: Function) -> Tagged<Self> {
        Tagged { tag: function.tag(), body: Self::new(tenant, function) }
    }
}

/// Functions.
#[derive(Serialize, ToSchema)]
pub(crate) struct FunctionsBody {
    /// By name.
    functions: Vec<FunctionBody>,
    /// What to ask for next with `after`; `null` if these are the last.
    next: Option<FunctionName>,
}

/// Functions by name.
#[utoipa::path(get, path = "/api/v1/functions", tag = "functions", params(PageParams<FunctionName>),
    responses((status = 200, body = FunctionsBody)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Query(params): Query<PageParams<FunctionName>>,
) -> Result<Json<FunctionsBody>> {
    let identity = caller.may(Permission::Read)?;
    let page = params.page()?;
    let more = page::and_one_more(&page);
    let mut functions = match &identity.functions {
        None => context.control.store().functions(&identity.tenant, &more).await?,
        Some(names) => among(&context, &identity.tenant, names, &more).await?,
    };
    let next = page::cut(&mut functions, page.limit, |function| function.name.clone());
    let functions = functions.into_iter().map(|function| FunctionBody::new(&identity.tenant, function));
    Ok(Json(FunctionsBody { functions: functions.collect(), next }))
}

/// Those of a page whose names are among the few that a key is for.
async fn among(
    context: &Context,
    tenant: &TenantName,
    names: &[FunctionName],
    page: &Page<FunctionName>,
) -> Result<Vec<Function>> {
    let names: BTreeSet<_> = names.iter().filter(|name| page.after.as_ref() < Some(*name)).collect();
    let mut functions = Vec::new();
    for name in names {
        if functions.len() == page.limit as usize {
            break;
        }
        functions.extend(context.control.store().function(tenant, name).await?);
    }
    Ok(functions)
}

/// One function.
#[utoipa::path(get, path = "/api/v1/functions/{function}", tag = "functions",
    params(("function" = inline(FunctionName), Path)),
    responses((status = 200, body = FunctionBody, headers(("etag" = String))), (status = 404, body = ProblemBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Tagged<FunctionBody>> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let function = context.control.store().function(&identity.tenant, &name).await?;
    let function = function.ok_or(StoreError::NoFunction(name))?;
    Ok(FunctionBody::tagged(&identity.tenant, function))
}

/// Sets what `read` reads out of the request, for the function's owner.
pub(crate) async fn set(
    context: &Context,
    caller: &Caller,
    name: &str,
    headers: &HeaderMap,
    read: impl AsyncFnOnce() -> std::result::Result<FunctionSetting, Problem>,
) -> Result<Tagged<FunctionBody>> {
    // Before anything of the body is received.
    let (identity, name) = caller.may_with(Permission::Manage, name)?;
    let precondition = conditional::precondition(headers)?;
    let (actor, tenant) = (&identity.actor, &identity.tenant);
    let set = context.control.set_function(actor, tenant, &name, read().await?, precondition);
    Ok(FunctionBody::tagged(tenant, set.await?))
}

/// Sets the quotas of a function, in place of those that it has.
#[utoipa::path(put, path = "/api/v1/functions/{function}/quotas", tag = "functions",
    params(("function" = inline(FunctionName), Path), IfMatch), request_body = InvocationQuotas,
    responses(
        (status = 200, body = FunctionBody, headers(("etag" = String))),
        (status = 404, body = ProblemBody), (status = 412, body = ProblemBody),
    ))]
pub(crate) async fn set_quotas(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Tagged<FunctionBody>> {
    set(&context, &caller, &name, &headers, async || {
        let quotas: InvocationQuotas = context.json(&headers, body, MAX_QUOTAS_BYTES).await?;
        Ok(FunctionSetting::Quotas(quotas))
    })
    .await
}

/// What a function may use, and what it uses.
#[derive(Serialize, ToSchema)]
pub(crate) struct FunctionQuotasBody {
    /// The function.
    function: FunctionName,
    /// The most that its invocations may use, within what the tenant may.
    quotas: InvocationQuotas,
    #[serde(flatten)]
    in_use: InUseBody,
}

/// What a function may use, and what it uses now and has used this month.
#[utoipa::path(get, path = "/api/v1/functions/{function}/quotas", tag = "usage",
    params(("function" = inline(FunctionName), Path)),
    responses((status = 200, body = FunctionQuotasBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn quotas(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<FunctionQuotasBody>> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let function = context.control.store().function(&identity.tenant, &name).await?;
    let quotas = function.ok_or_else(|| StoreError::NoFunction(name.clone()))?.quotas;
    let in_use = context.runtime.in_use_by(&identity.tenant, &name).unwrap_or_default().into();
    Ok(Json(FunctionQuotasBody { function: name, quotas, in_use }))
}

/// Deletes a function with all its revisions and its log. One that needs a second person for its traffic is not
/// deleted.
#[utoipa::path(delete, path = "/api/v1/functions/{function}", tag = "functions",
    params(("function" = inline(FunctionName), Path), IfMatch),
    responses(
        (status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 412, body = ProblemBody),
    ))]
pub(crate) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let (identity, name) = caller.may_with(Permission::Deploy, &name)?;
    let precondition = conditional::precondition(&headers)?;
    context.control.delete_function(&identity.actor, &identity.tenant, &name, precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
