//! One request of a handler: checked, counted, sent.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use modelet_types::Limits;
use modelet_types::outbound::{OutboundRule, OutboundScheme};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::{Outbound, function};
use crate::ports::{Functions, Level, Log, Source};

/// The longest that looking a name up and connecting may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What one invocation has used of its limits.
#[derive(Default)]
pub(crate) struct Usage {
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// Sends the requests of one instance.
pub(crate) struct Sender {
    pub(crate) outbound: Arc<Outbound>,
    /// The manifest's rules.
    pub(crate) rules: Arc<[OutboundRule]>,
    pub(crate) limits: Arc<Limits>,
    /// Connections of all instances of the handler.
    pub(crate) connections: Arc<Semaphore>,
    /// Of the present invocation.
    pub(crate) usage: Arc<Usage>,
    /// Held while anything of a request goes on.
    pub(crate) under_way: Arc<()>,
    /// The functions that can be called.
    pub(crate) functions: Arc<dyn Functions>,
    /// Where it is said why a request was refused: the handler only sees a code.
    pub(crate) log: Arc<dyn Log>,
}

/// What goes on with a connection behind its response.
pub(super) type Transmission = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Sender {
    // What a guest writes is buffered outside its memory, for each of its bodies.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        16 << 10
    }

    // The reasons are in the function's log already; by default they would be in the host's.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::HttpProtocolError
    }

    fn p2_error_from_connect(&mut self, _: &io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _: &io::Error) -> ErrorCode {
        ErrorCode::TlsProtocolError
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Transmission,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Transmission), Error>> + Send> {
        let destination = self.admit(&request);
        let (outbound, usage, log) = (self.outbound.clone(), self.usage.clone(), self.log.clone());
        let (connections, under_way) = (self.connections.clone(), self.under_way.clone());
        let limit = self.limits.outbound_bytes;
        let functions = self.functions.clone();
        Box::new(async move {
            let refused = |error: &Error, reason: &str| {
                log.line(Level::Warn, Source::Host, &format!("{reason}: {error}"));
            };
            let destination = destination.inspect_err(|(error, reason)| refused(error, reason));
            let destination = destination.map_err(|(error, _)| error)?;
            let named = format!("a request to {}:{} failed", destination.host, destination.port);
            let count = Count { usage, limit };
            let sent = match function::name_in(&destination) {
                Some(Err(error)) => Err(error),
                Some(Ok(name)) => {
                    let place =
                        Outbound::place_of(connections).inspect_err(|error| refused(error, &named))?;
                    let held = (place, under_way);
                    function::call(&*functions, name, request, options, count, held).await
                }
                None => {
                    let places = outbound
                        .places(connections, under_way)
                        .inspect_err(|error| refused(error, &named))?;
                    outbound.send(&destination, request, options, count, places).await
                }
            };
            sent.inspect_err(|error| refused(error, &named))
        })
    }
}

