//! Every address that the host answers.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::any;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::Context;
use crate::controllers::{
    artifacts, functions, health, host, invoke, logs, openapi as document, revisions, secrets, state, traffic,
};
use crate::middleware;

/// The description around the addresses.
#[derive(OpenApi)]
#[openapi(info(
    title = "Modelet",
    description = "Deploys and calls model functions. Errors are `application/problem+json` with a stable `code`.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Description;

fn api() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(artifacts::show, artifacts::upload, artifacts::append))
        .routes(routes!(functions::list))
        .routes(routes!(functions::show, functions::delete))
        .routes(routes!(revisions::list, revisions::create))
        .routes(routes!(revisions::show, revisions::delete))
        .routes(routes!(traffic::set))
        .routes(routes!(traffic::rollback))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::delete))
        .routes(routes!(state::show))
        .routes(routes!(logs::read))
        .routes(routes!(host::show))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(document::show))
}

/// The description of the API, made from its code.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

pub(crate) fn app(context: Context) -> Router {
    let (router, _) = api().split_for_parts();
    router
        .route("/f/{tenant}/{function}", any(invoke::invoke))
        .route("/f/{tenant}/{function}/", any(invoke::invoke))
        .route("/f/{tenant}/{function}/{*path}", any(invoke::invoke))
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::method_not_allowed)
        .layer(from_fn_with_state(context.clone(), middleware::allowed))
        .layer(from_fn(middleware::request_id))
        .with_state(context)
}
