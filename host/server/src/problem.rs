//! Errors as `application/problem+json` (RFC 9457), made in this one place.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use modelet_engine::Failure;
use modelet_types::quota::Reached;
use modelet_types::{Code, InvocationId, Problem, RevisionNumber};
use serde::Serialize;
use utoipa::ToSchema;

use crate::status;

/// The type of every error (RFC 9457 §3).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// An error, as a client gets it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// `about:blank`: the code says all that a type would.
    #[serde(rename = "type")]
    problem_type: &'static str,
    /// The status in words.
    title: String,
    /// The status as a number.
    status: u16,
    /// What went wrong, stable for programs; docs/errors.md lists all.
    code: String,
    /// What went wrong, for a person.
    detail: String,
    /// The input at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The invocation that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation: Option<InvocationId>,
    /// The revision that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<RevisionNumber>,
    /// For the headers.
    #[serde(skip)]
    reached: Option<Reached>,
}

/// An error on its way to a client.
#[derive(Clone, Debug)]
pub(crate) struct ProblemResponse(pub(crate) ProblemBody);

/// What a controller gives.
pub(crate) type Result<T> = std::result::Result<T, ProblemResponse>;

impl ProblemResponse {
    fn new(status: StatusCode, code: String, detail: String, field: Option<String>) -> Self {
        Self(ProblemBody {
            problem_type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code,
            detail,
            field,
            invocation: None,
            revision: None,
            reached: None,
        })
    }

    /// Says which invocation failed.
    pub(crate) fn of_invocation(
        failure: Failure,
        id: InvocationId,
        revision: Option<RevisionNumber>,
    ) -> Self {
        let mut response = match failure {
            Failure::Host(problem) => Self::from(problem),
            Failure::Handler(problem) => {
                let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
                Self::new(status, problem.code, problem.detail, problem.field)
            }
        };
        response.0.invocation = Some(id);
        response.0.revision = revision;
        response
    }
}

impl<E: Into<Problem>> From<E> for ProblemResponse {
    fn from(error: E) -> Self {
        let Problem { code, detail, field, reached } = error.into();
        let mut response = Self::new(status::of(code), code.as_str().to_owned(), detail.into_owned(), field);
        response.0.reached = reached;
        response
    }
}

/// Says which quota is reached, and when to try again (draft-ietf-httpapi-ratelimit-headers).
pub(crate) fn say_reached(headers: &mut HeaderMap, reached: &Reached) {
    let Reached { limit, window, .. } = reached;
    let quota = reached.name();
    let retry_after_s = reached.retry_after_s();
    let window = window.map(|window| format!(";w={}", window.as_secs())).unwrap_or_default();
    let text = |text: String| HeaderValue::try_from(text).expect("names and numbers are ASCII");
    headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
    headers.insert("ratelimit-policy", text(format!("\"{quota}\";q={limit}{window}")));
    headers.insert("ratelimit", text(format!("\"{quota}\";r=0;t={retry_after_s}")));
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).expect("made from a status");
        let body = serde_json::to_vec(&self.0).expect("text and numbers can be written");
        let mut response = (status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(reached) = &self.0.reached {
            say_reached(response.headers_mut(), reached);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if Code::ALL.iter().any(|code| code.as_str() == self.0.code && status::may_retry(*code)) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_its_class() {
        for &code in Code::ALL {
            let status = status::of(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}: {status}");
        }
    }

    #[test]
    fn overload_says_when_to_come_back() {
        let response = ProblemResponse::from(Problem::new(Code::Overloaded, "full")).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }
}
