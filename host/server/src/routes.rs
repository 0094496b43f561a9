//! Every address that the host answers.

use axum::routing::{any, post};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::Context;
use crate::controllers::{
    approvals, artifacts, changes, functions, health, host, invoke, keys, logs, oip, oip_grpc,
    openapi as document, revisions, secrets, state, tenants, traffic, usage,
};
use crate::middleware::App;

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
        .routes(routes!(functions::quotas, functions::set_quotas))
        .routes(routes!(revisions::list, revisions::create))
        .routes(routes!(revisions::show, revisions::delete))
        .routes(routes!(traffic::set))
        .routes(routes!(traffic::rollback))
        .routes(routes!(approvals::set))
        .routes(routes!(approvals::approve))
        .routes(routes!(approvals::reject))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::delete))
        .routes(routes!(state::show))
        .routes(routes!(logs::read))
        .routes(routes!(changes::list))
        .routes(routes!(changes::verify))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::identity))
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::show, tenants::delete))
        .routes(routes!(tenants::set_trust))
        .routes(routes!(tenants::set_plan))
        .routes(routes!(tenants::set_quotas))
        .routes(routes!(tenants::quotas))
        .routes(routes!(usage::show))
        .routes(routes!(usage::statement))
        .routes(routes!(host::show))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(document::show))
}

/// The description of the API, made from its code.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    let mut description = api().into_openapi();
    document::complete(&mut description);
    description
}

pub(crate) fn app(context: Context) -> App {
    let (router, _) = api().split_for_parts();
    let router = router
        .route("/f/{tenant}/{function}", any(invoke::invoke))
        .route("/f/{tenant}/{function}/", any(invoke::invoke))
        .route("/f/{tenant}/{function}/{*path}", any(invoke::invoke))
        .route("/inference.GRPCInferenceService/{method}", post(oip_grpc::call))
        .route("/v2", any(oip::root))
        .route("/v2/", any(oip::root))
        .route("/v2/{*path}", any(oip::root))
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::method_not_allowed)
        .with_state(context.clone());
    App::new(router, &context.config.allowed_hosts, context.identification.clone())
}
