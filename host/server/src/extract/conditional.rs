//! Requests that change something on a condition, or once: `If-Match` (RFC 9110 §13.1.1) and
//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use modelet_store::{Precondition, Request};
use modelet_types::{Code, Digest, Digester, Problem};
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

/// The header with which a sender tells one request from others.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

/// An answer that says which state of its subject it shows.
pub(crate) struct Tagged<T> {
    pub(crate) tag: String,
    pub(crate) body: T,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        let tag = HeaderValue::try_from(format!("\"{}\"", self.tag)).expect("tags are numbers and digits");
        response.headers_mut().insert(ETAG, tag);
        response
    }
}

/// How the description says that a change takes the header `if-match`.
pub(crate) struct IfMatch;

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let tags = r#"^(\*|"[!#-~]*"(, "[!#-~]*")*)$"#;
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(tags));
        let description = "The change is made only if the subject's `etag` is still one of these.";
        vec![header(IF_MATCH.as_str(), description, schema)]
    }
}

/// How the description says that what is made is made once.
pub(crate) struct IdempotencyKey;

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
        let schema = schema.max_length(Some(MAX_KEY_BYTES)).pattern(Some("^[!-~]+$"));
        let description =
            "A key for this request, such as a UUID: for a day, it is done once however often it is sent.";
        vec![header(IDEMPOTENCY_KEY.as_str(), description, schema)]
    }
}

fn header(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// What the request takes its subject to be.
///
/// # Errors
/// If the header is not a list of entity tags.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let mut tags = Vec::new();
    for value in headers.get_all(IF_MATCH) {
        let text = value.to_str().unwrap_or_default();
        if text.trim() == "*" {
            // It is there, or the answer says that it is not.
            return Ok(Precondition::NONE);
        }
        for tag in text.split(',').map(str::trim) {
            // A weak tag is never strongly equal to another, so it is none of those that fit.
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let inner =
                opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(|| {
                    let shown: String = tag.chars().take(80).collect();
                    let detail = format!(
                        "`{shown}` is no entity tag: send the `etag` of an answer as it came, with its quotes"
                    );
                    Problem::new(Code::InvalidInput, detail).at("if-match")
                })?;
            if !tag.starts_with("W/") {
                tags.push(inner.to_owned());
            }
        }
    }
    Ok(if headers.contains_key(IF_MATCH) { Precondition::one_of(tags) } else { Precondition::NONE })
}

/// Which request this is, if its sender says so.
///
/// # Errors
/// If the key is empty, too long or not visible.
pub(crate) fn request(parts: &Parts, body: &[u8]) -> Result<Option<Request>, Problem> {
    let Some(key) = parts.headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let bytes = key.as_bytes();
    if !(1..=MAX_KEY_BYTES).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
        let detail =
            format!("a key has 1 to {MAX_KEY_BYTES} visible characters of ASCII: a UUID is a good one");
        return Err(Problem::new(Code::InvalidInput, detail).at("idempotency-key"));
    }
    let mut digester = Digester::default();
    let address = parts.uri.path_and_query().map_or("/", |address| address.as_str());
    for part in [parts.method.as_str().as_bytes(), address.as_bytes(), body] {
        digester.update(&(part.len() as u64).to_le_bytes());
        digester.update(part);
    }
    Ok(Some(Request { key: Digest::of(key.as_bytes()), fingerprint: digester.finish() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(text: &'static str) -> Result<Precondition, Problem> {
        precondition(&[(IF_MATCH, HeaderValue::from_static(text))].into_iter().collect())
    }

    #[test]
    fn entity_tags_are_read_as_the_specification_writes_them() {
        let tags = |tags: &[&str]| Precondition::one_of(tags.iter().map(|&tag| tag.to_owned()).collect());
        assert_eq!(precondition(&HeaderMap::new()).unwrap(), Precondition::NONE);
        assert_eq!(matching("*").unwrap(), Precondition::NONE);
        assert_eq!(matching("\"7\"").unwrap(), tags(&["7"]));
        assert_eq!(matching("\"7\", \"8\"").unwrap(), tags(&["7", "8"]));
        assert_eq!(matching("W/\"7\"").unwrap(), tags(&[]), "a weak tag fits nothing");
        for wrong in ["7", "", "\"7\",", "\""] {
            assert_eq!(matching(wrong).unwrap_err().field.as_deref(), Some("if-match"), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_known_by_all_that_it_asks_for() {
        let of = |key: &str, address: &str, body: &[u8]| {
            let asked = http::Request::post(address).header(IDEMPOTENCY_KEY, key).body(()).unwrap();
            request(&asked.into_parts().0, body)
        };
        assert_eq!(request(&http::Request::new(()).into_parts().0, b"").unwrap(), None);
        let first = of("one", "/a?x=1", b"body").unwrap().unwrap();
        assert_eq!(of("one", "/a?x=1", b"body").unwrap().unwrap(), first);
        for other in [of("one", "/a?x=2", b"body"), of("one", "/a?x=1", b"bod")] {
            let other = other.unwrap().unwrap();
            assert_eq!(other.key, first.key);
            assert_ne!(other.fingerprint, first.fingerprint);
        }
        assert_eq!(of("", "/a", b"").unwrap_err().field.as_deref(), Some("idempotency-key"));
        assert!(of(&"k".repeat(256), "/a", b"").is_err());
        assert!(of("a key", "/a", b"").is_err());
    }
}
