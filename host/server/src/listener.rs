//! The accept loop: HTTP/1 and HTTP/2 on one port, through hyper-util directly, because header
//! timeouts and stream limits are ours to set.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;

/// The most bytes of one request's headers.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Pause after a failed accept: the usual cause is that descriptors have run out, which a busy loop
/// would not mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `app` until `stopping` turns true, and then until every connection has finished what it
/// was at, but not longer than `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    header_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEADER_BYTES as usize)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Duration::from_secs(20));
    let builder = Arc::new(builder);
    let connections = GracefulShutdown::new();
    let cut_off = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection was gone at once");
            continue;
        }
        let app =
            app.clone().map_request(|request: http::Request<Incoming>| request.map(axum::body::Body::new));
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(app))
            .into_owned();
        let connection = connections.watch(connection);
        let cut_off = cut_off.clone();
        tokio::spawn(async move {
            if let Some(result) = cut_off.run_until_cancelled(connection).await {
                finish(result, peer);
            }
        });
    }
    drop(listener);
    let mut all_done = pin!(connections.shutdown());
    if tokio::time::timeout(grace, &mut all_done).await.is_err() {
        tracing::warn!(
            grace_ms = grace.as_millis() as u64,
            "connections were still open at the end of the grace"
        );
        // What they were at ends here: an invocation ends when its connection does.
        cut_off.cancel();
        all_done.await;
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Answers are written whole; waiting for more to send only adds latency.
    stream.set_nodelay(true)
}

fn finish(result: Result<(), Box<dyn std::error::Error + Send + Sync>>, peer: SocketAddr) {
    if let Err(error) = result {
        // A client's doing: it left, or it did not speak HTTP.
        tracing::debug!(%peer, %error, "connection ended");
    }
}
