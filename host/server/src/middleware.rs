//! What happens to every request before its controller.
//!
//! The request id stands outermost, so that a refused request has one too. The host check stands
//! before everything that acts: a page in a browser can make requests to a host on loopback under
//! a name that its author controls (DNS rebinding), and that name is then in the `Host` header.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::{HeaderName, HeaderValue};
use modelet_types::{Code, Problem};
use uuid::Uuid;

use crate::context::Context;
use crate::problem::ProblemResponse;

/// The header that names a request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Gives every answer the id of its request: the client's own if it sent a sensible one.
pub(crate) async fn request_id(request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| {
        let fits = (1..=MAX_REQUEST_ID_BYTES).contains(&id.len());
        fits && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    let id = given.cloned().unwrap_or_else(|| {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::now_v7().as_hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(text).expect("a UUID is a header value")
    });
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Refuses requests that name another host than this.
pub(crate) async fn allowed_host(State(context): State<Context>, request: Request, next: Next) -> Response {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    match authority.or(header) {
        Some(host) if is_allowed(host, &context.config.allowed_hosts) => next.run(request).await,
        found => {
            let shown: String = found.unwrap_or("none").chars().take(100).collect();
            let detail =
                format!("this host does not answer to the name `{shown}`: add it to `allowed_hosts`");
            ProblemResponse::from(Problem::new(Code::HostNotAllowed, detail)).into_response()
        }
    }
}

/// An address cannot be a rebound name, and neither can `localhost`, which browsers resolve
/// themselves (RFC 6761 §6.3).
fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || allowed.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_configured_names_are_allowed() {
        let allowed = ["models.example.com".to_owned()];
        for host in ["localhost:8421", "127.0.0.1:8421", "[::1]:8421", "10.0.0.7", "Models.Example.com"] {
            assert!(is_allowed(host, &allowed), "{host}");
        }
        for host in ["evil.example", "evil.example:8421", "localhost.evil.example", ""] {
            assert!(!is_allowed(host, &allowed), "{host}");
        }
    }
}
