//! The description of the API.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| crate::routes::openapi().to_json().expect("the description can be written as JSON"));

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "host", responses((status = 200, body = Object)))]
pub(crate) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}
