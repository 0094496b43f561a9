//! A real S3 server for tests, s3s-fs over a temporary folder, on a port of this machine. It can be stopped as if
//! it were killed, started again, and told to hold its answers back.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use hyper::service::service_fn;
use hyper::{Method, Request, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use modelet_types::Digest;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

const BUCKET: &str = "models";
const KEY: &str = "a-key";
const SECRET: &str = "a-secret";

/// A running server. Stopped when dropped.
pub struct S3Server {
    folder: TempDir,
    address: SocketAddr,
    counts: Arc<Counts>,
    held_back: watch::Sender<Held>,
    running: Option<Running>,
}

/// Which requests wait for their answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// None does.
    Nothing,
    /// All do.
    Everything,
    /// Those that remove objects do.
    Removals,
}

/// Requests for blobs that have come.
#[derive(Default)]
struct Counts {
    reads: AtomicUsize,
    writes: AtomicUsize,
    removals: AtomicUsize,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl S3Server {
    /// Starts one with an empty bucket.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut server = Self {
            folder,
            address: ([127, 0, 0, 1], 0).into(),
            counts: Arc::default(),
            held_back: watch::Sender::new(Held::Nothing),
            running: None,
        };
        server.resume();
        server
    }

    /// Starts it again, on the same port.
    pub fn resume(&mut self) {
        let mut service = S3ServiceBuilder::new(FileSystem::new(self.folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let (service, counts, gate) = (service.build(), Arc::clone(&self.counts), self.held_back.subscribe());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let address = self.address;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(address).await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, service, counts, gate) => {}
                    _ = stopped => {}
                }
            });
            // With the runtime go the connections, whatever they are at.
        });
        self.address = is_ready.recv().unwrap();
        self.running = Some(Running { stop, thread });
    }

    /// Ends it, and every connection, as a kill would.
    pub fn stop(&mut self) {
        let Running { stop, thread } = self.running.take().unwrap();
        stop.send(()).unwrap();
        thread.join().unwrap();
    }

    /// Has requests wait for their answers from now on.
    pub fn hold_back(&self, held: Held) {
        self.held_back.send_replace(held);
    }

    /// Requests for the bytes of blobs.
    pub fn reads(&self) -> usize {
        self.counts.reads.load(Ordering::SeqCst)
    }

    /// Requests that bring bytes of blobs.
    pub fn writes(&self) -> usize {
        self.counts.writes.load(Ordering::SeqCst)
    }

    /// Requests that remove objects.
    pub fn removals(&self) -> usize {
        self.counts.removals.load(Ordering::SeqCst)
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the objects under a prefix are, as files.
    pub fn objects(&self, prefix: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(prefix)
    }

    /// Where the object of a blob is, as a file.
    pub fn object(&self, prefix: &str, digest: Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.objects(prefix).join("sha256").join(&hex[..2]).join(hex)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.stop();
        }
    }
}

/// The URL of a prefix of the server's only bucket.
pub fn url(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

/// What the environment of a host says of the server at `endpoint`.
pub fn variables(endpoint: &str) -> [(String, String); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

async fn serve(listener: TcpListener, service: S3Service, counts: Arc<Counts>, gate: watch::Receiver<Held>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (service, counts, gate) = (service.clone(), Arc::clone(&counts), gate.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (service, mut gate) = (service.clone(), gate.clone());
            if is_of_a_blob(Path::new(request.uri().path())) {
                let count = match *request.method() {
                    Method::GET => Some(&counts.reads),
                    Method::PUT | Method::POST => Some(&counts.writes),
                    _ => None,
                };
                count.map(|count| count.fetch_add(1, Ordering::SeqCst));
            }
            // Several objects are removed by one request, which names none of them in its address.
            let removes = request.uri().query().is_some_and(|query| query.contains("delete"));
            if removes {
                counts.removals.fetch_add(1, Ordering::SeqCst);
            }
            async move {
                let passes = |held: &Held| match held {
                    Held::Nothing => true,
                    Held::Everything => false,
                    Held::Removals => !removes,
                };
                gate.wait_for(passes).await.unwrap();
                service.call(request.map(s3s::Body::from)).await
            }
        });
        tokio::spawn(async move {
            let connection = Builder::new(TokioExecutor::new());
            // One that a client closes in the middle is no failure of the server.
            _ = connection.serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

fn is_of_a_blob(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).and_then(Digest::from_hex).is_some()
}
