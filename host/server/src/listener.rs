//! The accept loop: HTTP/1 and HTTP/2 on one port, through hyper directly, because timeouts and
//! limits of connections and streams are ours to set.

mod http2;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2 as hyper_http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::middleware::App;

use http2::Running;
use wire::{Protocol, Wire};

/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;

/// The most bytes of one request's headers.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// How often an HTTP/2 peer is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Pause after a failed accept: the usual cause is that descriptors have run out, which a busy loop
/// would not mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The least time between two complaints: what makes one connection fail makes many fail.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What connections may do.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// For a request's headers, the first byte included, and for a connection without a request.
    pub(crate) header_timeout: Duration,
    /// For a peer that reads nothing of what is there for it.
    pub(crate) write_timeout: Duration,
    /// Connections that may be open at one time. More wait to be accepted, which the timeouts make
    /// a wait for the next connection to fall idle, and not for ever.
    pub(crate) max_connections: usize,
    /// For what runs when the host is told to stop.
    pub(crate) shutdown_grace: Duration,
}

/// Serves `app` until `stopping` turns true, and then until every connection has finished what it
/// was at, but not longer than the grace.
pub(crate) async fn serve(
    listener: TcpListener,
    app: App,
    tls: Option<TlsAcceptor>,
    settings: Settings,
    mut stopping: watch::Receiver<bool>,
) {
    let server = Arc::new(Server { tls, ..Server::new(app, settings) });
    let places = Arc::new(Semaphore::new(server.settings.max_connections));
    let connections = TaskTracker::new();
    let cut_off = CancellationToken::new();
    let mut complaints = Complaints::default();
    loop {
        let (stream, peer, place) = tokio::select! {
            accepted = accept(&listener, &places, &mut complaints) => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (server, cut_off) = (server.clone(), cut_off.clone());
        connections.spawn(async move {
            // Given back last, when the descriptor is free.
            let _place = place;
            if let Some(Err(error)) = cut_off.run_until_cancelled(server.connection(stream)).await {
                // A client's doing: it left, was too slow, or did not speak HTTP.
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    server.leaving.cancel();
    connections.close();
    let grace = server.settings.shutdown_grace;
    if timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(
            grace_ms = grace.as_millis() as u64,
            "connections were still open at the end of the grace"
        );
        // What they were at ends here: an invocation ends when its connection does.
        cut_off.cancel();
        connections.wait().await;
    }
}

/// The next connection, and its place.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    complaints: &mut Complaints,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    if places.available_permits() == 0 && complaints.is_due() {
        tracing::warn!("as many connections are open as may be (max_connections); more wait");
    }
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                if complaints.is_due() {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Keeps the log from being filled with the same line.
#[derive(Default)]
struct Complaints(Option<Instant>);

impl Complaints {
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

/// What all connections share.
pub(crate) struct Server {
    app: App,
    /// What connections are encrypted by, if they are.
    tls: Option<TlsAcceptor>,
    http1: http1::Builder,
    http2: hyper_http2::Builder<TokioExecutor>,
    settings: Settings,
    /// Cancelled when connections are to finish what they are at.
    leaving: CancellationToken,
}

pub(crate) type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Server {
    pub(crate) fn new(app: App, settings: Settings) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(MAX_HEADER_BYTES as usize);
        let mut http2 = hyper_http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(PING_INTERVAL);
        Self { app, tls: None, http1, http2, settings, leaving: CancellationToken::new() }
    }

    /// Serves one connection to its end.
    async fn connection(&self, stream: TcpStream) -> Ended {
        // Answers are written whole; waiting for more to send only adds latency.
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
        let Some(tls) = &self.tls else { return self.converse(stream, peer).await };
        let shaking_hands = timeout(self.settings.header_timeout, tls.accept(stream));
        match self.leaving.run_until_cancelled(shaking_hands).await {
            Some(Ok(stream)) => self.converse(stream?, peer).await,
            Some(Err(_)) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            None => Ok(()),
        }
    }

    /// The same, whatever the bytes come through.
    pub(crate) async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: Option<IpAddr>,
    ) -> Ended {
        let app = self.app.asked_from(peer);
        let opening = timeout(self.settings.header_timeout, Wire::open(stream, self.settings.write_timeout));
        let (protocol, wire) = match self.leaving.run_until_cancelled(opening).await {
            Some(Ok(opened)) => opened?,
            Some(Err(_)) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            None => return Ok(()),
        };
        match protocol {
            Protocol::Http1 => self.http1(&app, TokioIo::new(wire)).await,
            Protocol::Http2 => self.http2(&app, TokioIo::new(wire)).await,
        }
    }

    /// A connection without a request ends at hyper's own timeout for headers.
    async fn http1(&self, app: &App, wire: TokioIo<Wire<impl AsyncRead + AsyncWrite + Unpin>>) -> Ended {
        let service = service_fn(|request: http::Request<Incoming>| {
            let answer = app.clone().answer(request.map(Body::new));
            async { Ok::<_, Infallible>(answer.await) }
        });
        let connection = self.http1.serve_connection(wire, service);
        let mut connection = pin!(connection);
        tokio::select! {
            // First, so that a request which has arrived is taken.
            biased;
            result = connection.as_mut() => return Ok(result?),
            () = self.leaving.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    async fn http2(&self, app: &App, wire: TokioIo<Wire<impl AsyncRead + AsyncWrite + Unpin>>) -> Ended {
        let running = Running::new();
        let (app, begun, write_timeout) = (app.clone(), running.clone(), self.settings.write_timeout);
        let service = service_fn(move |request: http::Request<Incoming>| {
            http2::answer(app.clone(), request.map(Body::new), begun.clone(), write_timeout)
        });
        let idle_timeout = self.settings.header_timeout;
        let connection = self.http2.serve_connection(wire, service);
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            result = connection.as_mut() => return Ok(result?),
            () = self.leaving.cancelled() => {}
            () = running.idle(idle_timeout) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            result = connection.as_mut() => Ok(result?),
            // The peer does not answer the farewell.
            () = running.idle(idle_timeout) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
