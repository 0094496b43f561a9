//! The description of the API.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use crate::caller::Caller;
use crate::problem::{ProblemBody, Result};

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| crate::routes::openapi().to_json().expect("the description can be written as JSON"));

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "host",
    responses((status = 200, body = Object), (status = 401, body = ProblemBody)))]
pub(crate) async fn show(caller: Caller) -> Result<Response> {
    caller.known()?;
    Ok(([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response())
}
