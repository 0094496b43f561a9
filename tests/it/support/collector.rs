//! A collector of events, which does as it is told and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use bytes::Bytes;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// What a collector does with requests.
#[derive(Clone, Debug)]
pub enum Behaviour {
    Take,
    /// Answers this status, with these headers.
    Answer(u16, Vec<(&'static str, String)>),
    /// Reads the request, and says nothing.
    Hang,
    /// Takes so many events at once, and refuses more.
    TakeAtMost(usize),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Collected {
    pub content_type: String,
    pub authorization: Option<String>,
    pub body: String,
    pub was_taken: bool,
}

impl Collected {
    pub fn events(&self) -> Vec<Value> {
        serde_json::from_str(&self.body).expect("a request is an array of events")
    }

    pub fn ids(&self) -> Vec<String> {
        let id = |event: Value| event["id"].as_str().expect("an event has an id").to_owned();
        self.events().into_iter().map(id).collect()
    }
}

#[derive(Clone)]
struct Shared {
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<Mutex<Vec<Collected>>>,
}

/// A running collector; it ends when it is dropped.
pub struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    shared: Shared,
    stopping: CancellationToken,
    serving: JoinHandle<()>,
}

impl Collector {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        Self::serve("http", address, listener, behaviour)
    }

    pub async fn start_with_tls(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        Self::serve("https", address, Tls { listener, acceptor }, Behaviour::Take)
    }

    fn serve<L>(scheme: &'static str, address: SocketAddr, listener: L, behaviour: Behaviour) -> Self
    where
        L: Listener,
        L::Addr: std::fmt::Debug,
    {
        let shared = Shared { behaviour: Arc::new(Mutex::new(behaviour)), requests: Arc::default() };
        let app = Router::new().fallback(collect).with_state(shared.clone());
        let stopping = CancellationToken::new();
        let stopped = stopping.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            axum::serve(listener, app).with_graceful_shutdown(stopped).await.expect("it serves");
        });
        Self { address, scheme, shared, stopping, serving }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}/api/v1/events", self.scheme, self.address.port())
    }

    pub fn will(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    pub fn requests(&self) -> Vec<Collected> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The events that it has taken, with those that came twice.
    pub fn taken(&self) -> Vec<Value> {
        self.requests().iter().filter(|request| request.was_taken).flat_map(Collected::events).collect()
    }

    /// Closes the port, so that connections are refused.
    pub async fn close(&mut self) {
        self.stopping.cancel();
        (&mut self.serving).await.expect("it ends");
    }

    /// Opens the same port again, with what was collected before.
    pub async fn open_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("nobody else has taken the port");
        let requests = self.requests();
        *self = Self::serve(self.scheme, self.address, listener, Behaviour::Take);
        *self.shared.requests.lock().unwrap() = requests;
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn collect(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return 400.respond() };
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let behaviour = shared.behaviour.lock().unwrap().clone();
    let events = serde_json::from_slice::<Vec<Value>>(&body).unwrap_or_default().len();
    let was_taken = match &behaviour {
        Behaviour::Take => true,
        Behaviour::TakeAtMost(most) => events <= *most,
        Behaviour::Answer(..) | Behaviour::Hang => false,
    };
    shared.requests.lock().unwrap().push(Collected {
        content_type: text("content-type").unwrap_or_default(),
        authorization: text("authorization"),
        body: String::from_utf8(Bytes::into(body)).unwrap_or_default(),
        was_taken,
    });
    match behaviour {
        _ if was_taken => 204.respond(),
        Behaviour::Answer(status, headers) => {
            let mut response = status.respond();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Take | Behaviour::TakeAtMost(_) => 413.respond(),
    }
}

trait Respond {
    fn respond(self) -> Response;
}

impl Respond for u16 {
    fn respond(self) -> Response {
        axum::http::StatusCode::from_u16(self).expect("a status").into_response()
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("connections come");
            // One that does not trust it leaves.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
