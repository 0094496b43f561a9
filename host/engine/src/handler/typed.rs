//! A call of HTTP in the types of `modelet:handler`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::sync::oneshot;
use tokio_util::sync::PollSender;
use wasmtime::component::StreamReader;

use super::{
    CONNECTION_HEADERS, Handler, Lease, Terms, checked_status, failed, handler_problem, invalid_response,
    logged, response_too_large, wit_invocation,
};
use crate::bindings::function::exports::modelet::handler::handler::Body;
use crate::bindings::function::modelet::handler::types as wit;
use crate::body::ResponseStream;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::invocation::{BodyStream, HttpRequest, Invocation, Reply, ReplyBody, RequestBody, Rest};

/// Answers one request.
pub(super) async fn answer(
    handler: Arc<Handler>,
    mut instance: Instance,
    invocation: Invocation,
    request: HttpRequest,
    terms: Terms,
    lease: Lease,
) -> Result<Reply, Failure> {
    let (request, body) = wit_request(&invocation, request);
    let (head, body) = match instance.handle(request, body).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(problem)) => {
            let failure = handler_problem(problem, instance.store.data());
            handler.put_back(instance, lease).await;
            return Err(failure);
        }
        Err(error) => return Err(failed(&error, instance.store.data())),
    };
    let (status, headers) = checked_head(head).map_err(|failure| logged(failure, &*terms.log))?;
    let limit = terms.limits.response_body_bytes;
    let (body, rest) = match body {
        Body::Bytes(bytes) if bytes.len() as u64 > limit => {
            return Err(logged(response_too_large(bytes.len() as u64, limit), &*terms.log));
        }
        Body::Bytes(bytes) => (ReplyBody::Bytes(Bytes::from(bytes)), handler.put_back(instance, lease).await),
        Body::Stream(reader) => {
            (ReplyBody::Stream(stream_out(handler, instance, reader, terms, lease)), Rest::default())
        }
    };
    Ok(Reply { status, headers, body, rest })
}

/// What goes on running the handler until its response's body has ended.
fn stream_out(
    handler: Arc<Handler>,
    mut instance: Instance,
    reader: StreamReader<u8>,
    terms: Terms,
    lease: Lease,
) -> BodyStream {
    let limit = terms.limits.response_body_bytes;
    let owner = handler.clone();
    handler.body_stream(terms, move |sender, written| async move {
        let store = &mut instance.store;
        let (ended, end) = oneshot::channel();
        let consumer = ResponseStream::new(PollSender::new(sender), written, limit, ended);
        let piped = async {
            reader.pipe(&mut *store, consumer)?;
            // The error of `end` is what is waited for: the consumer was dropped with its sender.
            store.run_concurrent(async |_| drop(end.await)).await
        };
        match piped.await {
            Ok(()) => {
                owner.put_back(instance, lease).await;
                Ok(())
            }
            Err(error) => Err(failed(&error, instance.store.data())),
        }
    })
}

fn wit_request(invocation: &Invocation, request: HttpRequest) -> (wit::Request, RequestBody) {
    let HttpRequest { method, path, query, headers, body } = request;
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let headers = headers.collect();
    (wit::Request { method, path, query, headers, invocation: wit_invocation(invocation) }, body)
}

fn checked_head(head: wit::Response) -> Result<(StatusCode, HeaderMap), Failure> {
    let status = checked_status(head.status)?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for (name, value) in head.headers {
        let shown = || name.chars().take(80).collect::<String>().escape_debug().to_string();
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            invalid_response(format!(
                "the handler answered with a header named `{}`, which HTTP does not allow",
                shown()
            ))
        })?;
        if CONNECTION_HEADERS.contains(&parsed) {
            continue;
        }
        let value = HeaderValue::from_bytes(&value).map_err(|_| {
            invalid_response(format!(
                "the value of the handler's header `{}` has bytes that HTTP does not allow",
                shown()
            ))
        })?;
        headers
            .try_append(parsed, value)
            .map_err(|_| invalid_response("the handler answered with more headers than are possible"))?;
    }
    Ok((status, headers))
}
