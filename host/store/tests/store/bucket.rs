//! Artifacts in a bucket: what goes there, what comes back, who may use it, and what happens while it is away.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modelet_store::{Artifact, ArtifactsConfig, Source, Store, StoreConfig, StoreError, UploadState, copy};
use modelet_test_s3::{Held, S3Server};
use modelet_types::{Code, Digest, Problem};
use tempfile::TempDir;

use crate::support::{
    append, artifacts, chain, deploy, files, function, open, open_with, range, tenant, upload,
};

const PREFIX: &str = "hosts/one";

/// A store in a folder of its own, with its artifacts in a bucket of its own.
struct Host {
    store: Arc<Store>,
    config: ArtifactsConfig,
    folder: TempDir,
    server: S3Server,
}

impl Host {
    async fn start(cache_bytes: u64) -> Self {
        let (folder, server) = (TempDir::new().unwrap(), S3Server::start());
        let config = ArtifactsConfig { cache_bytes, ..artifacts(&server.endpoint(), PREFIX) };
        let store = open_with(folder.path(), config.clone()).await.unwrap();
        Self { store, config, folder, server }
    }

    async fn restart(self) -> Self {
        let Self { store, config, folder, server } = self;
        store.close().await;
        drop(store);
        let store = open_with(folder.path(), config.clone()).await.unwrap();
        Self { store, config, folder, server }
    }

    async fn artifact(&self, digest: Digest) -> Artifact {
        self.store.artifact(&tenant("a"), digest).await.unwrap().unwrap()
    }

    /// The bytes of an artifact, fetched if they are not here.
    async fn read(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let held = self.store.hold(&self.artifact(digest).await).await?;
        Ok(fs::read(held.path()).unwrap())
    }

    fn object(&self, digest: Digest) -> std::path::PathBuf {
        self.server.object(PREFIX, digest)
    }

    /// Deletes everything in the cache.
    fn empty_cache(&self) {
        files(&self.folder.path().join("artifacts/sha256"))
            .iter()
            .for_each(|file| fs::remove_file(file).unwrap());
    }

    fn cached_bytes(&self) -> u64 {
        let files = files(&self.folder.path().join("artifacts/sha256"));
        files.iter().map(|file| fs::metadata(file).unwrap().len()).sum()
    }
}

/// Longer than what is sent in one request.
fn large() -> Vec<u8> {
    (0..20_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Waits for what another thread is about to do.
async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it happens within a minute");
}

#[tokio::test]
async fn an_artifact_is_in_the_bucket_and_in_the_cache() {
    let host = Host::start(0).await;
    let digest = upload(&host.store, &tenant("a"), b"model").await;
    assert_eq!(fs::read(host.object(digest)).unwrap(), b"model");
    assert_eq!(fs::read(host.artifact(digest).await.path).unwrap(), b"model");
    assert_eq!(host.read(digest).await.unwrap(), b"model");
    assert_eq!(host.server.reads(), 0);
}

#[tokio::test]
async fn a_large_artifact_goes_in_parts_and_comes_back() {
    let host = Host::start(0).await;
    let bytes = large();
    let digest = upload(&host.store, &tenant("a"), &bytes).await;
    // The beginning, three parts, and the end.
    assert_eq!(host.server.writes(), 5);
    assert!(fs::read(host.object(digest)).unwrap() == bytes);
    host.empty_cache();
    assert!(host.read(digest).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_cache_that_is_deleted_is_fetched_again_once_for_all_who_ask() {
    let host = Host::start(0).await;
    let digest = upload(&host.store, &tenant("a"), b"model").await;
    let artifact = host.artifact(digest).await;
    fs::remove_dir_all(host.folder.path().join("artifacts/sha256")).unwrap();
    assert!(host.store.hold_present(digest).is_none());
    host.server.hold_back(Held::Everything);
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let (store, artifact) = (Arc::clone(&host.store), artifact.clone());
            tokio::spawn(async move { fs::read(store.hold(&artifact).await.unwrap().path()).unwrap() })
        })
        .collect();
    until(|| host.server.reads() > 0).await;
    // One that leaves takes nothing from the others.
    waiters[0].abort();
    host.server.hold_back(Held::Nothing);
    for waiter in waiters.into_iter().skip(1) {
        assert_eq!(waiter.await.unwrap(), b"model");
    }
    assert_eq!(host.server.reads(), 1);
    assert!(host.store.hold_present(digest).is_some());
}

#[tokio::test]
async fn a_file_in_the_cache_that_was_cut_off_is_fetched_again() {
    let host = Host::start(0).await;
    let digest = upload(&host.store, &tenant("a"), b"model").await;
    fs::write(host.artifact(digest).await.path, b"mod").unwrap();
    assert_eq!(host.read(digest).await.unwrap(), b"model");
}

#[tokio::test]
async fn an_object_that_somebody_overwrote_is_refused_until_it_is_uploaded_again() {
    let host = Host::start(0).await;
    let (owner, other) = (tenant("a"), tenant("b"));
    let digest = upload(&host.store, &owner, b"model").await;
    upload(&host.store, &other, b"model").await;
    for (damaged, found) in [
        (&b"MODEL"[..], Digest::of(b"MODEL").to_string()),
        (b"model and more", "more than 5 bytes".to_owned()),
        (b"mod", Digest::of(b"mod").to_string()),
    ] {
        host.empty_cache();
        fs::write(host.object(digest), damaged).unwrap();
        let error = host.read(digest).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&digest.to_string()) && text.contains(&found), "{text}");
        assert!(text.contains("upload it again"), "{text}");
        assert_eq!(error.code(), Code::NotFound);
        assert_eq!(host.cached_bytes(), 0, "nothing of it is kept");
        assert!(files(&host.folder.path().join("artifacts/incoming")).is_empty());

        let nothing = UploadState::Partial { offset: 0 };
        assert_eq!(host.store.upload_offset(&owner, digest).await.unwrap(), nothing);
        upload(&host.store, &owner, b"model").await;
        assert_eq!(fs::read(host.object(digest)).unwrap(), b"model");
        let complete = UploadState::Complete { size_bytes: 5 };
        assert_eq!(host.store.upload_offset(&other, digest).await.unwrap(), complete);
        host.empty_cache();
        assert_eq!(host.read(digest).await.unwrap(), b"model");
    }
}

