//! The description of the API.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, HeaderBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Schema};

use crate::caller::Caller;
use crate::problem::{PROBLEM_JSON, Result};

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| crate::routes::openapi().to_json().expect("the description can be written as JSON"));

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "host", responses((status = 200, body = Object)))]
pub(crate) async fn show(caller: Caller) -> Result<Response> {
    caller.known()?;
    Ok(([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response())
}

const JSON: &str = "application/json";
const KEY: &str = "key";
const PROBLEM: &str = "#/components/schemas/ProblemBody";
/// What answers without a key.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Adds what holds for every operation: who may ask, how errors look, which header each answer has.
pub(crate) fn complete(description: &mut OpenApi) {
    let components = description.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert(KEY.to_owned(), bearer.into());
    for (path, item) in &mut description.paths.paths {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch, &mut item.head];
        for operation in operations.into_iter().flatten() {
            let is_open = OPEN.contains(&path.as_str());
            operation.security = (!is_open).then(|| vec![SecurityRequirement::new(KEY, [""; 0])]);
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    bound(&mut parameter.schema);
                }
            }
            complete_responses(operation);
        }
    }
}

/// Says of a number without a bound what the host reads at most.
fn bound(schema: &mut Option<RefOr<Schema>>) {
    if let Some(RefOr::T(Schema::Object(number))) = schema
        && number.format == Some(SchemaFormat::KnownFormat(KnownFormat::UInt64))
    {
        number.maximum.get_or_insert(usize::MAX.into());
    }
}

fn complete_responses(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    let problem = || Content::new(Some(Ref::new(PROBLEM)));
    let other = ResponseBuilder::new()
        .description("Anything else: an error, whose `code` says what it is.")
        .content(PROBLEM_JSON, problem())
        .build();
    responses.entry("default".to_owned()).or_insert_with(|| other.into());
    for response in responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let is_problem = |content: &RefOr<Content>| {
            let RefOr::T(content) = content else { return false };
            matches!(&content.schema, Some(RefOr::Ref(schema)) if schema.ref_location == PROBLEM)
        };
        if response.content.get(JSON).is_some_and(is_problem) {
            response.content.clear();
            response.content.insert(PROBLEM_JSON.to_owned(), problem().into());
        }
        let id =
            HeaderBuilder::new().description(Some("which request this answers, as logs call it")).build();
        response.headers.insert(crate::middleware::REQUEST_ID.to_string(), id.into());
    }
}
