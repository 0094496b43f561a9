//! What the tests share: a store in a temporary folder, and short ways to fill it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use modelet_store::{
    Actor, ArtifactsConfig, AuditKey, BucketConfig, MetastoreUrl, NewRevision, Precondition, Revision, Store,
    StoreConfig, StoreError, UploadRange, UploadState,
};
use modelet_test_postgres::Server;
use modelet_test_s3::{self as s3, S3Server};
use modelet_types::{Digest, FunctionName, RevisionNumber, RevisionSpec, TenantName, TrafficSplit, Trust};
use serde_json::json;
use tempfile::TempDir;

pub const MAX_BYTES: u64 = 64 << 20;

pub struct Fixture {
    pub store: Arc<Store>,
    pub config: StoreConfig,
    _folder: TempDir,
    _server: Option<S3Server>,
}

impl Fixture {
    async fn new(metastore_url: Option<String>, server: Option<S3Server>) -> Self {
        let folder = TempDir::new().unwrap();
        let artifacts =
            server.as_ref().map(|server| artifacts(&server.endpoint(), "data")).unwrap_or_default();
        let config = StoreConfig { artifacts, ..config(folder.path(), metastore_url) };
        Self { store: open_at(&config).await, config, _folder: folder, _server: server }
    }
}

pub async fn sqlite() -> Fixture {
    Fixture::new(None, None).await
}

pub async fn postgres() -> Fixture {
    Fixture::new(Some(database()), None).await
}

/// A store with its artifacts in a bucket.
pub async fn bucket() -> Fixture {
    Fixture::new(None, Some(S3Server::start())).await
}

/// Artifacts under a prefix of the bucket of the server at `endpoint`.
pub fn artifacts(endpoint: &str, prefix: &str) -> ArtifactsConfig {
    let variables = s3::variables(endpoint).into();
    let bucket = BucketConfig { url: s3::url(prefix), variables, retry_for: Duration::from_millis(300) };
    ArtifactsConfig { bucket: Some(bucket), cache_bytes: 0 }
}

/// The URL of an empty database on the server that these tests share.
pub fn database() -> String {
    Server::shared().database().unwrap()
}

pub fn config(folder: &Path, metastore_url: Option<String>) -> StoreConfig {
    let metastore_url = metastore_url.map(MetastoreUrl::new);
    StoreConfig { metastore_url, ..StoreConfig::embedded(folder.join("data")) }
}

/// Opens an embedded store that has the tenants of these tests.
pub async fn open(folder: &Path) -> Arc<Store> {
    open_at(&StoreConfig::embedded(folder)).await
}

/// As [`open`], with artifacts elsewhere.
pub async fn open_with(folder: &Path, artifacts: ArtifactsConfig) -> Result<Arc<Store>, StoreError> {
    try_open(&StoreConfig { artifacts, ..StoreConfig::embedded(folder) }).await
}

/// As [`open`], wherever it is.
pub async fn open_at(config: &StoreConfig) -> Arc<Store> {
    try_open(config).await.unwrap()
}

async fn try_open(config: &StoreConfig) -> Result<Arc<Store>, StoreError> {
    let store = Store::open(config).await?;
    for name in ["a", "b", "c"] {
        match store.create_tenant(&Actor::LOCAL, &tenant(name), Trust::Untrusted).await {
            Ok(_) | Err(StoreError::TenantNameTaken { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    Ok(store)
}

/// An error and its sources, as an operator reads it.
pub fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// The id of the change that made a tenant of these tests.
pub const MADE: u64 = 1;

/// The key that the host of a store signs with.
pub fn audit_key(store: &Store) -> AuditKey {
    AuditKey::read_or_make(&store.data_dir().join("audit.key")).unwrap().0
}

pub fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

pub fn function(name: &str) -> FunctionName {
    name.parse().unwrap()
}

pub fn split(shares: &[(u64, u32)]) -> TrafficSplit {
    let shares: Vec<_> =
        shares.iter().map(|(revision, weight)| json!({"revision": revision, "weight": weight})).collect();
    serde_json::from_value(shares.into()).unwrap()
}

pub fn spec(component: Digest) -> RevisionSpec {
    serde_json::from_value(json!({ "component": component })).unwrap()
}

pub fn range(offset: u64, total: usize) -> UploadRange {
    UploadRange { offset, total_bytes: total as u64, max_bytes: MAX_BYTES }
}

/// A body in pieces, so that none of the tests depends on how it is cut.
pub fn body(bytes: &[u8]) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + use<> {
    let pieces: Vec<_> = bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

pub async fn append(
    store: &Arc<Store>,
    owner: &TenantName,
    digest: Digest,
    range: UploadRange,
    bytes: &[u8],
) -> Result<UploadState, StoreError> {
    store.append_upload(&Actor::LOCAL, owner, digest, range, body(bytes)).await
}

pub async fn upload(store: &Arc<Store>, owner: &TenantName, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let state = append(store, owner, digest, range(0, bytes.len()), bytes).await.unwrap();
    assert_eq!(state, UploadState::Complete { size_bytes: bytes.len() as u64 });
    digest
}

pub async fn deploy(
    store: &Arc<Store>,
    owner: &TenantName,
    name: &str,
    component: Digest,
    activate: bool,
) -> Result<Revision, StoreError> {
    let new = NewRevision {
        spec: spec(component),
        details: json!({"handler": "modelet"}),
        activate,
        precondition: Precondition::NONE,
    };
    store.create_revision(&Actor::LOCAL, owner, &function(name), new).await
}

/// Uploads a component that no other call uploads, and deploys it.
pub async fn deploy_new(
    store: &Arc<Store>,
    owner: &TenantName,
    name: &str,
    activate: bool,
) -> RevisionNumber {
    let unique = format!("{owner}/{name}/{:?}", std::time::Instant::now());
    let component = upload(store, owner, unique.as_bytes()).await;
    deploy(store, owner, name, component, activate).await.unwrap().number
}

/// Every file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