#[tokio::test]
async fn an_object_that_is_lost_is_received_again() {
    let host = Host::start(0).await;
    let owner = tenant("a");
    let digest = upload(&host.store, &owner, b"model").await;
    host.empty_cache();
    fs::remove_file(host.object(digest)).unwrap();
    let error = host.read(digest).await.unwrap_err();
    assert!(error.to_string().contains("are lost: upload it again"), "{error}");
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(host.store.upload_offset(&owner, digest).await.unwrap(), UploadState::Partial { offset: 0 });
    upload(&host.store, &owner, b"model").await;
    host.empty_cache();
    assert_eq!(host.read(digest).await.unwrap(), b"model");
}

#[tokio::test]
async fn the_cache_keeps_to_its_bound_and_what_is_held_stays() {
    let host = Host::start(2_500).await;
    let model = |n: u8| vec![n; 1_000];
    let mut digests = Vec::new();
    for n in 0..2 {
        digests.push(upload(&host.store, &tenant("a"), &model(n)).await);
    }
    // The first is now the one that was used last.
    host.read(digests[0]).await.unwrap();
    for n in 2..5 {
        digests.push(upload(&host.store, &tenant("a"), &model(n)).await);
        assert!(host.cached_bytes() <= 2_500);
        let held = host.store.hold(&host.artifact(digests[0]).await).await.unwrap();
        assert_eq!(fs::read(held.path()).unwrap(), model(0));
    }
    assert_eq!(host.server.reads(), 0, "what is used again and again is not let go");
    let host = host.restart().await;
    for (n, digest) in (0..).zip(&digests) {
        assert_eq!(host.read(*digest).await.unwrap(), model(n));
        assert!(host.cached_bytes() <= 2_500);
    }

    // Over the bound, if that is what it takes.
    let mut all = Vec::new();
    for digest in &digests {
        all.push(host.store.hold(&host.artifact(*digest).await).await.unwrap());
    }
    assert!(all.iter().all(|held| held.path().exists()));
    drop(all);
    upload(&host.store, &tenant("a"), b"one more").await;
    assert!(host.cached_bytes() <= 2_500);
    // What is open stays readable when it is let go.
    let held = host.store.hold(&host.artifact(digests[4]).await).await.unwrap();
    let mut open = fs::File::open(held.path()).unwrap();
    let path = held.path().to_owned();
    drop(held);
    for digest in &digests[..4] {
        host.read(*digest).await.unwrap();
    }
    assert!(!path.exists());
    assert_eq!(Digest::of_reader(&mut open).unwrap(), digests[4]);
}

