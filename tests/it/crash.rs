//! Hosts that are killed: at every step of a write, and at any time.
//!
//! What was acknowledged is there afterwards, nothing is half there, and nothing is left over. Every call that
//! was answered is in the ledger once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use modelet_observe::{Ledger, LedgerConfig, Position};
use modelet_store::failpoints::FAILPOINTS;
use modelet_store::{MetastoreUrl, Store, StoreConfig};
use modelet_types::{Digest, TenantName};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Api, HostProcess, noop_handler, until};

const FUNCTION: &str = "kept";

/// How often a host is killed at any time; the variable `MODELET_TEST_KILLS` has another number.
const KILLS: u64 = 50;

/// Secrets that are kept before the first of them is deleted, and the names that secrets have, of which a
/// function can have only so many.
const MAX_SECRETS: usize = 8;
const NAMES: u64 = 48;

/// What outlives the hosts: a data folder, and perhaps a database.
struct Place {
    folder: TempDir,
    metastore_url: Option<String>,
}

impl Place {
    fn embedded() -> Self {
        Self { folder: TempDir::new().unwrap(), metastore_url: None }
    }

    fn on_postgres() -> Self {
        let database = modelet_test_postgres::Server::shared().database().unwrap();
        Self { metastore_url: Some(database), ..Self::embedded() }
    }

    fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    async fn start(&self, failpoint: Option<&str>) -> HostProcess {
        let changes = json!({ "metastore_url": self.metastore_url });
        let failpoint = failpoint.map(|failpoint| ("FAILPOINTS".to_owned(), format!("{failpoint}=kill")));
        HostProcess::start_with(self.data_dir(), &changes, failpoint).await
    }

    fn store(&self) -> StoreConfig {
        let metastore_url = self.metastore_url.clone().map(MetastoreUrl::new);
        StoreConfig { metastore_url, ..StoreConfig::embedded(self.data_dir()) }
    }
}

/// What a deployer has been promised.
#[derive(Default)]
struct Acknowledged {
    artifacts: BTreeSet<String>,
    /// Components by revision.
    revisions: BTreeMap<u64, String>,
    /// The revision that has the traffic.
    active: u64,
    /// A call of the function was answered.
    answered: bool,
    secrets: BTreeSet<String>,
    /// Secrets that were deleted.
    forgotten: BTreeSet<String>,
    deleted: bool,
    /// Invocations that were answered.
    invocations: BTreeSet<String>,
}

/// Works until the host dies, or to the end. Each step's answer is noted before the next.
async fn work(host: &Api, round: u64, noted: &mut Acknowledged) -> reqwest::Result<()> {
    for salt in [2 * round, 2 * round + 1] {
        let component = noop_handler(salt);
        let digest = Digest::of(&component).to_string();
        let path = format!("/api/v1/artifacts/{digest}");
        let (head, tail) = component.split_at(component.len() / 2);
        for (offset, part, status) in [(0, head, 204), (head.len(), tail, 201)] {
            let patch = host
                .request(Method::PATCH, &path)
                .header("upload-offset", offset)
                .header("upload-length", component.len())
                .body(part.to_vec());
            send(patch, status).await?;
        }
        noted.artifacts.insert(digest.clone());
        let activate = salt % 2 == 0;
        let path = format!("/api/v1/functions/{FUNCTION}/revisions?activate={activate}");
        let spec = json!({ "component": digest });
        let revision = send(host.request(Method::POST, &path).json(&spec), 201).await?.json();
        let number = revision["revision"].as_u64().unwrap();
        noted.revisions.insert(number, digest.clone());
        if !activate {
            let split = json!([{ "revision": number, "weight": 1 }]);
            let path = format!("/api/v1/functions/{FUNCTION}/traffic");
            send(host.request(Method::PUT, &path).json(&split), 200).await?;
        }
        noted.active = number;
        send(host.request(Method::POST, &format!("/f/default/{FUNCTION}/")), 204).await?;
        noted.answered = true;

        if noted.secrets.len() == MAX_SECRETS {
            // Until there is an answer it may be there or not.
            let name = noted.secrets.pop_first().unwrap();
            let path = format!("/api/v1/functions/{FUNCTION}/secrets/{name}");
            send(host.request(Method::DELETE, &path), 204).await?;
            noted.forgotten.insert(name);
        }
        let name = format!("key-{}", salt % NAMES);
        let path = format!("/api/v1/functions/{FUNCTION}/secrets/{name}");
        noted.forgotten.remove(&name);
        send(host.request(Method::PUT, &path).json(&json!({ "value": "sesame" })), 200).await?;
        noted.secrets.insert(name);

        noted.deleted = false;
        let path = "/api/v1/functions/passing/revisions";
        send(host.request(Method::POST, path).json(&spec), 201).await?;
        send(host.request(Method::DELETE, "/api/v1/functions/passing"), 204).await?;
        noted.deleted = true;
    }
    Ok(())
}

