//! Uploads to a stand-in for the host that keeps bytes as the real one does, and breaks off.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::patch;
use futures::StreamExt as _;

use super::*;

/// What the stand-in has, and how it will treat the next uploads.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    whole: bool,
    /// Uploads that are broken off after half of their bytes.
    breaks: u32,
    /// Every upload's offset.
    offsets: Vec<u64>,
}

type Shared = Arc<Mutex<Kept>>;
type Reply = (StatusCode, [(&'static str, String); 1]);

fn reply(status: StatusCode, kept: &Kept) -> Reply {
    (status, [(UPLOAD_OFFSET, kept.bytes.len().to_string())])
}

async fn head(State(shared): State<Shared>) -> Reply {
    let kept = shared.lock().unwrap();
    reply(if kept.whole { StatusCode::OK } else { StatusCode::NOT_FOUND }, &kept)
}

async fn append(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Reply {
    let number = |name: &str| headers[name].to_str().unwrap().parse::<u64>().unwrap();
    let (offset, length) = (number(UPLOAD_OFFSET), number(UPLOAD_LENGTH));
    let breaks = {
        let mut kept = shared.lock().unwrap();
        kept.offsets.push(offset);
        if offset != kept.bytes.len() as u64 {
            return reply(StatusCode::CONFLICT, &kept);
        }
        let breaks = kept.breaks > 0;
        kept.breaks = kept.breaks.saturating_sub(1);
        breaks
    };
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let mut kept = shared.lock().unwrap();
        kept.bytes.extend_from_slice(&chunk.unwrap());
        if breaks && kept.bytes.len() as u64 > offset + (length - offset) / 2 {
            return reply(StatusCode::NO_CONTENT, &kept);
        }
    }
    let mut kept = shared.lock().unwrap();
    kept.whole = kept.bytes.len() as u64 == length;
    reply(StatusCode::CREATED, &kept)
}

async fn host(kept: Kept) -> (Client, Shared) {
    let shared = Arc::new(Mutex::new(kept));
    let app = Router::new()
        .route("/api/v1/artifacts/{digest}", patch(append).head(head))
        .with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&listener.local_addr().unwrap().to_string()).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (client, shared)
}

/// A file of several chunks.
fn file() -> (tempfile::NamedTempFile, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 5).map(|index| (index % 251) as u8).collect();
    std::fs::write(file.path(), &bytes).unwrap();
    (file, bytes)
}

async fn upload(client: &Client, file: &Path) -> (anyhow::Result<Uploaded>, u64) {
    let (digest, size) = digest_of(file).await.unwrap();
    let position = Arc::new(Mutex::new(0));
    let seen = position.clone();
    let uploaded = client.upload(file, digest, size, move |bytes| *seen.lock().unwrap() = bytes).await;
    let position = *position.lock().unwrap();
    (uploaded, position)
}

#[tokio::test]
async fn sends_a_file_once() {
    let (file, bytes) = file();
    let (client, shared) = host(Kept::default()).await;
    let (uploaded, position) = upload(&client, file.path()).await;
    assert_eq!((uploaded.unwrap(), position), (Uploaded::From(0), bytes.len() as u64));
    assert!(shared.lock().unwrap().bytes == bytes);
    assert_eq!(upload(&client, file.path()).await.0.unwrap(), Uploaded::AlreadyThere);
    assert_eq!(shared.lock().unwrap().offsets, [0]);
}

#[tokio::test]
async fn goes_on_where_it_was_broken_off() {
    let (file, bytes) = file();
    let earlier = bytes[..1_000].to_vec();
    let (client, shared) = host(Kept { bytes: earlier, breaks: 2, ..Kept::default() }).await;
    assert_eq!(upload(&client, file.path()).await.0.unwrap(), Uploaded::From(1_000));
    let kept = shared.lock().unwrap();
    assert!(kept.bytes == bytes);
    assert_eq!((kept.offsets.len(), kept.offsets[0]), (3, 1_000));
    assert!(kept.offsets.is_sorted());
}

#[tokio::test]
async fn the_digest_is_that_of_the_file() {
    let (file, bytes) = file();
    assert_eq!(digest_of(file.path()).await.unwrap(), (Digest::of(&bytes), bytes.len() as u64));
}
