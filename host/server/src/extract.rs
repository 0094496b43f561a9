//! What controllers take out of a request, with refusals that are problems.
//!
//! axum's own extractors refuse in plain text; these name the field.

pub(crate) mod conditional;
pub(crate) mod page;

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawQuery};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http_body::Body as _;
use modelet_types::{Code, Problem};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use tokio::time::{Instant, timeout, timeout_at};

use crate::problem::ProblemResponse;

/// The longest that a body of JSON may take, however short its pauses are.
const JSON_TIMEOUT: Duration = Duration::from_secs(300);

/// What is read of a body that is refused, and for how long.
const DRAINED_BYTES: usize = 1 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

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

/// Receives a body of JSON, as bytes for [`from_json`].
///
/// # Errors
/// If it is called anything else, is larger than `limit`, pauses for longer than `idle_timeout`,
/// takes too long altogether, or breaks off.
pub(crate) async fn json_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    idle_timeout: Duration,
) -> Result<Bytes, Problem> {
    // A page of another site cannot send this type without being asked whether it may.
    if !is_json(headers) {
        let detail = "the body must be JSON and say so: send `content-type: application/json`";
        return Err(Problem::new(Code::UnsupportedMediaType, detail).at("content-type"));
    }
    let mut is_too_large = body.size_hint().lower() > limit as u64;
    let mut body = body.into_data_stream();
    let mut gathered = BytesMut::new();
    let deadline = Instant::now() + JSON_TIMEOUT;
    while !is_too_large {
        match timeout_at(deadline.min(Instant::now() + idle_timeout), body.next()).await {
            Ok(Some(Ok(piece))) if piece.len() <= limit - gathered.len() => {
                gathered.extend_from_slice(&piece);
            }
            Ok(Some(Ok(_))) => is_too_large = true,
            Ok(None) => return Ok(gathered.freeze()),
            Ok(Some(Err(error))) => {
                let detail = format!("the request's body broke off: {error}");
                return Err(Problem::new(Code::InvalidInput, detail).at("body"));
            }
            Err(_) => {
                let detail = "the request's body came too slowly, or stopped coming";
                return Err(Problem::new(Code::RequestTimeout, detail).at("body"));
            }
        }
    }
    drain(headers, body).await;
    let detail = format!("the request's body is over the limit of {limit} bytes");
    Err(Problem::new(Code::RequestTooLarge, detail).at("body"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Reads on for a while in a body that is refused: many clients look at the answer when they have
/// sent everything, and would find the connection reset instead.
pub(crate) async fn drain<E>(headers: &HeaderMap, body: impl Stream<Item = Result<Bytes, E>>) {
    // Such a client has not sent it, and reading would ask for it.
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut body = pin!(body);
    let mut left = DRAINED_BYTES;
    let read = async {
        while let Some(Ok(piece)) = body.next().await
            && piece.len() < left
        {
            left -= piece.len();
        }
    };
    // Late or not, the answer is next.
    let _ = timeout(DRAIN_TIMEOUT, read).await;
}

/// Reads JSON; `code` is that of the refusal.
///
/// # Errors
/// For text that is not JSON or does not fit `T`, naming the field.
pub(crate) fn from_json<'b, T: Deserialize<'b>>(bytes: &'b [u8], code: Code) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let problem = refusal(code, error);
        if problem.field.is_none() { problem.at("body") } else { problem }
    })?;
    json.end().map_err(|error| Problem::new(code, error.to_string()).at("body"))?;
    Ok(value)
}

/// A value that does not fit, as a problem at its field.
///
/// A missing field is reported by serde at the object that lacks it, so its name comes from the
/// message, whose form serde keeps.
fn refusal<E: std::fmt::Display>(code: Code, error: serde_path_to_error::Error<E>) -> Problem {
    let known = error.path().iter().any(|segment| !matches!(segment, Segment::Unknown));
    // A field without a name is at no place that could be named.
    let path = known.then(|| error.path().to_string()).filter(|path| !path.is_empty());
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
        assert_eq!(spec(r#"{"limits": {"memory": 1}}"#), "limits.memory");
        assert_eq!(spec(r#"{"models": {"m": {"threads": 1}}}"#), "models.m.artifact");
        let golden = r#"{"models": {"m": {"golden": [{"inputs": {"x": {"shape": [1], "f32": [1e39]}}}]}}}"#;
        assert_eq!(spec(golden), "models.m.golden[0].inputs.x.f32[0]");
        assert_eq!(spec(r#"{"": 1}"#), "body");
        let split =
            |text: &str| field(from_json::<TrafficSplit>(text.as_bytes(), Code::InvalidInput).unwrap_err());
        assert_eq!(split(r#"[{"revision": 1, "weight": "all"}]"#), "[0].weight");
        assert_eq!(split("[] []"), "body");
        assert_eq!(split("carrier pigeon"), "body");
    }

    fn json_headers() -> HeaderMap {
        [(CONTENT_TYPE, http::HeaderValue::from_static("application/json; charset=utf-8"))]
            .into_iter()
            .collect()
    }

    async fn refused(body: Body, limit: usize) -> Code {
        let problem = json_body(&json_headers(), body, limit, Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("body"));
        problem.code
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_received_within_its_limits() {
        let body = |pieces: Vec<Result<&'static str, std::io::Error>>| {
            Body::from_stream(futures::stream::iter(pieces))
        };
        let whole = body(vec![Ok("[1"), Ok("]")]);
        let whole = json_body(&json_headers(), whole, 3, Duration::from_secs(1)).await;
        assert_eq!(whole.unwrap(), "[1]");
        assert_eq!(refused(Body::from("[1]"), 2).await, Code::RequestTooLarge);
        assert_eq!(refused(body(vec![Ok("[1"), Ok("]")]), 2).await, Code::RequestTooLarge);
        assert_eq!(
            refused(body(vec![Ok("["), Err(std::io::ErrorKind::ConnectionReset.into())]), 9).await,
            Code::InvalidInput
        );
        let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(refused(Body::from_stream(silent), 9).await, Code::RequestTimeout);
        let trickle = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Some((Ok::<_, std::io::Error>(" "), ()))
        });
        assert_eq!(refused(Body::from_stream(trickle), 1_000).await, Code::RequestTimeout);
    }

    #[tokio::test]
    async fn what_does_not_say_that_it_is_json_is_refused() {
        for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            let headers = content_type.map(|text| (CONTENT_TYPE, http::HeaderValue::from_static(text)));
            let headers = headers.into_iter().collect();
            let refusal = json_body(&headers, Body::from("[]"), 9, Duration::from_secs(1)).await.unwrap_err();
            assert_eq!(refusal.code, Code::UnsupportedMediaType, "{content_type:?}");
            assert_eq!(refusal.field.as_deref(), Some("content-type"));
        }
    }
}
