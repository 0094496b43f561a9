//! What controllers take out of a request, with refusals that are problems.
//!
//! axum's own extractors refuse in plain text; these name the field.

use axum::extract::{FromRequestParts, RawQuery};
use http::request::Parts;
use modelet_types::{Code, Problem};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::problem::ProblemResponse;

/// The names in the address.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(names)) => Ok(Self(names)),
            Err(rejection) => Err(Problem::new(Code::InvalidInput, rejection.body_text()).into()),
        }
    }
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let Ok(RawQuery(query)) = RawQuery::from_request_parts(parts, state).await;
        let query = query.unwrap_or_default();
        let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(deserializer)
            .map(Self)
            .map_err(|error| refusal(Code::InvalidInput, error).into())
    }
}

/// Reads JSON; `code` is that of the refusal.
///
/// # Errors
/// For text that is not JSON or does not fit `T`, naming the field.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8], code: Code) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| refusal(code, error))?;
    json.end().map_err(|error| Problem::new(code, error.to_string()))?;
    Ok(value)
}

/// A value that does not fit, as a problem at its field.
///
/// A missing field is reported by serde at the object that lacks it, so its name comes from the
/// message, whose form serde keeps.
fn refusal<E: std::fmt::Display>(code: Code, error: serde_path_to_error::Error<E>) -> Problem {
    let known = error.path().iter().any(|segment| !matches!(segment, Segment::Unknown));
    let path = known.then(|| error.path().to_string());
    let message = error.into_inner().to_string();
    let missing = message
        .split_once("missing field `")
        .and_then(|(_, rest)| rest.split_once('`'))
        .map(|(name, _)| name.to_owned());
    let field = match (path, missing) {
        (Some(path), Some(missing)) => Some(format!("{path}.{missing}")),
        (path, missing) => path.or(missing),
    };
    let problem = Problem::new(code, message);
    match field {
        Some(field) => problem.at(field),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use modelet_types::{RevisionSpec, TrafficSplit};

    use super::*;

    #[test]
    fn refusals_name_the_field() {
        let field = |problem: Problem| problem.field.unwrap_or_default();
        let spec = |text: &str| {
            field(from_json::<RevisionSpec>(text.as_bytes(), Code::InvalidManifest).unwrap_err())
        };
        assert_eq!(spec("{}"), "component");
        assert_eq!(spec(r#"{"limits": {"memory": 1}}"#), "limits.memory");
        assert_eq!(spec(r#"{"models": {"m": {"threads": 1}}}"#), "models.m.artifact");
        let split =
            |text: &str| field(from_json::<TrafficSplit>(text.as_bytes(), Code::InvalidInput).unwrap_err());
        assert_eq!(split(r#"[{"revision": 1, "weight": "all"}]"#), "[0].weight");
        assert_eq!(split("[] []"), "");
    }
}
