//! Requests to other functions of the tenant, and to whatever else the manifest's `outbound` allows.
//!
//! A function is `http://NAME.modelet.internal/`, with what is below its address after that:
//!
//! ```
//! use modelet_sdk::{Json, Problem, http};
//!
//! /// Asks two functions, which work side by side.
//! async fn both(Json(text): Json<String>) -> Result<Json<(String, f32)>, Problem> {
//!     let language = http::post("http://language.modelet.internal/").json(&text)?.send();
//!     let mood = http::post("http://mood.modelet.internal/").json(&text)?.send();
//!     let (language, mood) = modelet_sdk::try_join!(language, mood)?;
//!     Ok(Json((language.ok()?.json()?, mood.ok()?.json()?)))
//! }
//!
//! use modelet_sdk::testing::TestHost;
//! let host = TestHost::new().http(|request: &http::Request| match request.url() {
//!     "http://language.modelet.internal/" => Ok(http::Response::new(200, "\"de\"")),
//!     _ => Ok(http::Response::new(200, "0.5")),
//! });
//! let reply = host.call_blocking(both, modelet_sdk::Request::post("/").with_json(&"Guten Tag"));
//! assert_eq!(reply.json::<(String, f32)>(), ("de".into(), 0.5));
//! ```
//!
//! This is `wasi:http/outgoing-handler@0.2`, whose waiting stops everything else that the handler does. Requests
//! that are waited for together (`join!`, `try_join!`) are all sent first, so that they take as long as the longest
//! of them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::extract::Headers;
use crate::host;
use crate::problem::Problem;

/// A request that the handler makes.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

/// A GET of `url`.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// A POST to `url`.
pub fn post(url: impl Into<String>) -> Request {
    Request::new("POST", url)
}

impl Request {
    /// A request without headers and body. `url` is absolute, of `http` or `https`.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self { method: method.into(), url: url.into(), headers: Headers::default(), body: Vec::new() }
    }

    /// Adds a header; one that is there already is repeated.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.0.push((name.into().to_ascii_lowercase(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to `value` as JSON, and says so in `content-type`.
    ///
    /// # Errors
    /// `InvalidInput` if there is no JSON for it, such as of a map whose keys are not texts.
    pub fn json(self, value: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::InvalidInput(format!("the value cannot be written as JSON: {error}")))?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Sends it and waits for the whole answer, whatever its status.
    ///
    /// # Errors
    /// `InvalidInput` if the address or a header is none; `NotAllowed` if the manifest's `outbound` does not allow
    /// it; `RequestFailed` if nobody answered.
    pub async fn send(self) -> Result<Response, Error> {
        host::send(self).await
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// An answer without headers, for tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Headers::default(), body: body.into() }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The answer itself if its status is from 200 to 299.
    ///
    /// # Errors
    /// `RequestFailed` with the status and the beginning of what the answer says: of a problem (RFC 9457), its detail.
    /// With `?` a handler's own caller reads that.
    pub fn ok(self) -> Result<Self, Error> {
        /// The beginning of what the answer says.
        const SHOWN: usize = 200;
        if (200..=299).contains(&self.status) {
            return Ok(self);
        }
        let problem: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
        let said = detail.map_or_else(|| String::from_utf8_lossy(&self.body), Into::into);
        let shown: String = said.chars().take(SHOWN).collect();
        let separator = if shown.is_empty() { "" } else { ": " };
        Err(Error::RequestFailed(format!("the answer has status {}{separator}{shown}", self.status)))
    }

    /// The body as text.
    ///
    /// # Errors
    /// `RequestFailed` if it is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        str::from_utf8(&self.body)
            .map_err(|error| Error::RequestFailed(format!("the answer is not text: {error}")))
    }

    /// The body read as JSON.
    ///
    /// # Errors
    /// `RequestFailed` if it is not JSON of that form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::RequestFailed(format!("the answer cannot be read: {error}")))
    }
}

/// The parts of an absolute address: its scheme, its authority, and path with query.
pub(crate) fn parts_of(url: &str) -> Result<(&str, &str, String), Error> {
    let invalid = || Error::InvalidInput(format!("`{url}` is no absolute address of `http` or `https`"));
    let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
    if !matches!(scheme, "http" | "https") {
        return Err(invalid());
    }
    // What follows `#` is not sent.
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err(invalid());
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((scheme, authority, format!("{slash}{path}")))
}

/// A function that answers with the problem of another one tells of it as its own.
impl From<Response> for Problem {
    fn from(response: Response) -> Self {
        let text = |problem: &serde_json::Value, key: &str| Some(problem.get(key)?.as_str()?.to_owned());
        let problem: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
        let told =
            problem.as_ref().and_then(|problem| Some((text(problem, "code")?, text(problem, "detail")?)));
        match told {
            Some((code, detail)) if (400..=599).contains(&response.status) => Self {
                status: response.status,
                code,
                detail,
                field: problem.as_ref().and_then(|problem| text(problem, "field")),
            },
            _ => Error::RequestFailed(format!("the answer has status {}", response.status)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let parts =
            |url| parts_of(url).map(|(scheme, authority, path)| format!("{scheme} {authority} {path}"));
        assert_eq!(parts("http://a.modelet.internal").unwrap(), "http a.modelet.internal /");
        assert_eq!(parts("https://a:8443/b/c?d=e#f").unwrap(), "https a:8443 /b/c?d=e");
        assert_eq!(parts("http://a?b=/c").unwrap(), "http a /?b=/c");
        for url in ["a.example", "/path", "ftp://a", "http://", "http:///path", "http://?q"] {
            assert!(matches!(parts(url), Err(Error::InvalidInput(_))), "{url}");
        }
    }

    #[test]
    fn an_error_says_what_the_other_said() {
        let problem = r#"{ "status": 422, "code": "too_small", "detail": "draw larger", "field": "pixels" }"#;
        let response = Response::new(422, problem);
        let error = response.clone().ok().unwrap_err();
        assert_eq!(error.to_string(), "the answer has status 422: draw larger");
        let passed_on = Problem::from(response);
        assert_eq!((passed_on.status, passed_on.field.as_deref()), (422, Some("pixels")));
        let other = Response::new(500, "sorry");
        assert_eq!(other.clone().ok().unwrap_err().to_string(), "the answer has status 500: sorry");
        assert_eq!(Problem::from(other).status, 502);
    }
}
