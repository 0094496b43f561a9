//! Every address that the host answers.

use axum::routing::{MethodRouter, any, post};
use http::Method;
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

/// A protocol of others, whose addresses the description of the API does not have.
struct Protocol {
    /// How the router knows its addresses.
    patterns: &'static [&'static str],
    answer: MethodRouter<Context>,
    /// The addresses themselves.
    addresses: Vec<(Method, String)>,
}

fn protocols() -> [Protocol; 3] {
    const FUNCTION: &[&str] =
        &["/f/{tenant}/{function}", "/f/{tenant}/{function}/", "/f/{tenant}/{function}/{*path}"];
    [
        Protocol {
            patterns: FUNCTION,
            answer: any(invoke::invoke),
            addresses: FUNCTION.iter().map(|pattern| (Method::POST, (*pattern).to_owned())).collect(),
        },
        Protocol {
            patterns: &["/v2", "/v2/", "/v2/{*path}"],
            answer: any(oip::root),
            addresses: oip::addresses().collect(),
        },
        Protocol {
            patterns: &["/inference.GRPCInferenceService/{method}"],
            answer: post(oip_grpc::call),
            addresses: oip_grpc::addresses().collect(),
        },
    ]
}

/// Every address of this host that [`openapi`] does not describe, with the method that it takes.
pub fn undescribed_addresses() -> Vec<(Method, String)> {
    protocols().into_iter().flat_map(|protocol| protocol.addresses).collect()
}

pub(crate) fn app(context: Context) -> App {
    let (mut router, _) = api().split_for_parts();
    for Protocol { patterns, answer, .. } in protocols() {
        for pattern in patterns {
            router = router.route(pattern, answer.clone());
        }
    }
    let router = router
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::method_not_allowed)
        .with_state(context.clone());
    App::new(router, &context.config.allowed_hosts, context.identification.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Others could be there without a test that asks who may use them.
    #[test]
    fn every_address_is_described_or_of_a_protocol() {
        fn count(path: &Path) -> usize {
            // Hosts that only tests have.
            if path.file_stem().is_some_and(|name| name == "fuzzing" || name == "tests") {
                return 0;
            }
            if path.is_dir() {
                return fs::read_dir(path).unwrap().map(|entry| count(&entry.unwrap().path())).sum();
            }
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            [".route(", ".nest(", ".merge(", "_service("].iter().map(|call| code.matches(call).count()).sum()
        }
        let found = count(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        assert_eq!(found, 1, "only the loop in `app` gives the router an address by hand");
    }
}
