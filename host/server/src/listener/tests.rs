use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use modelet_control::Identity;

use super::*;
use crate::caller::Identification;

/// Long for what happens at once, short for whoever waits for a test that fails.
const DEADLINE: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// More than sockets hold between them.
const LARGE: usize = 64 << 20;

/// A listener that serves `app` for as long as it lives.
struct Serving {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
}

fn settings() -> Settings {
    Settings {
        header_timeout: Duration::from_millis(200),
        write_timeout: Duration::from_millis(200),
        max_connections: 10,
        shutdown_grace: Duration::ZERO,
    }
}

async fn serving(router: Router, settings: Settings) -> Serving {
    let app = App::new(router, &[], identification());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stopping, stopped) = watch::channel(false);
    tokio::spawn(serve(listener, app, None, settings, stopped));
    Serving { address, stopping }
}

impl Serving {
    /// A client that takes in little of what it does not read.
    async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
    }
}

/// An app that answers a large body, and says when the body's memory is free.
fn large() -> (Router, mpsc::UnboundedReceiver<()>) {
    struct Large(Vec<u8>, mpsc::UnboundedSender<()>);
    impl AsRef<[u8]> for Large {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Large {
        fn drop(&mut self) {
            let _ = self.1.send(());
        }
    }
    let (dropped, drops) = mpsc::unbounded_channel();
    let answer = move || {
        let body = Bytes::from_owner(Large(vec![0; LARGE], dropped.clone()));
        async move { body }
    };
    (Router::new().route("/", get(answer)), drops)
}

fn small() -> Router {
    Router::new().route("/", get(async || "small"))
}

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Reads until the host closes; a reset is an end too.
async fn to_the_end(client: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = in_time("the end of a connection", client.read_to_end(&mut read)).await;
    read
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let host = serving(small(), settings()).await;
    for first in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost"] {
        let mut client = host.connect().await;
        client.write_all(first.as_bytes()).await.unwrap();
        assert_eq!(to_the_end(&mut client).await, b"", "after {first:?}");
    }
}

fn identification() -> Identification {
    Identification::None(Arc::new(Identity::local()), None)
}

#[tokio::test]
async fn a_request_may_arrive_in_pieces() {
    let host = serving(small(), settings()).await;
    let mut client = host.connect().await;
    for piece in REQUEST.chunks(1) {
        client.write_all(piece).await.unwrap();
    }
    let answer = String::from_utf8(to_the_end(&mut client).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("small"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let (app, mut drops) = large();
    let host = serving(app, settings()).await;
    let mut client = host.connect().await;
    client.write_all(REQUEST).await.unwrap();
    in_time("the answer to be given up", drops.recv()).await.unwrap();
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_another_to_end() {
    let host = serving(small(), Settings { max_connections: 1, ..settings() }).await;
    let began = Instant::now();
    let mut idle = host.connect().await;
    let mut waiting = host.connect().await;
    waiting.write_all(REQUEST).await.unwrap();
    assert!(to_the_end(&mut waiting).await.starts_with(b"HTTP/1.1 200"));
    assert!(began.elapsed() >= settings().header_timeout, "both were served at once");
    assert_eq!(to_the_end(&mut idle).await, b"");
}

/// An HTTP/2 client that is as unhelpful as the protocol lets it be.
mod http2_client {
    use super::*;

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    const ACK: u8 = 1;

    /// Says hello; `window` is what the host may send on a stream.
    pub(super) async fn open(host: &Serving, window: u32) -> TcpStream {
        let mut client = host.connect().await;
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut initial_window = vec![0, 4];
        initial_window.extend(window.to_be_bytes());
        send(&mut client, SETTINGS, 0, 0, &initial_window).await;
        client
    }

    /// Asks for `/` (RFC 7541 has the table that the bytes point into).
    pub(super) async fn ask(client: &mut TcpStream) {
        let (headers, end_of_stream_and_headers) = (1, 5);
        let fields = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat();
        send(client, headers, end_of_stream_and_headers, 1, &fields).await;
    }

    async fn send(client: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        client.write_all(&frame).await.unwrap();
    }

    /// Answers pings until the host closes; gives the kinds of all frames that came.
    pub(super) async fn frames(client: &mut TcpStream) -> Vec<u8> {
        let mut kinds = Vec::new();
        let mut head = [0; 9];
        while client.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if client.read_exact(&mut payload).await.is_err() {
                break;
            }
            kinds.push(head[3]);
            if head[3] == PING && head[4] & ACK == 0 {
                send(client, PING, ACK, 0, &payload).await;
            }
        }
        kinds
    }
}

#[tokio::test]
async fn an_http2_connection_without_requests_is_closed_though_it_answers_pings() {
    let host = serving(small(), settings()).await;
    let mut client = http2_client::open(&host, 65_535).await;
    http2_client::ask(&mut client).await;
    let frames = in_time("the farewell", http2_client::frames(&mut client)).await;
    let (headers, data) = (1, 0);
    for kind in [headers, data, http2_client::GOAWAY] {
        assert!(frames.contains(&kind), "{frames:?}");
    }
}

#[tokio::test]
async fn an_http2_answer_whose_window_stays_shut_is_given_up() {
    for window in [0, 1] {
        let (app, mut drops) = large();
        let host = serving(app, settings()).await;
        let mut client = http2_client::open(&host, window).await;
        http2_client::ask(&mut client).await;
        in_time("the answer to be given up", drops.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn an_http2_answer_arrives_whole() {
    let body = Bytes::from((0..1_000_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>());
    let expected = body.clone();
    let app = App::new(Router::new().route("/", get(async move || body)), &[], identification());
    let mut request = http::Request::new(Body::empty());
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
    let answer = http2::answer(app, request, Running::new(), DEADLINE);
    let response = answer.await.unwrap();
    assert_eq!(response.headers()["content-length"], expected.len().to_string());
    assert_eq!(axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap(), expected);
}
