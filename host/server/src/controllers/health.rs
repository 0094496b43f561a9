//! Health, metrics, and what answers where nothing else does.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{Method, Uri};
use modelet_observe::metrics;
use modelet_types::{Code, Permission, Problem};

use crate::caller::Caller;
use crate::context::Context;
use crate::problem::{ProblemBody, ProblemResponse, Result};

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "host", responses((status = 200, body = String, description = "`ok`")))]
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Whether the host takes requests: not while it shuts down. Wakes no function.
#[utoipa::path(get, path = "/readyz", tag = "host",
    responses((status = 200, body = String, description = "`ok`"), (status = 503, body = ProblemBody)))]
pub(crate) async fn ready(State(context): State<Context>) -> Response {
    if *context.stopping.borrow() {
        return ProblemResponse::from(Problem::new(Code::ShuttingDown, "the host is shutting down"))
            .into_response();
    }
    "ok\n".into_response()
}

/// Metrics of the host and of all tenants, in the OpenMetrics text format. For operators.
#[utoipa::path(get, path = "/metrics", tag = "host", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(context): State<Context>, caller: Caller) -> Result<Response> {
    caller.may(Permission::Operate)?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], context.metrics.encode()).into_response())
}

/// Answers an address that there is not.
pub(crate) async fn not_found(uri: Uri) -> ProblemResponse {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!(
        "there is nothing at {path}: functions are under /f/TENANT/, the API under \
         /api/v1/, the Open Inference Protocol under /v2/"
    );
    Problem::new(Code::NotFound, detail).into()
}

/// Answers a method that an address does not take.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> ProblemResponse {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        Code::MethodNotAllowed,
        format!("{path} does not take {method}; /openapi.json has what it takes"),
    )
    .into()
}
