//! A process is killed at every failpoint, and a new one opens what it left.
//!
//! The process is this test binary again, running [`life_of_a_host`]. It writes a line to a file
//! after each call that returned: that is what was acknowledged, and must have survived.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use modelet_store::failpoints::{BUCKET_FAILPOINTS, FAILPOINTS, arm};
use modelet_store::{
    Actor, ApiKey, NewApiKey, Page, Precondition, Store, StoreConfig, UploadState, UsageCursor, UsageHour,
    UsageQuery,
};
use modelet_test_s3::S3Server;
use modelet_types::{Digest, RevisionNumber, Role, SecretName, SecretValue, TenantName, Usage};
use tempfile::TempDir;

use crate::support::{
    append, artifacts, config, database, deploy, files, function, open_at, range, split, sqlite, tenant,
    upload,
};

const FOLDER: &str = "MODELET_CRASH_FOLDER";
const FAILPOINT: &str = "MODELET_CRASH_FAILPOINT";
const ROUND: &str = "MODELET_CRASH_ROUND";
/// The database with the metastore, if it is not in the folder.
const METASTORE_URL: &str = "MODELET_CRASH_METASTORE_URL";
/// The address of the server with the bucket for artifacts, if that is where they are.
const ENDPOINT: &str = "MODELET_CRASH_ENDPOINT";
const PREFIX: &str = "crash";
/// The process is killed in its first round of work, or in its second, when there is something to lose.
const ROUNDS: u64 = 2;
const SIGKILL: i32 = 9;

#[tokio::test]
async fn a_kill_at_any_failpoint_loses_nothing_and_leaves_nothing_half() {
    kill_at_every_failpoint(|| None).await;
}

#[tokio::test]
async fn nor_does_a_kill_with_a_metastore_on_postgres() {
    kill_at_every_failpoint(|| Some(database())).await;
}

async fn kill_at_every_failpoint(metastore_url: impl Fn() -> Option<String>) {
    for round in 1..=ROUNDS {
        for failpoint in FAILPOINTS {
            kill_and_check(round, failpoint, metastore_url(), None).await;
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_failpoint_loses_nothing_that_is_in_a_bucket() {
    for round in 1..=ROUNDS {
        for failpoint in FAILPOINTS.iter().chain(BUCKET_FAILPOINTS) {
            let server = S3Server::start();
            kill_and_check(round, failpoint, None, Some(&server)).await;
        }
    }
}

async fn kill_and_check(
    round: u64,
    failpoint: &str,
    metastore_url: Option<String>,
    server: Option<&S3Server>,
) {
    let folder = TempDir::new().unwrap();
    let endpoint = server.map(S3Server::endpoint);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::life_of_a_host", "--ignored"])
        .env(FOLDER, folder.path())
        .env(FAILPOINT, format!("{failpoint}=kill"))
        .env(ROUND, round.to_string())
        .envs(metastore_url.as_ref().map(|url| (METASTORE_URL, url)))
        .envs(endpoint.as_ref().map(|endpoint| (ENDPOINT, endpoint)))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "{failpoint} was not passed in round {round}");
    let config = place(folder.path(), metastore_url, endpoint.as_deref());
    check(&config, folder.path(), round, failpoint, server).await;
}

/// Where the store under test is.
fn place(folder: &Path, metastore_url: Option<String>, endpoint: Option<&str>) -> StoreConfig {
    let artifacts = endpoint.map(|endpoint| artifacts(endpoint, PREFIX)).unwrap_or_default();
    StoreConfig { artifacts, ..config(folder, metastore_url) }
}

#[test]
fn a_mistyped_failpoint_is_refused() {
    let refusal = |spec| arm(spec).unwrap_err();
    assert!(refusal("store::upload=kill").contains("store::upload::renamed"));
    assert!(refusal("store::upload::renamed").contains("failpoint=action"));
    assert!(refusal("store::upload::renamed=explode").contains("explode"));
}

/// Not a kill, but a host stopped at the worst moment for a collection beside it.
#[tokio::test]
async fn a_blob_that_waits_for_its_row_is_not_collected() {
    let fixture = sqlite().await;
    let store = &fixture.store;
    // The other tests of this process are slowed down meanwhile, and no more.
    arm("store::upload::published=sleep(300)").unwrap();
    let path = store.data_dir().join("artifacts/sha256").join({
        let hex = Digest::of(b"waiting").to_hex();
        format!("{}/{hex}", &hex[..2])
    });
    let uploading = tokio::spawn({
        let store = Arc::clone(store);
        async move { upload(&store, &tenant("a"), b"waiting").await }
    });
    while !path.exists() {
        tokio::task::yield_now().await;
    }
    store.collect_garbage(Duration::from_secs(3600)).await.unwrap();
    uploading.await.unwrap();
    arm("store::upload::published=off").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"waiting");
}

/// Uploads, deploys, shifts traffic, deletes and collects, twice.
#[tokio::test]
#[ignore = "is the process that the test above kills"]
async fn life_of_a_host() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let killed_in: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let mut acknowledged = std::fs::File::create(folder.join("acknowledged")).unwrap();
    let mut acknowledge = |line: String| writeln!(acknowledged, "{line}").unwrap();
    let owner = tenant("a");
    let store =
        open_at(&place(folder, std::env::var(METASTORE_URL).ok(), std::env::var(ENDPOINT).ok().as_deref()))
            .await;
    let failpoint = std::env::var(FAILPOINT).unwrap();
    for round in 1..=ROUNDS {
        if round == killed_in {
            arm(&failpoint).unwrap();
        }
        let bytes = component(round, &failpoint);
        let digest = Digest::of(&bytes);
        append(&store, &owner, digest, range(0, bytes.len()), &bytes[..1000]).await.unwrap();
        acknowledge(format!("part {round}"));
        append(&store, &owner, digest, range(1000, bytes.len()), &bytes[1000..]).await.unwrap();
        acknowledge(format!("artifact {round}"));
        let number = deploy(&store, &owner, "f", digest, true).await.unwrap().number;
        acknowledge(format!("revision {number}"));
        acknowledge(format!("traffic {number}"));
        deploy(&store, &owner, "f", digest, false).await.unwrap();
        let moved = split(&[(number.0 + 1, 1)]);
        store.set_traffic(&Actor::LOCAL, &owner, &function("f"), moved, &Precondition::NONE).await.unwrap();
        acknowledge(format!("revision {}", number.0 + 1));
        acknowledge(format!("traffic {}", number.0 + 1));

        let value = SecretValue::new(format!("value {round}").into()).unwrap();
        store.set_secret(&Actor::LOCAL, &owner, &function("f"), &secret(round), &value).await.unwrap();
        acknowledge(format!("secret {round}"));

        let id = format!("{round:012x}").parse().unwrap();
        let key = NewApiKey {
            id,
            digest,
            role: Role::Invoker,
            functions: None,
            description: String::new(),
            lifetime_s: None,
        };
        store.create_api_key(&Actor::LOCAL, &owner, key).await.unwrap();
        acknowledge(format!("key {round}"));

        let usage = Usage { invocations: 1, ..Usage::default() };
        let hour =
            UsageHour { tenant: owner.clone(), hour: 1, function: function("f"), revision: number, usage };
        let cursor = UsageCursor { segment: round, offset: 0 };
        store.add_usage("ledger", cursor, &[hour]).await.unwrap();
        acknowledge(format!("usage {round}"));
        store.set_usage_export_cursor("ledger", cursor).await.unwrap();
        acknowledge(format!("exported {round}"));

        let unused = upload(&store, &owner, format!("unused {round}").as_bytes()).await;
        deploy(&store, &owner, "gone", unused, true).await.unwrap();
        store.delete_function(&Actor::LOCAL, &owner, &function("gone"), &Precondition::NONE).await.unwrap();
        acknowledge(format!("deleted {round}"));
        store.collect_garbage(Duration::ZERO).await.unwrap();
        acknowledge(format!("collected {round}"));
    }
}