#[tokio::test]
async fn an_upload_waits_in_the_folder_while_the_bucket_is_away() {
    let mut host = Host::start(0).await;
    let owner = tenant("a");
    let there = upload(&host.store, &owner, b"there before").await;
    let digest = Digest::of(b"model");
    // Stopped before the request, and under it.
    for is_under_way in [false, true] {
        if is_under_way {
            host.server.hold_back(Held::Everything);
            let before = host.server.writes();
            let store = Arc::clone(&host.store);
            let (owner, digest) = (owner.clone(), digest);
            let sending = tokio::spawn(async move { append(&store, &owner, digest, range(5, 5), b"").await });
            until(|| host.server.writes() > before).await;
            host.server.stop();
            check_unavailable(sending.await.unwrap().unwrap_err());
            host.server.hold_back(Held::Nothing);
        } else {
            host.server.stop();
            check_unavailable(append(&host.store, &owner, digest, range(0, 5), b"model").await.unwrap_err());
        }
        assert_eq!(host.store.artifact(&owner, digest).await.unwrap(), None);
        assert_eq!(
            host.store.upload_offset(&owner, digest).await.unwrap(),
            UploadState::Partial { offset: 5 }
        );
        // What is here can be named and used.
        let complete = UploadState::Complete { size_bytes: 12 };
        assert_eq!(host.store.upload_offset(&owner, there).await.unwrap(), complete);
        assert_eq!(host.read(there).await.unwrap(), b"there before");
        deploy(&host.store, &owner, "f", there, true).await.unwrap();
        check_unavailable(host.store.collect_garbage(Duration::from_secs(3_600)).await.unwrap_err());
        host.server.resume();
    }
    let done = append(&host.store, &owner, digest, range(5, 5), b"").await.unwrap();
    assert_eq!(done, UploadState::Complete { size_bytes: 5 });
    assert_eq!(fs::read(host.object(digest)).unwrap(), b"model");
}

/// An error that says nothing of the bucket to a client, and that it is worth trying again.
fn check_unavailable(error: StoreError) {
    assert!(matches!(error, StoreError::Bucket { .. }), "{error:?}");
    assert_eq!(error.code(), Code::StorageUnavailable);
    let problem = Problem::from(error);
    assert!(problem.detail.contains("try again later") && !problem.detail.contains("127.0.0.1"), "{problem}");
}

#[tokio::test]
async fn a_fetch_fails_while_the_bucket_is_away_and_succeeds_when_it_is_back() {
    let mut host = Host::start(0).await;
    let bytes = large();
    let digest = upload(&host.store, &tenant("a"), &bytes).await;
    let artifact = host.artifact(digest).await;
    host.empty_cache();
    host.server.hold_back(Held::Everything);
    let fetching = tokio::spawn({
        let (store, artifact) = (Arc::clone(&host.store), artifact.clone());
        async move { store.hold(&artifact).await }
    });
    until(|| host.server.reads() > 0).await;
    host.server.stop();
    let error = fetching.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::StorageUnavailable, "{error:?}");
    assert_eq!(host.read(digest).await.unwrap_err().code(), Code::StorageUnavailable);
    host.server.hold_back(Held::Nothing);
    host.server.resume();
    assert!(host.read(digest).await.unwrap() == bytes);
}

#[tokio::test]
async fn what_a_lost_removal_could_take_away_is_not_stored() {
    let mut host = Host::start(0).await;
    let owner = tenant("a");
    let digest = upload(&host.store, &owner, b"model").await;
    let before = host.server.removals();
    host.server.hold_back(Held::Removals);
    let store = Arc::clone(&host.store);
    let collecting = tokio::spawn(async move { store.collect_garbage(Duration::ZERO).await });
    until(|| host.server.removals() > before).await;
    host.server.stop();
    check_unavailable(collecting.await.unwrap().unwrap_err());
    host.server.hold_back(Held::Nothing);
    host.server.resume();
    // The row is gone, and the server may still be at the removal: nobody knows.
    assert_eq!(host.store.artifact(&owner, digest).await.unwrap(), None);
    let error = append(&host.store, &owner, digest, range(0, 5), b"model").await.unwrap_err();
    assert!(matches!(error, StoreError::RemovalUnderWay(d) if d == digest), "{error:?}");
    assert_eq!(error.code(), Code::StorageUnavailable);
    upload(&host.store, &owner, b"another").await;
    assert_eq!(host.store.collect_garbage(Duration::from_secs(3600)).await.unwrap().blobs, 1);
    assert!(!host.object(digest).exists());
}

