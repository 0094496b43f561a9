//! What happens to every request before its controller.
//!
//! The request id stands outermost, so that a refused request has one too. The checks stand before
//! everything that acts, because a page in somebody's browser can make requests to a host on
//! loopback: under a name that its author controls (DNS rebinding), which is then in the `Host`
//! header, and from its own site, which is then in `Origin` and `Sec-Fetch-Site`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue};
use modelet_types::{Code, Problem};
use tower::Service as _;
use uuid::Uuid;

use crate::caller::Identification;
use crate::problem::ProblemResponse;

/// The header that names a request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Everything that the host answers: its addresses, behind what happens to every request.
///
/// Not made of axum's layers: each would put every request into boxes of its own, and there are calls that
/// take less time than that.
#[derive(Clone)]
pub(crate) struct App {
    router: Router,
    allowed_hosts: Arc<[String]>,
    identification: Identification,
    /// From where requests come, as far as it is known.
    peer: Option<IpAddr>,
}

impl App {
    /// Puts `router` behind the checks, for requests to this host and to `allowed_hosts`.
    pub(crate) fn new(router: Router, allowed_hosts: &[String], identification: Identification) -> Self {
        Self { router, allowed_hosts: allowed_hosts.into(), identification, peer: None }
    }

    /// The same, for requests that come from `peer`.
    pub(crate) fn asked_from(&self, peer: Option<IpAddr>) -> Self {
        Self { peer, ..self.clone() }
    }

    /// Answers a request.
    pub(crate) async fn answer(mut self, mut request: Request) -> Response {
        let id = request_id(request.headers());
        let caller = match refusal(&request, &self.allowed_hosts) {
            None => {
                let caller = self.identification.caller(request.headers());
                // What changes nothing needs not say from where.
                let is_control = is_control(request.uri().path());
                caller.map(|caller| if is_control { caller.from(self.peer) } else { caller })
            }
            Some(problem) => Err(problem),
        };
        let mut response = match caller {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                self.router.call(request).await.unwrap_or_else(|never| match never {})
            }
            Err(problem) => ProblemResponse::from(problem).into_response(),
        };
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
}

/// The id of a request: the client's own if it sent a sensible one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).filter(|id| {
        let fits = (1..=MAX_REQUEST_ID_BYTES).contains(&id.len());
        fits && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::now_v7().as_hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(text).expect("a UUID is a header value")
    })
}

/// Where browsers say how the page that makes a request is related to whom it asks (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused, if it is: it names another host than this, or a page of another site makes it
/// to the API or to the repository of models. Functions may be called from anywhere; what they allow is theirs to say.
fn refusal<B>(request: &http::Request<B>, allowed_hosts: &[String]) -> Option<Problem> {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    match authority.or(header) {
        Some(host) if is_allowed(host, allowed_hosts) => {
            let is_foreign = is_control(request.uri().path())
                && is_from_another_site(request.headers(), host, allowed_hosts);
            let detail = "a web page of another site cannot use this host's API: add the page's host to \
                          `allowed_hosts`, or call from its server";
            is_foreign.then(|| Problem::new(Code::OriginNotAllowed, detail))
        }
        found => {
            let shown: String = found.unwrap_or("none").chars().take(100).collect();
            let detail =
                format!("this host does not answer to the name `{shown}`: add it to `allowed_hosts`");
            Some(Problem::new(Code::HostNotAllowed, detail))
        }
    }
}

/// Whether an address changes or shows what a host has, instead of calling a function.
fn is_control(path: &str) -> bool {
    let of_models = ["/v2/repository/", "/inference.GRPCInferenceService/Repository"];
    path.starts_with("/api/") || of_models.iter().any(|prefix| path.starts_with(prefix))
}

/// An address cannot be a rebound name, and neither can `localhost`, which browsers resolve
/// themselves (RFC 6761 §6.3).
fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() || is_among(name, allowed)
}

/// Whether a browser says that the request comes from a page which is neither this host's own nor
/// of an allowed host. What is no browser says nothing.
fn is_from_another_site(headers: &HeaderMap, host: &str, allowed: &[String]) -> bool {
    // Where browsers send both, the origin says more: it names an allowed host.
    if let Some(origin) = headers.get(ORIGIN) {
        // `null`, the origin of a sandboxed page, is nobody's.
        let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        return !authority.is_some_and(|(_, authority)| {
            authority.eq_ignore_ascii_case(host) || is_among(name_of(authority), allowed)
        });
    }
    headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "none" && site != "same-origin")
}

/// An authority without its port.
fn name_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
    }
}

fn is_among(name: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|known| known.eq_ignore_ascii_case(name))
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

    #[test]
    fn pages_of_other_sites_are_told_by_their_browser() {
        let allowed = ["console.example.com".to_owned()];
        let is_foreign = |origin: Option<&'static str>, site: Option<&'static str>| {
            let origin = origin.map(|text| (ORIGIN, HeaderValue::from_static(text)));
            let site = site.map(|text| (SEC_FETCH_SITE, HeaderValue::from_static(text)));
            let headers = origin.into_iter().chain(site).collect();
            is_from_another_site(&headers, "localhost:8421", &allowed)
        };
        for (origin, site) in [
            (None, None),
            (None, Some("none")),
            (None, Some("same-origin")),
            (Some("http://localhost:8421"), Some("same-origin")),
            (Some("https://Console.example.com:4443"), Some("cross-site")),
        ] {
            assert!(!is_foreign(origin, site), "{origin:?} {site:?}");
        }
        for (origin, site) in [
            (None, Some("cross-site")),
            (None, Some("same-site")),
            (Some("http://localhost:3000"), Some("same-site")),
            (Some("https://evil.example"), None),
            (Some("null"), Some("cross-site")),
            (Some("localhost:8421"), None),
        ] {
            assert!(is_foreign(origin, site), "{origin:?} {site:?}");
        }
    }
}