/// Where a request goes.
pub(super) struct Destination {
    pub(super) scheme: OutboundScheme,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Sender {
    /// Holds a request against the rules and the limits.
    fn admit(&self, request: &http::Request<WasiBody>) -> Result<Destination, (Error, String)> {
        let uri = request.uri();
        let scheme = match uri.scheme_str() {
            Some("http") => OutboundScheme::Http,
            Some("https") => OutboundScheme::Https,
            _ => return Err((Error::HttpRequestUriInvalid, format!("`{uri}` is not http or https"))),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| (Error::HttpRequestUriInvalid, format!("`{uri}` names no host")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(scheme.default_port());
        let method = request.method().as_str();
        if !self.rules.iter().any(|rule| rule.allows(method, scheme, host, port)) {
            let scheme = scheme.as_str();
            let reason = format!(
                "no rule of `outbound` in the manifest allows {method} {scheme}://{host}:{port}, \
                 so the request was refused"
            );
            return Err((Error::HttpRequestDenied, reason));
        }
        let limit = self.limits.outbound_requests;
        if self.usage.requests.fetch_add(1, Relaxed) >= limit {
            let reason = format!("the invocation made its {limit} requests (limits.outbound_requests)");
            return Err((Error::ConnectionLimitReached, reason));
        }
        Ok(Destination { scheme, host: host.to_owned(), port })
    }
}

/// Adds up the bytes of bodies, in both directions.
#[derive(Clone)]
pub(super) struct Count {
    usage: Arc<Usage>,
    limit: u64,
}

impl Count {
    fn add(&self, bytes: &Bytes) -> bool {
        let length = bytes.len() as u64;
        self.usage.bytes.fetch_add(length, Relaxed).saturating_add(length) <= self.limit
    }

    /// `body`, which ends in an error once the limit is reached.
    pub(super) fn counted<B>(self, body: B, over: fn(u64) -> Error) -> WasiBody
    where
        B: http_body::Body<Data = Bytes, Error = Error> + Send + 'static,
    {
        let frames = BodyStream::new(body).map(move |frame| {
            let frame = frame?;
            let is_within = frame.data_ref().is_none_or(|bytes| self.add(bytes));
            if is_within { Ok(frame) } else { Err(over(self.limit)) }
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

impl Outbound {
    async fn send(
        &self,
        destination: &Destination,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        count: Count,
        places: Places,
    ) -> Result<(http::Response<WasiBody>, Transmission), Error> {
        let asked = options.and_then(|options| options.connect_timeout).unwrap_or(CONNECT_TIMEOUT);
        let due = Instant::now() + asked.min(CONNECT_TIMEOUT);
        let stream =
            timeout_at(due, self.connect(destination)).await.map_err(|_| Error::ConnectionTimeout)??;
        match destination.scheme {
            OutboundScheme::Http => exchange(stream, request, options, count, places).await,
            OutboundScheme::Https => {
                let name = ServerName::try_from(destination.host.clone())
                    .map_err(|_| Error::HttpRequestUriInvalid)?;
                let connecting = TlsConnector::from(self.tls.clone()).connect(name, stream);
                let stream = timeout_at(due, connecting)
                    .await
                    .map_err(|_| Error::ConnectionTimeout)?
                    .map_err(Error::Tls)?;
                exchange(stream, request, options, count, places).await
            }
        }
    }

    /// Asks the system for a name's addresses. A lookup cannot be broken off: one that nobody waits for
    /// any more keeps its turn until it ends, so that those who leave cannot fill the threads.
    async fn look_up(&self, host: String, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let turn = self.lookups.clone().acquire_owned().await.expect("the semaphore is never closed");
        let work = move || {
            let _turn = turn;
            (host, port).to_socket_addrs().map(Iterator::collect)
        };
        let found = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
        found.map_err(|error| Error::DnsError { rcode: Some(error.to_string()), info_code: None })
    }

    /// A place among the connections of the handler and among those of the host.
    fn places(&self, handler: Arc<Semaphore>, under_way: Arc<()>) -> Result<Places, Error> {
        let (handler, host) = (Self::place_of(handler)?, Self::place_of(self.connections.clone())?);
        Ok(Places { _handler: handler, _host: host, _under_way: under_way })
    }

    fn place_of(places: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
        places.try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)
    }

    /// Connects to an address behind the name that may be connected to.
    async fn connect(&self, destination: &Destination) -> Result<TcpStream, Error> {
        let Destination { host, port, .. } = destination;
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![(address, *port).into()],
            Err(_) => self.look_up(host.clone(), *port).await?,
        };
        let allowed: Vec<SocketAddr> =
            addresses.into_iter().filter(|address| self.addresses.allow(address.ip())).collect();
        let mut last = Error::DestinationIpProhibited;
        for address in allowed {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Requests are written whole; waiting for more to send only adds latency.
                    stream.set_nodelay(true).map_err(Error::Connect)?;
                    return Ok(stream);
                }
                Err(error) => last = Error::Connect(error),
            }
        }
        Err(last)
    }
}

/// What a connection takes, given back when it is closed.
struct Places {
    _handler: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
    _under_way: Arc<()>,
}

/// Sends a request on a connection of its own.
async fn exchange<S>(
    stream: S,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    count: Count,
    places: Places,
) -> Result<(http::Response<WasiBody>, Transmission), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first_byte_timeout = options.and_then(|options| options.first_byte_timeout);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (mut parts, body) = request.into_parts();
    // A server is asked for the path; the rest of the address is in `host` (RFC 9112 §3.2.1).
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let body = count.clone().counted(body, |limit| Error::HttpRequestBodySize(Some(limit)));
    let mut transmission = Box::pin(async move {
        // Given back with the connection.
        let _places = places;
        connection.await.map_err(Error::from)
    });
    let sending = async {
        let response = sender.send_request(http::Request::from_parts(parts, body));
        match first_byte_timeout {
            Some(limit) => timeout(limit, response).await.map_err(|_| Error::ConnectionReadTimeout)?,
            None => response.await,
        }
        .map_err(Error::from)
    };
    let mut sending = std::pin::pin!(sending);
    let counted = |response: http::Response<Incoming>| {
        response.map(|body| {
            count.counted(body.map_err(Error::from), |limit| Error::HttpResponseBodySize(Some(limit)))
        })
    };
    let response = tokio::select! {
        response = &mut sending => response?,
        // The connection's end says less than what becomes of the request.
        ended = &mut transmission => {
            let response = match sending.await {
                Ok(response) => response,
                Err(error) => return Err(ended.err().unwrap_or(error)),
            };
            return Ok((counted(response), Box::new(std::future::ready(ended))));
        }
    };
    Ok((counted(response), Box::new(transmission)))
}
