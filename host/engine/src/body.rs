//! Bodies that stream through a handler.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http_body::Frame;
use modelet_types::{Code, Problem};
use tokio::sync::oneshot;
use tokio_util::sync::PollSender;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult};

use crate::failure::ResponseTooLarge;
use crate::host::Host;
use crate::invocation::BodyFrames;

/// The largest piece that is taken from a handler at once.
const MAX_CHUNK_BYTES: usize = 64 << 10;

/// A request's body on its way into a handler.
pub(crate) struct RequestStream(pub(crate) BodyFrames);

/// A request's body that can be taken back from whoever reads it, and then breaks off there.
#[derive(Clone)]
pub(crate) struct LentBody(Arc<Mutex<Option<BodyFrames>>>);

impl LentBody {
    pub(crate) fn new(body: BodyFrames) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    pub(crate) fn take_back(&self) {
        let taken = self.body().take();
        drop(taken);
    }

    fn body(&self) -> MutexGuard<'_, Option<BodyFrames>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for LentBody {
    type Item = Result<Frame<Bytes>, Problem>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut *self.body() {
            Some(body) => body.as_mut().poll_next(cx),
            None => {
                let detail = "the request's body ended with its invocation";
                Poll::Ready(Some(Err(Problem::new(Code::Cancelled, detail))))
            }
        }
    }
}

impl StreamProducer<Host> for RequestStream {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<'a, Host>,
        mut destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        loop {
            match self.0.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => {
                        destination.set_buffer(bytes);
                        return Poll::Ready(Ok(StreamResult::Completed));
                    }
                    // An empty piece would read as "nothing to give", which only a cancelled read may;
                    // trailers have no place in this contract.
                    _ => {}
                },
                // A body that breaks off must not look like one that ended.
                Poll::Ready(Some(Err(problem))) => return Poll::Ready(Err(problem.into())),
                Poll::Ready(None) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A response's body on its way out of a handler.
pub(crate) struct ResponseStream {
    chunks: PollSender<Frame<Bytes>>,
    /// Bytes that went into `chunks`.
    written: Arc<AtomicU64>,
    limit: u64,
    /// Told by being dropped with this: the handler has ended the stream.
    _ended: oneshot::Sender<()>,
}

impl ResponseStream {
    pub(crate) fn new(
        chunks: PollSender<Frame<Bytes>>,
        written: Arc<AtomicU64>,
        limit: u64,
        ended: oneshot::Sender<()>,
    ) -> Self {
        Self { chunks, written, limit, _ended: ended }
    }
}

impl StreamConsumer<Host> for ResponseStream {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, Host>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.chunks.poll_reserve(cx) {
            Poll::Ready(Ok(())) => {}
            // The caller left.
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        let mut source = source.as_direct(store);
        let available = source.remaining();
        if available.is_empty() {
            self.chunks.abort_send();
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let chunk = Bytes::copy_from_slice(&available[..available.len().min(MAX_CHUNK_BYTES)]);
        source.mark_read(chunk.len());
        let written = self.written.load(Relaxed) + chunk.len() as u64;
        if written > self.limit {
            return Poll::Ready(Err(ResponseTooLarge { limit: self.limit }.into()));
        }
        match self.chunks.send_item(Frame::data(chunk)) {
            Ok(()) => {
                self.written.store(written, Relaxed);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(_) => Poll::Ready(Ok(StreamResult::Dropped)),
        }
    }
}
