//! JSON in and out.

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::extract::FromRequest;
use crate::problem::Problem;
use crate::request::Request;

/// A body of JSON: as an argument read from the request, as an answer written to the response.
///
/// Whatever the `content-type` says, the body is read as JSON. Text that is not JSON is answered
/// with 400, and JSON that does not fit `T` with 422 and the field's path.
#[derive(Clone, Debug, PartialEq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    async fn from_request(request: &mut Request) -> Result<Self, Problem> {
        let body = request.take_bytes().await?;
        if body.is_empty() {
            return Err(Problem::bad_request("the body is empty, but JSON is expected"));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| problem(error.path(), error.inner()))?;
        deserializer.end().map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?;
        Ok(Self(value))
    }
}

fn problem(path: &Path, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    if error.classify() != Category::Data {
        return Problem::bad_request(format!("the body is not JSON: {message}"));
    }
    // The path tells a program where; line and column of a body that was generated tell nobody.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = message.strip_suffix(&place).unwrap_or(&message);
    match field(path, reason) {
        Some(field) => Problem::invalid(field, reason),
        None => Problem::new(422, "invalid_input", reason),
    }
}

/// The path of the field at fault; `None` if it is the body as a whole.
///
/// A missing field is reported by serde at the object that lacks it, so its name comes from the
/// message, whose form serde keeps.
pub(super) fn field(path: &Path, reason: &str) -> Option<String> {
    let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let known = path.iter().any(|segment| !matches!(segment, Segment::Unknown));
    match (known, missing) {
        (true, Some(missing)) => Some(format!("{path}.{missing}")),
        (true, None) => Some(path.to_string()),
        (false, missing) => missing.map(str::to_owned),
    }
}
