//! Requests that the handler makes, through `wasi:http/outgoing-handler@0.2`.

use std::future::poll_fn;
use std::task::Poll;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{OutputStream, StreamError};

use crate::error::Error;
use crate::extract::Headers;
use crate::http::{Request, Response, parts_of};

/// What one read of an answer asks for.
const READ_BYTES: u64 = 64 << 10;

pub(crate) async fn send(request: Request) -> Result<Response, Error> {
    let exchange = Exchange::start(&request)?;
    // From here on nothing else of the handler goes on until there is an answer, so whatever it waits for as well
    // is to begin before that.
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    exchange.finish()
}

/// A request under way. Whoever is asked may answer while the request is still written, and wait with the rest
/// until somebody reads that.
struct Exchange<'r> {
    answer: FutureIncomingResponse,
    unwritten: &'r [u8],
    /// The request's body and what writes it, until all is written or nobody wants more of it.
    writing: Option<(OutputStream, OutgoingBody)>,
}

impl<'r> Exchange<'r> {
    /// Sends a request, as much of it as there is room for.
    fn start(request: &'r Request) -> Result<Self, Error> {
        let (scheme, authority, path) = parts_of(&request.url)?;
        let invalid = |what: &str| {
            Error::InvalidInput(format!("`{}` has {what} that HTTP does not allow", request.url))
        };
        let headers = Fields::from_list(&request.headers.0)
            .map_err(|error| Error::InvalidInput(format!("the request's headers are not valid: {error}")))?;
        let outgoing = OutgoingRequest::new(headers);
        let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
        outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("a scheme"))?;
        outgoing.set_authority(Some(authority)).map_err(|()| invalid("a host"))?;
        outgoing.set_path_with_query(Some(&path)).map_err(|()| invalid("a path"))?;
        outgoing
            .set_method(&method_of(&request.method))
            .map_err(|()| Error::InvalidInput(format!("`{}` is no method of HTTP", request.method)))?;
        let body = outgoing.body().map_err(|()| failed("the request has no body"))?;
        let stream = body.write().map_err(|()| failed("the request's body cannot be written"))?;
        let answer = handle(outgoing, None).map_err(|code| failure(&code))?;
        let mut exchange = Self { answer, unwritten: &request.body, writing: Some((stream, body)) };
        exchange.write()?;
        Ok(exchange)
    }

    /// Writes what there is room for.
    fn write(&mut self) -> Result<(), Error> {
        while let Some((stream, _)) = &self.writing {
            if self.unwritten.is_empty() {
                let (stream, body) = self.writing.take().expect("it was looked at");
                drop(stream);
                return OutgoingBody::finish(body, None).map_err(|code| failure(&code));
            }
            let written = stream.check_write().and_then(|room| {
                let length = usize::try_from(room).unwrap_or(usize::MAX).min(self.unwritten.len());
                if length > 0 {
                    stream.write(&self.unwritten[..length])?;
                }
                Ok(length)
            });
            match written {
                Ok(0) => return Ok(()),
                Ok(length) => self.unwritten = &self.unwritten[length..],
                // Whoever is asked wants no more of it; their answer says why.
                Err(StreamError::Closed) => self.writing = None,
                Err(StreamError::LastOperationFailed(error)) => return Err(failed(&error.to_debug_string())),
            }
        }
        Ok(())
    }

    /// Waits for `ready`, or until there is room to write.
    fn wait(&self, ready: &Pollable) {
        match &self.writing {
            Some((stream, _)) => _ = poll(&[ready, &stream.subscribe()]),
            None => ready.block(),
        }
    }

    /// Waits for the whole answer.
    fn finish(mut self) -> Result<Response, Error> {
        let answered = self.answer.subscribe();
        while !answered.ready() {
            self.wait(&answered);
            self.write()?;
        }
        drop(answered);
        let response: IncomingResponse = self
            .answer
            .get()
            .and_then(Result::ok)
            .ok_or_else(|| failed("the answer is not there"))?
            .map_err(|code| failure(&code))?;
        let (status, headers) = (response.status(), Headers(response.headers().entries()));
        let incoming = response.consume().map_err(|()| failed("the answer has no body"))?;
        let stream = incoming.stream().map_err(|()| failed("the answer cannot be read"))?;
        let mut body = Vec::new();
        loop {
            match stream.read(READ_BYTES) {
                Ok(chunk) if chunk.is_empty() => {
                    self.wait(&stream.subscribe());
                    self.write()?;
                }
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(StreamError::Closed) => return Ok(Response { status, headers, body }),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(failed(&format!("the answer broke off: {}", error.to_debug_string())));
                }
            }
        }
    }
}

fn method_of(method: &str) -> Method {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn failed(detail: &str) -> Error {
    Error::RequestFailed(detail.to_owned())
}

fn failure(code: &ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => {
            Error::NotAllowed("no rule of the manifest's `outbound` allows this request".into())
        }
        ErrorCode::LoopDetected => failed("functions call one another too deep, or too often"),
        other => {
            let name = format!("{other:?}");
            failed(&format!("the request failed: {}", name.strip_prefix("ErrorCode::").unwrap_or(&name)))
        }
    }
}