/// Collections come too seldom, a key is made before there is anything to note, and what usage has to
/// hold is in `usage.rs`.
fn is_tested_elsewhere(failpoint: &str) -> bool {
    ["store::garbage::", "store::api_key::", "store::usage::"].iter().any(|area| failpoint.starts_with(area))
}

async fn send(request: reqwest::RequestBuilder, status: u16) -> reqwest::Result<Answer> {
    Ok(Api::try_send(request).await?.expect(status))
}

/// Starts a new host on what a killed one left, and looks for what is lost or half there.
async fn check(place: &Place, noted: &Acknowledged, case: &str) {
    let host = place.start(None).await;
    let verified = host.post("/api/v1/changes/verify", &json!({})).await.expect(200).json();
    assert_eq!(verified["intact"], true, "{case}: {verified}");
    let revisions = host.get(&format!("/api/v1/functions/{FUNCTION}/revisions")).await;
    let visible: BTreeMap<u64, Value> = match revisions.status {
        404 => BTreeMap::new(),
        _ => revisions.expect(200).json()["revisions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|revision| (revision["revision"].as_u64().unwrap(), revision.clone()))
            .collect(),
    };
    for (number, component) in &noted.revisions {
        let revision = visible.get(number).unwrap_or_else(|| panic!("{case}: revision {number} is lost"));
        assert_eq!(&revision["spec"]["component"], component, "{case}");
    }
    for digest in &noted.artifacts {
        assert_eq!(
            host.get(&format!("/api/v1/artifacts/{digest}")).await.status,
            200,
            "{case}: {digest} is lost"
        );
    }
    if !noted.secrets.is_empty() {
        let secrets = host.get(&format!("/api/v1/functions/{FUNCTION}/secrets")).await.expect(200).json();
        let listed: BTreeSet<&str> = secrets["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| secret["name"].as_str().unwrap())
            .collect();
        let lost: Vec<_> = noted.secrets.iter().filter(|name| !listed.contains(name.as_str())).collect();
        assert!(lost.is_empty(), "{case}: {lost:?}");
        let back: Vec<_> = noted.forgotten.iter().filter(|name| listed.contains(name.as_str())).collect();
        assert!(back.is_empty(), "{case}: {back:?}");
    }
    let is_there = host.get("/api/v1/functions/passing").await.status == 200;
    assert!(!(is_there && noted.deleted), "{case}: a deleted function is back");

    for revision in visible.values() {
        let component = revision["spec"]["component"].as_str().unwrap();
        host.get(&format!("/api/v1/artifacts/{component}")).await.expect(200);
    }
    // Every revision that is visible is whole: it takes calls, and answers them. Those before the
    // active one did so when they were new, and the traffic does not go back to them.
    for number in visible.keys() {
        let split = json!([{ "revision": number, "weight": 1 }]);
        let function = host.get(&format!("/api/v1/functions/{FUNCTION}")).await.expect(200).json();
        let active = function["traffic"][0]["revision"].as_u64().unwrap_or(0);
        assert!(active >= noted.active, "{case}: traffic went back from {} to {active}", noted.active);
        if *number < noted.active {
            continue;
        }
        host.put(&format!("/api/v1/functions/{FUNCTION}/traffic"), &split).await.expect(200);
        let answer = host.call(FUNCTION, "/", "").await.expect(204);
        assert_eq!(answer.header("modelet-revision"), number.to_string(), "{case}");
    }
    host.kill().await;
}

/// Collects garbage without any grace, and looks for what no row names.
async fn check_nothing_is_left_over(place: &Place, case: &str) {
    let data_dir = place.data_dir();
    let store = Store::open(&place.store()).await.unwrap();
    store.collect_garbage(Duration::ZERO).await.unwrap();
    let owner = TenantName::default_tenant();
    let named: BTreeSet<PathBuf> =
        store.artifacts(&owner).await.unwrap().into_iter().map(|artifact| artifact.path).collect();
    let stored: BTreeSet<PathBuf> = files(&data_dir.join("artifacts")).into_iter().collect();
    assert_eq!(stored, named, "{case}: blobs and rows differ");
    assert_eq!(files(&data_dir.join("uploads")), Vec::<PathBuf>::new(), "{case}");
    store.close().await;
    drop(store);

    // The next host removes the code of components that are gone, and what was not written whole.
    let _host = place.start(None).await;
    let kept: BTreeSet<String> = named.iter().map(|path| name(path)).collect();
    until("unused code to be removed", async || {
        let code = files(&data_dir.join("code"));
        code.iter().all(|path| kept.contains(name(path).split('.').next().unwrap())).then_some(())
    })
    .await;
    let drafts = ["tmp", "draft", "part"];
    let left: Vec<_> = files(data_dir)
        .into_iter()
        .filter(|path| drafts.iter().any(|draft| name(path).contains(draft)))
        .collect();
    assert!(left.is_empty(), "{case}: {left:?}");
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_kill_at_any_step_of_a_deploy_loses_nothing() {
    // A host collects garbage once it is started, with a grace that leaves what is used here; the
    // steps of a collection are the store's own tests'.
    for failpoint in FAILPOINTS.iter().filter(|name| !is_tested_elsewhere(name)) {
        let place = Place::embedded();
        let mut noted = Acknowledged::default();
        let host = place.start(None).await;
        work(&host, 0, &mut noted).await.expect("nothing kills this one");
        host.kill().await;

        let host = place.start(Some(failpoint)).await;
        work(&host, 1, &mut noted).await.expect_err("the failpoint is passed");
        host.was_killed().await;
        check(&place, &noted, failpoint).await;
        check_nothing_is_left_over(&place, failpoint).await;
    }
}

#[tokio::test]
async fn kills_at_any_time_lose_nothing() {
    kill_at_any_time(&Place::embedded()).await;
}

#[tokio::test]
async fn nor_do_they_with_a_metastore_on_postgres() {
    kill_at_any_time(&Place::on_postgres()).await;
}

/// Kills hosts at random, and every third one at a failpoint if it comes there before.
async fn kill_at_any_time(place: &Place) {
    let kills = std::env::var("MODELET_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut noted = Acknowledged::default();
    for round in 0..kills {
        let failpoint = (round % 3 == 2).then(|| FAILPOINTS[random(round) as usize % FAILPOINTS.len()]);
        let host = place.start(failpoint).await;
        let moment = Duration::from_millis(random(round) % 250);
        let api = (*host).clone();
        let dying = async {
            tokio::time::sleep(moment).await;
            host.kill().await;
        };
        let (_, ()) = tokio::join!(work_on(&api, round, &mut noted), dying);
        check(place, &noted, &format!("round {round}, killed after {moment:?} or at {failpoint:?}")).await;
    }
    assert!(noted.answered, "no host lived long enough for one call");
    check_ledger(place, &noted).await;
    check_nothing_is_left_over(place, "after all kills").await;
}

/// Works, beside callers who keep the ledger and the log busy, until the host dies.
async fn work_on(host: &Api, round: u64, noted: &mut Acknowledged) {
    let answered = Mutex::new(Vec::new());
    let calls = (0..2).map(async |_| {
        while let Ok(answer) = host.call_fallibly(FUNCTION, "/", "").await {
            if answer.status == 204 {
                answered.lock().unwrap().push(answer.header("modelet-invocation-id").to_owned());
            }
        }
    });
    let working = async {
        let mut step = 1_000 * (round + 1);
        while work(host, step, noted).await.is_ok() {
            step += 1;
        }
    };
    tokio::join!(working, join_all(calls));
    noted.invocations.extend(answered.into_inner().unwrap());
}

/// Looks for every call that was answered in the ledger, and for every record of the ledger in the usage.
async fn check_ledger(place: &Place, noted: &Acknowledged) {
    let host = place.start(None).await;
    let usage = host.get("/api/v1/usage?interval=total").await.expect(200).json();
    host.kill().await;
    let ledger = Ledger::open(place.data_dir().join("ledger"), LedgerConfig::default()).unwrap();
    let mut records = BTreeSet::new();
    let mut billed = 0;
    for record in ledger.records(Position::START).unwrap() {
        let record = record.unwrap();
        billed += record.usage().invocations;
        assert!(records.insert(record.invocation.to_string()), "{record:?} is there twice");
    }
    let lost: Vec<_> = noted.invocations.difference(&records).collect();
    assert!(lost.is_empty(), "of {} answered calls, these have no record: {lost:?}", noted.invocations.len());
    assert_eq!(usage["total"]["invocations"], billed, "usage and records differ");
}

/// A number that differs from run to run and from round to round.
fn random(round: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};

    RandomState::new().hash_one(round)
}
