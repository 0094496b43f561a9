//! A call of a `wasi:http/incoming-handler@0.2`, whose response begins while the handler still runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt, future};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use modelet_types::{Code as ErrorCode, Problem};
use tokio::sync::{mpsc, oneshot};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode as WasiError, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error as BodyError, WasiBody, WasiHttpView as _};

use super::{
    CONNECTION_HEADERS, Handler, Lease, Terms, checked_status, failed, invalid_response, logged,
    response_too_large,
};
use crate::failure::Failure;
use crate::instance::{HttpExports, Instance};
use crate::invocation::{BodyStream, HttpRequest, Reply, ReplyBody, RequestBody, Rest};

/// What a handler hands in before it writes its body.
type Begun = Result<http::Response<HyperOutgoingBody>, WasiError>;

/// Answers one request.
pub(super) async fn answer(
    handler: Arc<Handler>,
    mut instance: Instance,
    request: HttpRequest,
    terms: Terms,
    lease: Lease,
) -> Result<Reply, Failure> {
    let log = terms.log.clone();
    let broken_body = Arc::new(OnceLock::new());
    let request = wasi_request(&mut instance, request, broken_body.clone())
        .map_err(|failure| logged(failure, &*log))?;
    let (sender, mut response) = oneshot::channel();
    let mut running = call(instance, request, sender).boxed();

    // The handler first: a short one has ended when its response is looked at, which then is whole.
    let (ended, begun) = match future::select(&mut running, &mut response).await {
        future::Either::Left((ended, response)) => {
            // Why the request's body broke off says more than what the handler made of that.
            let ended = ended.map_err(|failure| broken(&broken_body).unwrap_or(failure))?;
            (Some(ended), response.now_or_never().and_then(Result::ok))
        }
        future::Either::Right((begun, _)) => (None, begun.ok()),
    };
    let response = match begun {
        Some(Ok(response)) => response,
        Some(Err(error)) => {
            if let Some(instance) = ended {
                handler.put_back(instance, lease).await;
            }
            let detail = format!("the handler reported an error instead of a response: {error:?}");
            return Err(broken(&broken_body).unwrap_or_else(|| logged(invalid_response(detail), &*log)));
        }
        None => {
            let failure = invalid_response("the handler ended without a response");
            return Err(broken(&broken_body).unwrap_or_else(|| logged(failure, &*log)));
        }
    };
    let (status, headers, body) = checked_parts(response).map_err(|failure| logged(failure, &*log))?;
    let limit = terms.limits.response_body_bytes;

    if let Some(instance) = ended {
        let whole = gather(body, limit).await.map_err(|failure| logged(failure, &*log))?;
        let rest = handler.put_back(instance, lease).await;
        let body = match whole {
            Gathered::Bytes(bytes) => ReplyBody::Bytes(bytes),
            Gathered::Frames(frames) => ReplyBody::Stream(replay(handler, frames, terms)),
        };
        return Ok(Reply { status, headers, body, rest });
    }

    let owner = handler.clone();
    let stream = handler.body_stream(terms, move |sender, written| async move {
        let forwarded = forward(body, sender, written, limit).map_err(|failure| logged(failure, &*log));
        let whole = finish(&owner, lease, running, forwarded.boxed()).await;
        whole.map_err(|failure| broken(&broken_body).unwrap_or(failure))
    });
    Ok(Reply { status, headers, body: ReplyBody::Stream(stream), rest: Rest::default() })
}

/// Runs the handler and sends its body on, until both have ended.
async fn finish(
    handler: &Handler,
    lease: Lease,
    running: BoxFuture<'_, Result<Instance, Failure>>,
    forwarded: BoxFuture<'_, Result<(), Failure>>,
) -> Result<(), Failure> {
    match future::select(running, forwarded).await {
        future::Either::Left((ended, mut forwarded)) => {
            let instance = ended?;
            if let Some(sent) = (&mut forwarded).now_or_never() {
                handler.put_back(instance, lease).await;
                return sent;
            }
            // Without its instance, a body that the handler forgot to finish breaks off, instead of
            // keeping the caller waiting.
            drop(instance);
            forwarded.await
        }
        future::Either::Right((sent, running)) => {
            sent?;
            handler.put_back(running.await?, lease).await;
            Ok(())
        }
    }
}

