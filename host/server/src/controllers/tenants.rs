//! Tenants: made, listed, trusted, deleted. For operators.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use modelet_runtime::InUse;
use modelet_store::{Actor, Tenant, TenantSetting};
use modelet_types::{Permission, Problem, Quotas, TenantName, Trust, Usage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::{self, Context};
use crate::extract::conditional::{self, IdempotencyKey, IfMatch, Tagged};
use crate::extract::page::{self, PageParams};
use crate::extract::{Path, Query};
use crate::problem::{ProblemBody, Result};

const MAX_BODY_BYTES: usize = 4 << 10;

/// A tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantBody {
    /// Its name.
    tenant: TenantName,
    /// How far it is trusted.
    trust: Trust,
    /// What it pays, by the name of a plan; `null`: the plan `default`, if the host has it.
    plan: Option<String>,
    /// The most that it may use.
    quotas: Quotas,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: jiff::Timestamp,
    /// Who made it.
    #[schema(value_type = String)]
    created_by: Actor,
}

impl TenantBody {
    /// With the tag of what the operator says of it.
    fn tagged(tenant: Tenant) -> Tagged<Self> {
        Tagged { tag: tenant.tag(), body: tenant.into() }
    }
}

impl From<Tenant> for TenantBody {
    fn from(tenant: Tenant) -> Self {
        let Tenant { name, trust, plan, quotas, created_at, created_by } = tenant;
        Self { tenant: name, trust, plan, quotas, created_at, created_by }
    }
}

/// Tenants.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantsBody {
    /// By name.
    tenants: Vec<TenantBody>,
    /// What to ask for next with `after`; `null` if these are the last.
    next: Option<TenantName>,
}

/// A tenant that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenantBody {
    /// Its name, which no other tenant has or had.
    tenant: TenantName,
    /// How far it is trusted; left out: not.
    #[serde(default = "untrusted")]
    trust: Trust,
}

const fn untrusted() -> Trust {
    Trust::Untrusted
}

/// How far a tenant is trusted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustBody {
    /// The level.
    trust: Trust,
}

/// Tenants by name.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", params(PageParams<TenantName>),
    responses((status = 200, body = TenantsBody)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Query(params): Query<PageParams<TenantName>>,
) -> Result<Json<TenantsBody>> {
    caller.may(Permission::Operate)?;
    let page = params.page()?;
    let mut tenants = context.control.store().tenants(&page::and_one_more(&page)).await?;
    let next = page::cut(&mut tenants, page.limit, |tenant| tenant.name.clone());
    Ok(Json(TenantsBody { tenants: tenants.into_iter().map(Into::into).collect(), next }))
}

/// One tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = inline(TenantName), Path)),
    responses((status = 200, body = TenantBody, headers(("etag" = String))), (status = 404, body = ProblemBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<Tagged<TenantBody>> {
    caller.may(Permission::Operate)?;
    let tenant = context::name(&tenant, "tenant")?;
    Ok(TenantBody::tagged(context.control.store().tenant(&tenant).await?))
}

/// Makes a tenant. The operator makes its first key: `POST /api/v1/keys` with `modelet-tenant`.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "tenants", request_body = NewTenantBody,
    params(IdempotencyKey),
    responses(
        (status = 201, body = TenantBody), (status = 409, body = ProblemBody),
    ))]
pub(crate) async fn create(
    State(context): State<Context>,
    caller: Caller,
    parts: Parts,
    body: Body,
) -> Result<(StatusCode, Tagged<TenantBody>)> {
    let identity = caller.may(Permission::Operate)?;
    let (new, actor) = context.json_once(&identity.actor, &parts, body, MAX_BODY_BYTES).await?;
    let NewTenantBody { tenant, trust } = new;
    let tenant = context.control.create_tenant(&actor, &tenant, trust).await?;
    Ok((StatusCode::CREATED, TenantBody::tagged(tenant)))
}

/// Sets what `read` reads out of the request, for an operator.
async fn set(
    context: &Context,
    caller: &Caller,
    tenant: &str,
    headers: &HeaderMap,
    read: impl AsyncFnOnce() -> std::result::Result<TenantSetting, Problem>,
) -> Result<Tagged<TenantBody>> {
    // Before anything of the body is received.
    let identity = caller.may(Permission::Operate)?;
    let tenant = context::name(tenant, "tenant")?;
    let precondition = conditional::precondition(headers)?;
    let set = context.control.set_tenant(&identity.actor, &tenant, read().await?, precondition);
    Ok(TenantBody::tagged(set.await?))
}

