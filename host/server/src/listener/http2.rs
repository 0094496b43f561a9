//! What HTTP/2 needs beside hyper: a peer may keep a stream's window shut and a connection open for
//! ever, both without the connection ever standing still.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::middleware::App;

/// The most of an answer that is handed to hyper at once, and the largest that is handed over whole.
const PIECE_BYTES: usize = 64 << 10;

/// The requests that run on one connection.
#[derive(Clone)]
pub(super) struct Running(watch::Sender<usize>);

/// One request that runs.
struct RunningRequest(watch::Sender<usize>);

impl Running {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    fn begin(&self) -> RunningRequest {
        self.0.send_modify(|running| *running += 1);
        RunningRequest(self.0.clone())
    }

    /// Waits until nothing has run for `idle_timeout`.
    pub(super) async fn idle(&self, idle_timeout: Duration) {
        let mut running = self.0.subscribe();
        loop {
            let changed = if *running.borrow_and_update() > 0 {
                running.changed().await.is_ok()
            } else {
                timeout(idle_timeout, running.changed()).await.is_ok()
            };
            if !changed {
                return;
            }
        }
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// Answers a request, with a body that waits for the peer for at most `write_timeout` at a time.
pub(super) async fn answer(
    app: App,
    request: http::Request<Body>,
    running: Running,
    write_timeout: Duration,
) -> Result<Response, Infallible> {
    let request_runs = running.begin();
    let response = app.answer(request).await;
    Ok(response.map(|body| paced(body, request_runs, write_timeout)))
}

/// The same body in pieces, given up when the peer takes none of them for `write_timeout`.
///
/// hyper asks for a body when the stream's window opens, and then takes whatever it gets at once.
/// So the body is driven by a task of its own, and the pieces are copies: a part would keep the
/// memory of the whole.
fn paced(body: Body, request_runs: RunningRequest, write_timeout: Duration) -> Body {
    if body.size_hint().upper().is_some_and(|most| most <= PIECE_BYTES as u64) {
        return body;
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _request_runs = request_runs;
        // Whoever called has left when nobody receives: then the body is dropped, which ends what
        // makes it.
        tokio::select! {
            () = sender.closed() => {}
            () = send_all(body, &sender, write_timeout) => {}
        }
    });
    Body::new(StreamBody::new(stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Piece::Frame(frame)) => Some((frame, Some(receiver))),
            Some(Piece::End) => None,
            None => Some((Err(axum::Error::new("the answer was given up")), None)),
        }
    })))
}

enum Piece {
    Frame(Result<Frame<Bytes>, axum::Error>),
    /// The body is whole. Without it, it was given up.
    End,
}

async fn send_all(mut body: Body, sender: &mpsc::Sender<Piece>, write_timeout: Duration) {
    let send = async |piece| matches!(timeout(write_timeout, sender.send(piece)).await, Ok(Ok(())));
    while let Some(frame) = body.frame().await {
        let whole = match frame {
            Ok(frame) if frame.data_ref().is_none_or(|bytes| bytes.len() <= PIECE_BYTES) => frame,
            Ok(frame) => {
                let bytes = frame.into_data().unwrap_or_default();
                for part in bytes.chunks(PIECE_BYTES) {
                    if !send(Piece::Frame(Ok(Frame::data(Bytes::copy_from_slice(part))))).await {
                        return;
                    }
                }
                continue;
            }
            Err(error) => {
                send(Piece::Frame(Err(error))).await;
                return;
            }
        };
        if !send(Piece::Frame(Ok(whole))).await {
            return;
        }
    }
    send(Piece::End).await;
}
