//! Making requests by hand, which only tests do.

use serde::Serialize;

use crate::extract::{Headers, Invocation};
use crate::host;
use crate::request::{Request, RequestBody};

impl Request {
    /// A request without a body. `target` is a path, or a path and a query.
    pub fn new(method: impl Into<String>, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            method: method.into(),
            path: path.to_owned(),
            query,
            headers: Headers::default(),
            invocation: Invocation {
                id: "test".into(),
                function: "test".into(),
                revision: 1,
                remaining_ms: 30_000,
            },
            body: RequestBody::Bytes(Vec::new()),
        }
    }

    /// A `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST`. Its body follows: [`Request::with_body`], [`Request::with_json`].
    pub fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = RequestBody::Bytes(body.into());
        self
    }

    /// Sets the body to `value` as JSON.
    ///
    /// # Panics
    /// If it cannot be written as JSON.
    #[must_use]
    pub fn with_json(self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.with_header("content-type", "application/json").with_body(body),
            Err(error) => panic!("the body cannot be written as JSON: {error}"),
        }
    }

    /// Sets the body to a stream of chunks, as with `request_body = "stream"` in the manifest.
    #[must_use]
    pub fn with_stream<C: Into<Vec<u8>>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        let chunks = chunks.into_iter().map(Into::into).collect();
        self.body = RequestBody::Stream(host::BodyReader(chunks));
        self
    }
}