fn secret(round: u64) -> SecretName {
    format!("secret-{round}").parse().unwrap()
}

/// As long as it must be for the failpoint to be passed.
fn component(round: u64, failpoint: &str) -> Vec<u8> {
    let times = if failpoint.contains("bucket::part") { 1_000_000 } else { 500 };
    format!("component {round} ").repeat(times).into_bytes()
}

/// Opens what the killed process left, and looks for what is lost, half or left over.
async fn check(
    config: &StoreConfig,
    folder: &Path,
    killed_in: u64,
    failpoint: &str,
    server: Option<&S3Server>,
) {
    let case = &format!("{failpoint} in round {killed_in}");
    let owner = tenant("a");
    let text = std::fs::read_to_string(folder.join("acknowledged")).unwrap();
    let mut acknowledged = BTreeMap::<&str, BTreeSet<u64>>::new();
    for line in text.lines() {
        let (what, number) = line.split_once(' ').unwrap();
        acknowledged.entry(what).or_default().insert(number.parse().unwrap());
    }
    let of = |what: &str| acknowledged.get(what).cloned().unwrap_or_default();

    let store = open_at(config).await;
    for round in of("part") {
        let digest = Digest::of(&component(round, failpoint));
        let state = store.upload_offset(&owner, digest).await.unwrap();
        let arrived = match state {
            UploadState::Complete { size_bytes } => size_bytes,
            UploadState::Partial { offset } => offset,
        };
        // The blob of an upload killed between renaming and row was an orphan, and is gone.
        let restarted = !of("artifact").contains(&round) && arrived == 0 && leaves_a_blob(failpoint);
        assert!(arrived >= 1000 || restarted, "{case}: part {round} has {arrived} bytes");
    }
    for round in of("artifact") {
        let artifact = store.artifact(&owner, Digest::of(&component(round, failpoint))).await.unwrap();
        assert!(artifact.is_some(), "{case}: artifact {round} is lost");
    }
    let deployed = store.function(&owner, &function("f")).await.unwrap();
    for number in of("revision") {
        let revision = store.revision(&owner, &function("f"), RevisionNumber(number)).await.unwrap();
        assert!(revision.is_some(), "{case}: revision {number} is lost");
    }
    if let Some(&number) = of("traffic").last() {
        let traffic = deployed.unwrap().traffic;
        let present = traffic.shares()[0].revision.0;
        assert!(present >= number, "{case}: traffic went back from {number} to {present}");
    }
    if let Some(owner_function) = store.function(&owner, &function("f")).await.unwrap() {
        for round in of("secret") {
            let name = secret(round);
            let values =
                store.secret_values(&owner, &owner_function, std::slice::from_ref(&name)).await.unwrap();
            let value = values.get(name.as_str()).map(|value| value.expose().to_owned());
            assert_eq!(value, Some(format!("value {round}")), "{case}");
        }
    }
    let keys = store.api_keys(&owner).await.unwrap();
    for round in of("key") {
        let is_it = |key: &ApiKey| key.id.to_string() == format!("{round:012x}");
        assert!(keys.iter().any(is_it), "{case}: key {round} is lost");
    }
    // What was added and how far it was read are of one moment.
    let cursor = store.usage_cursor("ledger").await.unwrap().segment;
    assert!(of("usage").iter().all(|round| *round <= cursor), "{case}: usage is lost");
    let exported = store.usage_export_cursor("ledger").await.unwrap().map_or(0, |cursor| cursor.segment);
    assert!(of("exported").iter().all(|round| *round <= exported), "{case}: what is exported is lost");
    let query = UsageQuery {
        from_hour: 0,
        to_hour: 2,
        function: None,
        hours_per_row: 1,
        by_function: false,
        by_revision: false,
        limit: 10,
    };
    let sums = store.usage(&owner, &query).await.unwrap();
    assert_eq!(sums.iter().map(|sum| sum.usage.invocations).sum::<u64>(), cursor, "{case}");
    if of("deleted").contains(&killed_in) {
        assert_eq!(store.function(&owner, &function("gone")).await.unwrap(), None, "{case}");
    }
    check_whole(&store, &owner, server, case).await;

    store.collect_garbage(Duration::ZERO).await.unwrap();
    let kept: BTreeSet<_> =
        store.artifacts(&owner).await.unwrap().into_iter().map(|artifact| artifact.path).collect();
    let stored: BTreeSet<_> = files(&folder.join("data/artifacts/sha256")).into_iter().collect();
    assert_eq!(stored, kept, "{case}: blobs and rows differ after a collection");
    if let Some(server) = server {
        let names = |paths: &BTreeSet<PathBuf>| -> BTreeSet<_> {
            paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect()
        };
        let objects = server.objects(PREFIX).join("sha256");
        let objects = if objects.exists() { files(&objects).into_iter().collect() } else { BTreeSet::new() };
        assert_eq!(names(&objects), names(&kept), "{case}: objects and rows differ after a collection");
    }
    for folder in ["data/uploads", "data/artifacts/incoming"].map(|name| folder.join(name)) {
        assert!(files(&folder).is_empty(), "{case}");
    }
    check_whole(&store, &owner, server, case).await;

    let next = upload(&store, &owner, b"next").await;
    let number = deploy(&store, &owner, "f", next, true).await.unwrap().number.0;
    assert!(of("revision").iter().all(|&other| number > other), "{case}: number {number} is used again");
}