/// Runs the handler to its end, and gives its instance back.
async fn call(
    mut instance: Instance,
    request: http::Request<WasiBody>,
    response: oneshot::Sender<Begun>,
) -> Result<Instance, Failure> {
    let Instance { store, exports, .. } = &mut instance;
    let Some(HttpExports::WasiHttp(proxy)) = &exports.http else {
        unreachable!("the instance is one of wasi:http, by which this was chosen")
    };
    let called = async {
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let response = http.new_response_outparam(response)?;
        proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, response).await
    };
    match called.await {
        Ok(()) => Ok(instance),
        Err(error) => Err(failed(&error, instance.store.data())),
    }
}

/// The request in the types of `wasi:http`. Why its body breaks off is put into `broken`.
fn wasi_request(
    instance: &mut Instance,
    request: HttpRequest,
    broken: Arc<OnceLock<Problem>>,
) -> Result<http::Request<WasiBody>, Failure> {
    let HttpRequest { method, path, query, headers, body } = request;
    let address = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let body = match body {
        RequestBody::Bytes(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        RequestBody::Stream(frames) => {
            let frames = instance.store.data_mut().lend_body(frames).map(move |frame| {
                frame.map_err(|problem| {
                    // The first is the cause of any other.
                    _ = broken.set(problem);
                    BodyError::ConnectionTerminated
                })
            });
            StreamBody::new(frames).boxed_unsync()
        }
    };
    let mut request =
        http::Request::builder().method(method.as_str()).uri(address).body(body).map_err(|error| {
            let detail = format!("the request's address cannot be handed to the handler: {error}");
            Failure::Host(Problem::new(ErrorCode::InvalidInput, detail))
        })?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn broken(problem: &OnceLock<Problem>) -> Option<Failure> {
    problem.get().cloned().map(Failure::Host)
}

fn checked_parts(
    response: http::Response<HyperOutgoingBody>,
) -> Result<(StatusCode, HeaderMap, HyperOutgoingBody), Failure> {
    let (parts, body) = response.into_parts();
    let status = checked_status(parts.status.as_u16())?;
    let mut headers = parts.headers;
    for name in &CONNECTION_HEADERS {
        headers.remove(name);
    }
    Ok((status, headers, body))
}

/// The body of a handler that has ended.
enum Gathered {
    Bytes(Bytes),
    /// With trailers.
    Frames(Vec<Frame<Bytes>>),
}

async fn gather(mut body: HyperOutgoingBody, limit: u64) -> Result<Gathered, Failure> {
    let mut frames = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| incomplete(&error))?;
        length += frame.data_ref().map_or(0, Bytes::len) as u64;
        if length > limit {
            return Err(response_too_large(length, limit));
        }
        frames.push(frame);
    }
    if frames.iter().any(Frame::is_trailers) {
        return Ok(Gathered::Frames(frames));
    }
    let mut pieces = frames.into_iter().filter_map(|frame| frame.into_data().ok());
    let first = pieces.next().unwrap_or_default();
    let mut whole: Option<BytesMut> = None;
    for piece in pieces {
        whole.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&piece);
    }
    Ok(Gathered::Bytes(whole.map_or(first, BytesMut::freeze)))
}

/// A whole body as a stream.
fn replay(handler: Arc<Handler>, frames: Vec<Frame<Bytes>>, terms: Terms) -> BodyStream {
    handler.body_stream(terms, |sender, written| async move {
        for frame in frames {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            if sender.send(frame).await.is_err() {
                break;
            }
            written.fetch_add(length, Relaxed);
        }
        Ok(())
    })
}

/// Sends a body on as it is written.
async fn forward(
    mut body: HyperOutgoingBody,
    sender: mpsc::Sender<Frame<Bytes>>,
    written: Arc<AtomicU64>,
    limit: u64,
) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| incomplete(&error))?;
        let length = written.load(Relaxed) + frame.data_ref().map_or(0, Bytes::len) as u64;
        if length > limit {
            return Err(response_too_large(length, limit));
        }
        if sender.send(frame).await.is_err() {
            // The caller left, and with the body the handler learns of it.
            return Ok(());
        }
        written.store(length, Relaxed);
    }
    Ok(())
}

fn incomplete(error: &BodyError) -> Failure {
    invalid_response(format!("the handler did not finish the response's body: {error}"))
}