/// Says how far a tenant is trusted.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/trust", tag = "tenants",
    params(("tenant" = inline(TenantName), Path), IfMatch), request_body = TrustBody,
    responses(
        (status = 200, body = TenantBody, headers(("etag" = String))),
        (status = 404, body = ProblemBody), (status = 412, body = ProblemBody),
    ))]
pub(crate) async fn set_trust(
    State(context): State<Context>,
    caller: Caller,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Tagged<TenantBody>> {
    set(&context, &caller, &tenant, &headers, async || {
        let TrustBody { trust } = context.json(&headers, body, MAX_BODY_BYTES).await?;
        Ok(TenantSetting::Trust(trust))
    })
    .await
}

/// What a tenant pays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanBody {
    /// The name of a plan of the host's configuration.
    plan: String,
}

/// Gives a tenant a plan: its statements follow the plan's prices, those of months that have ended too.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/plan", tag = "tenants",
    params(("tenant" = inline(TenantName), Path), IfMatch), request_body = PlanBody,
    responses(
        (status = 200, body = TenantBody, headers(("etag" = String))),
        (status = 404, body = ProblemBody), (status = 412, body = ProblemBody),
    ))]
pub(crate) async fn set_plan(
    State(context): State<Context>,
    caller: Caller,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Tagged<TenantBody>> {
    set(&context, &caller, &tenant, &headers, async || {
        let PlanBody { plan } = context.json(&headers, body, MAX_BODY_BYTES).await?;
        Ok(TenantSetting::Plan(plan))
    })
    .await
}

/// Sets the quotas of a tenant, in place of those that it has.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/quotas", tag = "tenants",
    params(("tenant" = inline(TenantName), Path), IfMatch), request_body = Quotas,
    responses(
        (status = 200, body = TenantBody, headers(("etag" = String))),
        (status = 404, body = ProblemBody), (status = 412, body = ProblemBody),
    ))]
pub(crate) async fn set_quotas(
    State(context): State<Context>,
    caller: Caller,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Tagged<TenantBody>> {
    set(&context, &caller, &tenant, &headers, async || {
        let quotas: Quotas = context.json(&headers, body, MAX_BODY_BYTES).await?;
        Ok(TenantSetting::Quotas(quotas))
    })
    .await
}

/// What is used now, and has been used this month.
#[derive(Serialize, ToSchema)]
pub(crate) struct InUseBody {
    /// Invocations that run or wait now.
    running: u32,
    /// Of those, the ones that wait for a place.
    waiting: u32,
    /// Memory that is set aside for them, in bytes.
    memory_bytes: u64,
    /// Of that, what is for tensors.
    tensor_bytes: u64,
    /// What those of this month, UTC, that have ended have used.
    month: Usage,
}

impl From<InUse> for InUseBody {
    fn from(in_use: InUse) -> Self {
        let InUse { running, waiting, memory_bytes, tensor_bytes, used } = in_use;
        Self { running, waiting, memory_bytes, tensor_bytes, month: used }
    }
}

/// What a tenant may use, and what it uses.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuotasBody {
    /// The tenant.
    tenant: TenantName,
    /// The most that it may use.
    quotas: Quotas,
    #[serde(flatten)]
    in_use: InUseBody,
}

/// What the tenant may use, and what it uses now and has used this month.
#[utoipa::path(get, path = "/api/v1/quotas", tag = "usage",
    responses((status = 200, body = QuotasBody)))]
pub(crate) async fn quotas(State(context): State<Context>, caller: Caller) -> Result<Json<QuotasBody>> {
    let identity = caller.may(Permission::Audit)?;
    let quotas = context.control.store().tenant(&identity.tenant).await?.quotas;
    let in_use = context.runtime.in_use(&identity.tenant).into();
    Ok(Json(QuotasBody { tenant: identity.tenant.clone(), quotas, in_use }))
}

/// Deletes a tenant that has no functions, with its keys.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = inline(TenantName), Path), IfMatch),
    responses(
        (status = 204), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody),
    ))]
pub(crate) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Path(tenant): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let identity = caller.may(Permission::Operate)?;
    let tenant = context::name(&tenant, "tenant")?;
    let precondition = conditional::precondition(&headers)?;
    context.control.delete_tenant(&identity.actor, &tenant, precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}
