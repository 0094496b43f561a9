//! Functions: listed, shown, deleted.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use modelet_store::{Function, StoreError};
use modelet_types::{FunctionName, Permission, RevisionNumber, TenantName, TrafficSplit};
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::context::Context;
use crate::extract::Path;
use crate::problem::{ProblemBody, Result};

/// A function, as it is now.
#[derive(Serialize, ToSchema)]
pub(crate) struct FunctionBody {
    /// Its name.
    #[schema(value_type = String)]
    function: FunctionName,
    /// How its calls are divided. Empty: no revision is active.
    traffic: TrafficSplit,
    /// Its newest revision, active or not.
    #[schema(value_type = Option<u64>)]
    latest: Option<RevisionNumber>,
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
        let Function { name, traffic, latest, created_at, updated_at, .. } = function;
        Self { function: name, traffic, latest, created_at, updated_at, url }
    }
}

/// All functions.
#[derive(Serialize, ToSchema)]
pub(crate) struct FunctionsBody {
    /// By name.
    functions: Vec<FunctionBody>,
}

/// All functions by name.
#[utoipa::path(get, path = "/api/v1/functions", tag = "functions", responses((status = 200, body = FunctionsBody)))]
pub(crate) async fn list(State(context): State<Context>, caller: Caller) -> Result<Json<FunctionsBody>> {
    let identity = caller.may(Permission::Read)?;
    let functions = context.control.store().functions(&identity.tenant).await?;
    let functions = functions.into_iter().filter(|function| identity.covers(function.name.as_str()));
    let functions = functions.map(|function| FunctionBody::new(&identity.tenant, function)).collect();
    Ok(Json(FunctionsBody { functions }))
}

/// One function.
#[utoipa::path(get, path = "/api/v1/functions/{function}", tag = "functions",
    params(("function" = String, Path)),
    responses((status = 200, body = FunctionBody), (status = 404, body = ProblemBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<FunctionBody>> {
    let (identity, name) = caller.may_with(Permission::Read, &name)?;
    let function = context.control.store().function(&identity.tenant, &name).await?;
    let function = function.ok_or(StoreError::NoFunction(name))?;
    Ok(Json(FunctionBody::new(&identity.tenant, function)))
}

/// Deletes a function with all its revisions and its log.
#[utoipa::path(delete, path = "/api/v1/functions/{function}", tag = "functions",
    params(("function" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(crate) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let (identity, name) = caller.may_with(Permission::Deploy, &name)?;
    context.control.delete_function(&identity.actor, &identity.tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
