//! One request as the handler sees it, and the body that extractors take out of it.

use crate::extract::{Headers, Invocation};
use crate::host;
use crate::problem::Problem;

/// A request: method, path, query, headers, body.
///
/// It is an extractor too, for handlers that answer several paths:
///
/// ```
/// use modelet_sdk::{Json, Problem, Request, Response, call};
///
/// async fn one(Json(value): Json<f32>) -> Json<f32> {
///     Json(value * 2.0)
/// }
/// async fn health() -> &'static str {
///     "ok"
/// }
///
/// async fn route(request: Request) -> Result<Response, Problem> {
///     match (request.method(), request.path()) {
///         ("POST", "/one") => call(one, request).await,
///         ("GET", "/health") => call(health, request).await,
///         (_, path) => Err(Problem::not_found(format!("there is nothing at {path}"))),
///     }
/// }
/// ```
#[derive(Default)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Headers,
    pub(crate) invocation: Invocation,
    pub(crate) body: RequestBody,
}

/// Where the body is.
#[derive(Default)]
pub(crate) enum RequestBody {
    Bytes(Vec<u8>),
    Stream(host::BodyReader),
    /// An extractor has it.
    #[default]
    Taken,
}

impl Request {
    /// The method in upper case, such as `POST`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path below the function's address, percent-encoded as it came, with its leading `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the first `?`, without it.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The invocation that the request belongs to.
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// Takes the body out and waits for all of it.
    ///
    /// # Errors
    /// If it has been taken out before.
    pub async fn take_bytes(&mut self) -> Result<Vec<u8>, Problem> {
        match std::mem::take(&mut self.body) {
            RequestBody::Bytes(bytes) => Ok(bytes),
            RequestBody::Stream(mut reader) => {
                let mut bytes = Vec::new();
                while let Some(chunk) = reader.read().await {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(bytes)
            }
            RequestBody::Taken => Err(taken_twice()),
        }
    }

    /// Takes the body out as it comes.
    pub(crate) fn take_stream(&mut self) -> Result<BodyStream, Problem> {
        match std::mem::take(&mut self.body) {
            RequestBody::Taken => Err(taken_twice()),
            body => Ok(BodyStream(body)),
        }
    }
}

fn taken_twice() -> Problem {
    Problem::internal("the handler asks for the body twice; only one of its arguments can take it")
}

/// The body as it comes: chunk by chunk if the manifest says `request_body = "stream"`, and
/// otherwise one chunk.
pub struct BodyStream(RequestBody);

impl BodyStream {
    /// Waits for the next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        match &mut self.0 {
            RequestBody::Stream(reader) => reader.read().await,
            body => match std::mem::take(body) {
                RequestBody::Bytes(bytes) if !bytes.is_empty() => Some(bytes),
                _ => None,
            },
        }
    }
}