#[tokio::test]
async fn a_start_goes_on_without_a_bucket_that_does_not_answer() {
    let mut host = Host::start(0).await;
    let digest = upload(&host.store, &tenant("a"), b"model").await;
    let away = upload(&host.store, &tenant("a"), b"only in the bucket").await;
    fs::remove_file(host.artifact(away).await.path).unwrap();
    host.server.stop();
    let mut host = host.restart().await;
    assert_eq!(host.read(digest).await.unwrap(), b"model");
    assert_eq!(host.read(away).await.unwrap_err().code(), Code::StorageUnavailable);
    host.server.resume();
    assert_eq!(host.read(away).await.unwrap(), b"only in the bucket");
}

async fn refusal(folder: &Path, config: ArtifactsConfig) -> String {
    let config = StoreConfig { artifacts: config, ..StoreConfig::embedded(folder) };
    chain(&Store::open(&config).await.map(drop).unwrap_err())
}

fn with(mut config: ArtifactsConfig, name: &str, value: &str) -> ArtifactsConfig {
    config.bucket.as_mut().unwrap().variables.insert(name.into(), value.into());
    config
}

#[tokio::test]
async fn a_first_start_says_what_is_wrong_with_the_bucket() {
    let mut server = S3Server::start();
    let folder = TempDir::new().unwrap();
    let refusal = async |config| refusal(folder.path(), config).await;
    let mut elsewhere = artifacts(&server.endpoint(), PREFIX);
    elsewhere.bucket.as_mut().unwrap().url = "s3://nowhere/hosts".into();
    let text = refusal(elsewhere).await;
    assert!(
        text.contains("s3://nowhere/hosts") && text.contains("there is no such bucket: make it"),
        "{text}"
    );

    let text = refusal(with(artifacts(&server.endpoint(), PREFIX), "AWS_SECRET_ACCESS_KEY", "hunter2")).await;
    assert!(text.contains("access is denied") && text.contains("get, put and delete"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");

    let text = refusal(with(artifacts(&server.endpoint(), PREFIX), "AWS_ALLOW_HTTP", "false")).await;
    assert!(text.contains("set AWS_ALLOW_HTTP"), "{text}");

    server.stop();
    let text = refusal(artifacts(&server.endpoint(), PREFIX)).await;
    assert!(text.contains("check AWS_ENDPOINT_URL"), "{text}");
    server.resume();
    open_with(folder.path(), artifacts(&server.endpoint(), PREFIX)).await.unwrap();
}

#[tokio::test]
async fn a_prefix_belongs_to_one_store() {
    let host = Host::start(0).await;
    let digest = upload(&host.store, &tenant("a"), b"model").await;
    let other = TempDir::new().unwrap();
    let text = refusal(other.path(), host.config.clone()).await;
    assert!(text.contains("s3://models/hosts/one") && text.contains("a prefix of its own"), "{text}");
    assert!(host.object(digest).exists(), "a start with another's prefix removes nothing");
    let beside = open_with(other.path(), artifacts(&host.server.endpoint(), "hosts/two")).await.unwrap();
    upload(&beside, &tenant("a"), b"model").await;
    beside.collect_garbage(Duration::ZERO).await.unwrap();
    assert!(host.object(digest).exists());
    // A copy of the store is the same store.
    assert_eq!(host.restart().await.read(digest).await.unwrap(), b"model");
}

#[tokio::test]
async fn a_folder_moves_into_a_bucket_when_one_is_named() {
    let (folder, server) = (TempDir::new().unwrap(), S3Server::start());
    let owner = tenant("a");
    let store = open(folder.path()).await;
    let digest = upload(&store, &owner, b"model").await;
    deploy(&store, &owner, "f", digest, true).await.unwrap();
    let lost = upload(&store, &owner, b"lost").await;
    let lost_file = store.artifact(&owner, lost).await.unwrap().unwrap().path;
    fs::rename(&lost_file, folder.path().join("aside")).unwrap();
    store.close().await;
    drop(store);

    // Not if the bucket would then lack some that the folder lacks too: it may be the wrong one.
    let text = refusal(folder.path(), artifacts(&server.endpoint(), PREFIX)).await;
    assert!(text.contains("1 artifacts are neither in s3://models/hosts/one"), "{text}");
    assert!(!server.objects(PREFIX).join("OWNER").exists());

    fs::rename(folder.path().join("aside"), &lost_file).unwrap();
    let store = open_with(folder.path(), artifacts(&server.endpoint(), PREFIX)).await.unwrap();
    for (digest, bytes) in [(digest, &b"model"[..]), (lost, b"lost")] {
        assert_eq!(fs::read(server.object(PREFIX, digest)).unwrap(), bytes);
        fs::remove_file(store.artifact(&owner, digest).await.unwrap().unwrap().path).unwrap();
    }
    let artifact = store.artifact(&owner, digest).await.unwrap().unwrap();
    assert_eq!(fs::read(store.hold(&artifact).await.unwrap().path()).unwrap(), b"model");
    assert!(store.function(&owner, &function("f")).await.unwrap().is_some());
    store.close().await;
    drop(store);

    let text = refusal(folder.path(), ArtifactsConfig::default()).await;
    assert!(text.contains("are in s3://models/hosts/one: set `artifacts_url` to it"), "{text}");
}

#[tokio::test]
async fn a_store_with_a_bucket_is_copied_to_a_folder_and_back() {
    let host = Host::start(0).await;
    let owner = tenant("a");
    let bytes = large();
    let large = upload(&host.store, &owner, &bytes).await;
    let small = upload(&host.store, &owner, b"small").await;
    deploy(&host.store, &owner, "f", small, true).await.unwrap();
    host.empty_cache();
    let [folder, third, fourth] = [(); 3].map(|()| TempDir::new().unwrap());
    let from = StoreConfig { artifacts: host.config.clone(), ..StoreConfig::embedded(host.folder.path()) };
    let plain = StoreConfig::embedded(folder.path());
    // One that was broken off left half of one behind.
    let in_folder = |digest: Digest| {
        let hex = digest.to_hex();
        folder.path().join("artifacts/sha256").join(&hex[..2]).join(hex)
    };
    fs::create_dir_all(in_folder(small).parent().unwrap()).unwrap();
    fs::write(in_folder(small), b"sm").unwrap();
    let copied = copy(&from, &plain, Source::Live, |_| {}).await.unwrap();
    assert_eq!((copied.artifacts, copied.artifact_bytes), (2, bytes.len() as u64 + 5));
    assert_eq!(host.cached_bytes(), 0, "what is copied does not fill the cache");
    assert!(fs::read(in_folder(large)).unwrap() == bytes);
    assert_eq!(fs::read(in_folder(small)).unwrap(), b"small");

    // And back, to another prefix, where a host then finds everything.
    let artifacts = artifacts(&host.server.endpoint(), "hosts/three");
    let back = StoreConfig { artifacts, ..StoreConfig::embedded(third.path()) };
    copy(&plain, &back, Source::Stopped, |_| {}).await.unwrap();
    assert!(fs::read(host.server.object("hosts/three", large)).unwrap() == bytes);
    let store = Store::open(&back).await.unwrap();
    let artifact = store.artifact(&owner, large).await.unwrap().unwrap();
    assert!(fs::read(store.hold(&artifact).await.unwrap().path()).unwrap() == bytes);

    // What is damaged at its source goes nowhere.
    fs::write(host.object(small), b"SMALL").unwrap();
    let error = copy(&from, &StoreConfig::embedded(fourth.path()), Source::Live, |_| {}).await.unwrap_err();
    assert!(matches!(error, StoreError::BlobDamaged { digest, .. } if digest == small), "{error:?}");
}

#[tokio::test]
async fn a_backup_that_is_opened_elsewhere_does_not_take_the_prefix() {
    let host = Host::start(0).await;
    upload(&host.store, &tenant("a"), b"model").await;
    let folder = TempDir::new().unwrap();
    let from = StoreConfig { artifacts: host.config.clone(), ..StoreConfig::embedded(host.folder.path()) };
    copy(&from, &StoreConfig::embedded(folder.path()), Source::Live, |_| {}).await.unwrap();
    let later = upload(&host.store, &tenant("a"), b"stored since").await;
    let text = refusal(folder.path(), host.config.clone()).await;
    assert!(text.contains("another data folder with a copy of this one"), "{text}");
    assert_eq!(fs::read(host.object(later)).unwrap(), b"stored since");
    // Unless the other is gone for good.
    fs::remove_file(host.server.objects(PREFIX).join("OWNER")).unwrap();
    open_with(folder.path(), host.config.clone()).await.unwrap();
}
