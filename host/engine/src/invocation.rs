//! One invocation as the engine sees it: what goes in and what comes out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream};
use http::HeaderMap;
use modelet_types::{FunctionName, InvocationId, Limits, RevisionNumber};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::meter::Meter;
use crate::ports::{Log, Models};

/// Everything that one call of a handler needs.
pub struct Invocation {
    /// Its id.
    pub id: InvocationId,
    /// The function that was called.
    pub function: FunctionName,
    /// The revision that answers.
    pub revision: RevisionNumber,
    /// In upper case.
    pub method: String,
    /// The path below the function's address, with its leading `/`.
    pub path: String,
    /// What follows the first `?`.
    pub query: Option<String>,
    /// The headers that the handler may see.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: RequestBody,
    /// When the host stops the invocation.
    pub deadline: Instant,
    /// What it may use.
    pub limits: Arc<Limits>,
    /// What `wasi:config` answers.
    pub config: Arc<BTreeMap<String, String>>,
    /// The models of the revision.
    pub models: Arc<dyn Models>,
    /// Where its log lines go.
    pub log: Arc<dyn Log>,
    /// Where what it used is added up.
    pub meter: Arc<Meter>,
}

/// A request's body.
pub enum RequestBody {
    /// All at once.
    Bytes(Bytes),
    /// As it arrives.
    Stream(BoxStream<'static, std::io::Result<Bytes>>),
}

/// A handler's response. Status and headers are valid HTTP; connection headers are taken out.
#[derive(Debug)]
pub struct Reply {
    /// From 200 to 599.
    pub status: http::StatusCode,
    /// The handler's headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: ReplyBody,
}

/// A response's body.
#[derive(Debug)]
pub enum ReplyBody {
    /// All at once. The instance is gone.
    Bytes(Bytes),
    /// As the handler makes it.
    Stream(BodyStream),
}

/// A body that its handler is still writing. Polling it runs the handler; dropping it ends it.
pub struct BodyStream {
    /// Runs the handler until its stream ends.
    run: Option<BoxFuture<'static, Result<(), Failure>>>,
    chunks: mpsc::Receiver<Bytes>,
}

impl BodyStream {
    pub(crate) fn new(run: BoxFuture<'static, Result<(), Failure>>, chunks: mpsc::Receiver<Bytes>) -> Self {
        Self { run: Some(run), chunks }
    }
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyStream").field("running", &self.run.is_some()).finish()
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, Failure>;

    /// The next piece; an error, after which nothing follows, if the handler failed on the way.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(Some(chunk)) = self.chunks.poll_recv(cx) {
            return Poll::Ready(Some(Ok(chunk)));
        }
        if let Some(run) = &mut self.run {
            let ended = run.poll_unpin(cx);
            if let Poll::Ready(result) = ended {
                self.run = None;
                if let Err(failure) = result {
                    self.chunks.close();
                    return Poll::Ready(Some(Err(failure)));
                }
            }
        }
        // Running the handler may have made the next piece.
        match self.chunks.poll_recv(cx) {
            Poll::Ready(Some(chunk)) => Poll::Ready(Some(Ok(chunk))),
            Poll::Ready(None) if self.run.is_none() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}