/// Whether a kill there leaves a blob that no row names.
fn leaves_a_blob(failpoint: &str) -> bool {
    ["upload::renamed", "upload::published", "upload::recorded"].iter().any(|step| failpoint.contains(step))
}

/// Everything that is visible is there in full: bytes of artifacts, artifacts of revisions,
/// revisions of splits, and a record of changes without gaps.
async fn check_whole(store: &Arc<Store>, owner: &TenantName, server: Option<&S3Server>, case: &str) {
    for artifact in store.artifacts(owner).await.unwrap() {
        if let Some(server) = server {
            let object = std::fs::read(server.object(PREFIX, artifact.digest)).unwrap();
            assert_eq!(Digest::of(&object), artifact.digest, "{case}");
        }
        let bytes = std::fs::read(store.hold(&artifact).await.unwrap().path()).unwrap();
        assert_eq!(Digest::of(&bytes), artifact.digest, "{case}");
        assert_eq!(bytes.len() as u64, artifact.size_bytes, "{case}");
    }
    for route in store.all_routes().await.unwrap() {
        assert_eq!(route.revisions.len(), route.function.traffic.shares().len(), "{case}");
        for revision in store.revisions(owner, &route.function.name, &Page::whole()).await.unwrap() {
            let artifact = store.artifact(owner, revision.spec.component.unwrap()).await.unwrap();
            assert!(artifact.is_some(), "{case}: revision {} has no component", revision.number);
        }
    }
    let ids: Vec<u64> = store.changes(owner, 0, 1000).await.unwrap().iter().map(|change| change.id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "{case}");
}
