//! Calls of functions.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::StreamBody;
use modelet_runtime::{Answer, AnswerBody, Call, Origin, Reply, Stage};
use modelet_types::{InvocationId, RevisionNumber};

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::oip;
use crate::problem::ProblemResponse;

/// Names the invocation in an answer.
const INVOCATION_ID: HeaderName = HeaderName::from_static("modelet-invocation-id");
/// Names the revision that answered.
const REVISION: HeaderName = HeaderName::from_static("modelet-revision");
/// Microseconds that the caller waited for a cold function to wake; absent if it was awake.
const WAKE_US: HeaderName = HeaderName::from_static("modelet-wake-us");
/// With `true`, asks how long each stage took. Only for those with a key: it tells what others have asked
/// (`response_cache`) and how busy the host is.
const TIMING: HeaderName = HeaderName::from_static("modelet-timing");
/// Says how long each stage took (W3C, Server Timing).
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Hands a request to the function that its address names.
pub(crate) async fn invoke(State(context): State<Context>, caller: Caller, mut request: Request) -> Response {
    if caller.known().is_err() {
        request.headers_mut().remove(TIMING);
    }
    let path = request.uri().path().to_owned();
    let (tenant, function, path) = split_address(&path);
    let routed = match request.extensions().get::<Origin>() {
        Some(origin) => context.runtime.find_within(origin, function),
        None => context.runtime.find(tenant, function, None),
    };
    match caller.admit(tenant, function, routed) {
        Err(problem) => respond(Answer::refused(problem)),
        Ok(routed) if routed.takes_http() => {
            respond(context.runtime.invoke(routed, call(request, path.to_owned())).await)
        }
        Ok(routed) => oip::of_function(&context, &caller, routed, path, request).await,
    }
}

/// The call that a request is; `path` is what of its address is below the function's.
pub(crate) fn call(request: Request, path: String) -> Call<Body> {
    let (mut parts, body) = request.into_parts();
    // Credentials are meant for the host; a tenant's code must not see its callers' keys.
    parts.headers.remove(AUTHORIZATION);
    parts.headers.remove(PROXY_AUTHORIZATION);
    // HTTP/2 names the host in the address instead (RFC 9113 §8.3.1).
    if let Some(authority) = parts.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok())
    {
        parts.headers.entry(HOST).or_insert(authority);
    }
    Call {
        timed: is_timed(&parts.headers),
        origin: parts.extensions.remove(),
        path,
        query: parts.uri.query().map(str::to_owned),
        method: parts.method,
        headers: parts.headers,
        body,
    }
}

/// Whether the caller asks how long each stage took.
pub(crate) fn is_timed(headers: &HeaderMap) -> bool {
    headers.get(TIMING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// `/f/{tenant}/{function}{path}` in its parts. Names have no character that would need decoding.
pub(crate) fn split_address(address: &str) -> (&str, &str, &str) {
    let rest = address.strip_prefix("/f/").unwrap_or_default();
    let (tenant, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match rest.find('/') {
        Some(slash) => (tenant, &rest[..slash], &rest[slash..]),
        None => (tenant, rest, "/"),
    }
}

fn respond(answer: Answer) -> Response {
    let Answer { invocation, revision, wake, stages, result } = answer;
    let mut response = match result {
        Ok(reply) => self::response(reply),
        Err(failure) => ProblemResponse::of_invocation(failure, invocation, revision).into_response(),
    };
    put_in_sandbox(response.headers_mut());
    describe(response.headers_mut(), invocation, revision, wake, &stages);
    response
}

/// What a function has answered.
pub(crate) fn response(reply: Reply) -> Response {
    let body = match reply.body {
        AnswerBody::Bytes(bytes) => Body::from(bytes),
        // An error here makes hyper break the connection off.
        AnswerBody::Stream(frames) => {
            Body::new(StreamBody::new(frames.map(|frame| frame.map_err(io::Error::other))))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// Says in an answer's headers which invocation it was, and what answered.
pub(crate) fn describe(
    headers: &mut HeaderMap,
    invocation: InvocationId,
    revision: Option<RevisionNumber>,
    wake: Option<Duration>,
    stages: &[Stage],
) {
    headers.insert(INVOCATION_ID, text_value(&invocation.to_string()));
    if let Some(revision) = revision {
        headers.insert(REVISION, HeaderValue::from(revision.0));
    }
    if let Some(wake) = wake {
        headers.insert(WAKE_US, HeaderValue::from(u64::try_from(wake.as_micros()).unwrap_or(u64::MAX)));
    }
    if !stages.is_empty() {
        // Beside what a handler says of itself.
        headers.append(SERVER_TIMING, text_value(&server_timing(stages)));
    }
}

/// Stages as the header has them, in milliseconds.
fn server_timing(stages: &[Stage]) -> String {
    let metric = |Stage { name, took, note }: &Stage| {
        let note = note.as_ref().map(|note| format!(";desc=\"{note}\"")).unwrap_or_default();
        format!("{name};dur={:.3}{note}", took.as_secs_f64() * 1e3)
    };
    stages.iter().map(metric).collect::<Vec<_>>().join(", ")
}

/// A function's page has the same origin as the API, and with it the right to use it; in a sandbox
/// it has an origin of its own. A handler that states a policy has thought of that.
fn put_in_sandbox(headers: &mut HeaderMap) {
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("sandbox"));
}

fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("what the host says in headers is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handlers_own_policy_stays() {
        let mut headers = HeaderMap::new();
        put_in_sandbox(&mut headers);
        assert_eq!(headers[CONTENT_SECURITY_POLICY], "sandbox");
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
        put_in_sandbox(&mut headers);
        assert_eq!(headers[CONTENT_SECURITY_POLICY], "default-src 'self'");
    }

    #[test]
    fn stages_are_metrics_in_milliseconds() {
        let stage = |name: &str, us, note: Option<&str>| Stage {
            name: name.into(),
            took: Duration::from_micros(us),
            note: note.map(str::to_owned),
        };
        let stages = [stage("queue", 12, None), stage("model-rec", 1500, Some("1 run"))];
        assert_eq!(server_timing(&stages), "queue;dur=0.012, model-rec;dur=1.500;desc=\"1 run\"");
    }

    #[test]
    fn addresses_have_a_tenant_a_function_and_a_path() {
        assert_eq!(split_address("/f/t/fn"), ("t", "fn", "/"));
        assert_eq!(split_address("/f/t/fn/"), ("t", "fn", "/"));
        assert_eq!(split_address("/f/t/fn/a%2Fb/c"), ("t", "fn", "/a%2Fb/c"));
    }
}
