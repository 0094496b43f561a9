//! What a collector's answer means: whether it has the records, and what helps if it does not.

use std::error::Error as _;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use modelet_control::{NotSent, Remedy};
use reqwest::Response;

/// So much of an answer is read.
const READ_BYTES: usize = 4_096;
/// So many characters of it are shown in the log.
const SHOWN: usize = 300;

/// Whether the collector has the records.
///
/// # Errors
/// If it has not, with what its answer says, in which `token` is masked.
pub(super) async fn read(response: Response, token: Option<&str>) -> Result<(), NotSent> {
    let (status, retry_after) = (response.status(), retry_after(response.headers(), Timestamp::now()));
    let said = beginning(response).await;
    if status.is_success() {
        return Ok(());
    }
    let said = match token {
        Some(token) => said.replace(token, "[token]"),
        None => said,
    };
    let detail: String = said.chars().take(SHOWN).collect();
    let (remedy, reason) = meaning(status, retry_after);
    Err(NotSent { remedy, reason: format!("the collector answers {}: {reason}", status.as_u16()), detail })
}

/// Why there was no answer. The same request may well be answered later.
pub(super) fn none(error: reqwest::Error) -> NotSent {
    let reason = if error.is_timeout() {
        "the collector does not answer within usage_export.timeout_ms"
    } else if error.is_connect() {
        "no connection to the collector: look at usage_export.url, and whether it runs"
    } else {
        "the connection to the collector broke off"
    };
    // An address may have a secret in it.
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        detail = format!("{detail}: {error}");
        source = error.source();
    }
    NotSent { remedy: Remedy::Later { after: None }, reason: reason.to_owned(), detail }
}

fn meaning(status: StatusCode, retry_after: Option<Duration>) -> (Remedy, &'static str) {
    let later = Remedy::Later { after: retry_after };
    match status.as_u16() {
        413 => (Remedy::Smaller, "one record is too large for it: raise what it takes in a request"),
        408 | 429 | 500.. => (later, "it is asked again"),
        401 | 403 => (
            Remedy::Operator,
            "write the right token to the file of usage_export.token_file, and restart the host",
        ),
        404 | 405 | 410 => (Remedy::Operator, "set usage_export.url to the address at which it takes events"),
        415 => {
            (Remedy::Operator, "it takes no batches of CloudEvents: name one that does in usage_export.url")
        }
        300..=399 => (Remedy::Operator, "set usage_export.url to where it leads: redirects are not followed"),
        _ => (Remedy::Operator, "look at what it says, and at what events it takes"),
    }
}

/// How long the collector wants to be left alone: seconds, or a moment (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(moment.duration_since(now).try_into().unwrap_or_default())
}

/// The first bytes of an answer. Reading them also leaves the connection fit for the next request.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < READ_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(READ_BYTES - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        let now = "2026-11-06T08:49:30Z".parse().unwrap();
        retry_after(&headers, now).map(|after| after.as_secs())
    }

    #[test]
    fn it_may_ask_for_time_in_seconds_or_by_a_moment() {
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Fri, 06 Nov 2026 08:49:37 GMT"), Some(7));
        assert_eq!(after("Fri, 06 Nov 2026 08:00:00 GMT"), Some(0));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::now()), None);
    }

    #[test]
    fn what_helps_depends_on_the_status() {
        let after = Some(Duration::from_secs(9));
        let of = |status: u16| meaning(StatusCode::from_u16(status).unwrap(), after);
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(of(status).0, Remedy::Later { after }, "{status}");
        }
        assert_eq!(of(413).0, Remedy::Smaller);
        for status in [301, 307, 400, 401, 403, 404, 409, 415, 422] {
            assert_eq!(of(status).0, Remedy::Operator, "{status}");
        }
        assert!(of(401).1.contains("usage_export.token_file") && of(308).1.contains("usage_export.url"));
    }

    fn response(status: u16, body: String) -> Response {
        http::Response::builder().status(status).body(body).unwrap().into()
    }

    #[tokio::test]
    async fn a_refusal_shows_little_of_the_answer_and_never_the_token() {
        assert_eq!(read(response(204, String::new()), Some("hunter2")).await, Ok(()));
        let body = format!("no event for hunter2{}", "x".repeat(10_000));
        let refusal = read(response(400, body), Some("hunter2")).await.unwrap_err();
        assert!(refusal.detail.starts_with("no event for [token]x") && refusal.detail.len() < 310);
        assert!(refusal.reason.starts_with("the collector answers 400: "), "{refusal:?}");
    }
}
