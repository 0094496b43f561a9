//! What a handler answers.

mod stream;

pub use stream::BodyWriter;
pub(crate) use stream::Producer;

use serde::Serialize;

use futures::{Stream, StreamExt};

use crate::extract::Json;
use crate::problem::Problem;

/// A response: status, headers, and a body of bytes or a stream.
///
/// ```
/// use modelet_sdk::Response;
///
/// let response = Response::new("<svg/>").with_status(201).with_header("content-type", "image/svg+xml");
/// assert_eq!(response.status(), 201);
/// ```
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: ResponseBody,
}

/// The body as it leaves.
pub(crate) enum ResponseBody {
    Bytes(Vec<u8>),
    Stream(Producer),
}

impl Response {
    /// 200 with a body and no headers.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self::of(ResponseBody::Bytes(body.into()))
    }

    /// 200 with a body that `write` writes after the handler has returned. The response ends when
    /// it returns.
    ///
    /// If it fails, the error is logged and the connection is broken off, so that the caller cannot
    /// take a part for the whole. A caller who leaves is no error.
    ///
    /// ```
    /// use modelet_sdk::{Problem, Response};
    ///
    /// async fn count() -> Response {
    ///     Response::stream(async |body| {
    ///         for number in 0..3 {
    ///             body.write(format!("{number}\n")).await?;
    ///         }
    ///         Ok::<_, Problem>(())
    ///     })
    ///     .with_header("content-type", "text/plain")
    /// }
    /// ```
    pub fn stream<E: Into<Problem> + 'static>(
        write: impl AsyncFnOnce(&mut BodyWriter) -> Result<(), E> + 'static,
    ) -> Self {
        Self::of(ResponseBody::Stream(Producer::new(write)))
    }

    /// 200 with a body of the stream's items, one after another. See [`Response::stream`] for
    /// streams that can fail.
    pub fn from_stream<C: Into<Vec<u8>>>(stream: impl Stream<Item = C> + 'static) -> Self {
        Self::stream(async move |body| {
            let mut stream = std::pin::pin!(stream);
            while let Some(chunk) = stream.next().await {
                body.write(chunk).await?;
            }
            Ok::<_, crate::Error>(())
        })
    }

    fn of(body: ResponseBody) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }

    /// Sets the status, from 200 to 599.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header; one that is there already is repeated.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }
}

/// Something that a handler can answer.
pub trait IntoResponse {
    /// The response, or the problem that is answered in its place.
    ///
    /// # Errors
    /// The problem.
    fn into_response(self) -> Result<Response, Problem>;
}

impl IntoResponse for Response {
    fn into_response(self) -> Result<Response, Problem> {
        Ok(self)
    }
}

impl<T: IntoResponse, E: Into<Problem>> IntoResponse for Result<T, E> {
    fn into_response(self) -> Result<Response, Problem> {
        self.map_err(Into::into)?.into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Result<Response, Problem> {
        Err(self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Result<Response, Problem> {
        let body = serde_json::to_vec(&self.0)
            .map_err(|error| Problem::internal(format!("the answer cannot be written as JSON: {error}")))?;
        Ok(Response::new(body).with_header("content-type", "application/json"))
    }
}

/// 204: done, and nothing to say.
impl IntoResponse for () {
    fn into_response(self) -> Result<Response, Problem> {
        Ok(Response::new(Vec::new()).with_status(204))
    }
}

/// The same with another status.
impl<T: IntoResponse> IntoResponse for (u16, T) {
    fn into_response(self) -> Result<Response, Problem> {
        Ok(self.1.into_response()?.with_status(self.0))
    }
}

macro_rules! plain_bodies {
    ($($body:ty => $content_type:literal,)+) => {
        $(
            impl IntoResponse for $body {
                fn into_response(self) -> Result<Response, Problem> {
                    Ok(Response::new(self).with_header("content-type", $content_type))
                }
            }
        )+
    };
}

plain_bodies! {
    String => "text/plain; charset=utf-8",
    &'static str => "text/plain; charset=utf-8",
    Vec<u8> => "application/octet-stream",
    &'static [u8] => "application/octet-stream",
}
