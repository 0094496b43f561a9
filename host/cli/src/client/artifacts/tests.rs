//! Uploads to a stand-in for the host that keeps bytes as the real one does, and breaks off; and to
//! a real one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response as AxumResponse};
use axum::routing::patch;
use futures::StreamExt as _;
use modelet_server::{CompileSettings, Config, Host, InferenceSettings};

use super::*;
use crate::credentials::Credential;

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

fn reply(status: StatusCode, kept: &Kept) -> AxumResponse {
    (status, [(UPLOAD_OFFSET, kept.bytes.len().to_string())]).into_response()
}

async fn head(State(shared): State<Shared>) -> AxumResponse {
    let kept = shared.lock().unwrap();
    reply(if kept.whole { StatusCode::OK } else { StatusCode::NOT_FOUND }, &kept)
}

async fn append(
    State(shared): State<Shared>,
    UrlPath(digest): UrlPath<String>,
    headers: HeaderMap,
    body: Body,
) -> AxumResponse {
    let number = |name: &str| headers[name].to_str().unwrap().parse::<u64>().unwrap();
    let (offset, length) = (number(UPLOAD_OFFSET), number(UPLOAD_LENGTH));
    let breaks = {
        let mut kept = shared.lock().unwrap();
        kept.offsets.push(offset);
        if kept.bytes.len() as u64 > length {
            kept.bytes.clear();
        }
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
    if (kept.bytes.len() as u64) < length {
        return reply(StatusCode::NO_CONTENT, &kept);
    }
    kept.whole = Digest::of(&kept.bytes).to_string() == digest;
    if !kept.whole {
        kept.bytes.clear();
        let problem = r#"{ "status": 422, "code": "digest_mismatch", "detail": "something else" }"#;
        return (StatusCode::UNPROCESSABLE_ENTITY, problem).into_response();
    }
    reply(StatusCode::CREATED, &kept)
}

async fn host(kept: Kept) -> (Client, Shared) {
    let shared = Arc::new(Mutex::new(kept));
    let app = Router::new()
        .route("/api/v1/artifacts/{digest}", patch(append).head(head))
        .with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&listener.local_addr().unwrap().to_string(), None).unwrap();
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
    let mut kept = shared.lock().unwrap();
    assert!(kept.bytes == bytes);
    assert!(kept.offsets.is_sorted());
    // An answer may be lost in the bytes still being sent; then the same offset is asked for again.
    kept.offsets.dedup();
    assert_eq!((kept.offsets.len(), kept.offsets[0]), (3, 1_000));
}

#[tokio::test]
async fn begins_anew_where_the_host_has_something_else() {
    let (file, bytes) = file();
    for (foreign, offsets) in
        [(1, &[1, 0][..]), (bytes.len(), &[bytes.len() as u64, 0]), (bytes.len() + 1, &[0])]
    {
        let (client, shared) = host(Kept { bytes: vec![7; foreign], ..Kept::default() }).await;
        assert_eq!(upload(&client, file.path()).await.0.unwrap(), Uploaded::From(0));
        let kept = shared.lock().unwrap();
        assert!(kept.bytes == bytes);
        assert_eq!(kept.offsets, offsets);
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_it_was_is_refused() {
    let (file, bytes) = file();
    let (client, shared) = host(Kept { bytes: vec![7], ..Kept::default() }).await;
    let (digest, size) = (Digest::of(b"what it was"), bytes.len() as u64);
    let error = client.upload(file.path(), digest, size, |_| {}).await.unwrap_err();
    assert_eq!(crate::error::exit_of(&error), crate::error::Exit::Failed, "{error}");
    assert_eq!(shared.lock().unwrap().offsets, [1, 0], "anew once, and then no more");
}

/// The program that compiles and runs models for the host, which a test is not: cargo builds it for the
/// tests in `tests/`, and puts those of this module into a folder beside it.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("modelet");
    assert!(program.is_file(), "`cargo test -p modelet` builds {}", program.display());
    program
}

/// The host itself, and not a stand-in.
async fn real_host(data_dir: &Path, max_artifact_bytes: u64) -> (Client, Host) {
    let config = Config {
        data_dir: data_dir.into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        max_instances: 1,
        max_artifact_bytes,
        inference: InferenceSettings { worker_program: Some(program()), ..InferenceSettings::default() },
        compile: CompileSettings { program: Some(program()), ..CompileSettings::default() },
        ..Config::default()
    };
    let host = Host::start(config).await.unwrap();
    let key = Credential::KeyFile(host.operator_key_file().unwrap()).key().unwrap();
    (Client::new(&host.local_addr().to_string(), None).unwrap().with_key(key), host)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_takes_an_artifact_whatever_was_sent_under_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (client, host) = real_host(folder.path(), 1 << 20).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    for (artifact, foreign) in [("first", 1), ("second", 6), ("third", 100)] {
        std::fs::write(file.path(), artifact).unwrap();
        let (digest, _) = digest_of(file.path()).await.unwrap();
        let sent = client.request(Method::PATCH, &address(digest)).unwrap().body(vec![7; foreign]);
        let sent = sent.header(UPLOAD_OFFSET, 0).header(UPLOAD_LENGTH, foreign + 1);
        assert_eq!(client.send_raw(sent).await.unwrap().status(), StatusCode::NO_CONTENT);
        assert_eq!(upload(&client, file.path()).await.0.unwrap(), Uploaded::From(0), "{artifact}");
        assert_eq!(upload(&client, file.path()).await.0.unwrap(), Uploaded::AlreadyThere);
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_refusal_is_told_although_the_connection_broke() {
    let folder = tempfile::tempdir().unwrap();
    let (client, host) = real_host(folder.path(), 1 << 20).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    // More than the buffers between the two hold, so that it is still being sent when it is refused.
    file.as_file().set_len(32 << 20).unwrap();
    let error = upload(&client, file.path()).await.0.unwrap_err();
    let Some(Error::Host(problem)) = crate::error::foreseen(&error) else { panic!("{error}") };
    assert_eq!(problem.code(), Some(Code::RequestTooLarge));
    host.shutdown().await;
}

#[tokio::test]
async fn the_digest_is_that_of_the_file() {
    let (file, bytes) = file();
    assert_eq!(digest_of(file.path()).await.unwrap(), (Digest::of(&bytes), bytes.len() as u64));
}
