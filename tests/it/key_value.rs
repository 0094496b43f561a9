//! What functions keep: through the standard interface, over restarts and kills, within their bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Api, HostProcess, Neighbour, TestHost, guest, until};

/// Deploys the handler that keeps things, with `manifest` beside its component.
async fn deploy(host: &Api, function: &str, manifest: Value) {
    let mut spec = manifest;
    spec["component"] = host.upload(guest("granted")).await.into();
    host.deploy(function, &spec).await;
}

fn granted() -> Value {
    json!({ "key_value": {} })
}

async fn ask(host: &Api, function: &str, path: &str, body: &str) -> Answer {
    host.call(function, path, body.to_owned()).await
}

async fn usage(host: &Api, function: &str) -> (u64, u64) {
    let state = host.get(&format!("/api/v1/functions/{function}/state")).await.expect(200).json();
    let kept = &state["key_value"];
    (kept["keys"].as_u64().unwrap(), kept["bytes"].as_u64().unwrap())
}

#[tokio::test]
async fn nothing_is_kept_unless_the_manifest_grants_it() {
    let host = TestHost::start().await;
    deploy(&host, "denied", json!({})).await;
    let refused = ask(&host, "denied", "/set", "key=value").await;
    refused.problem(403, "access_denied", None);
    host.log_line("denied", &["`[key_value]` in the manifest grants it"]).await;
    assert!(!host.data_dir().join("key-value/default").exists());

    deploy(&host, "denied", granted()).await;
    ask(&host, "denied", "/set", "key=value").await.expect(204);
    assert_eq!(ask(&host, "denied", "/open", "default").await.expect(200).text(), "opened");
    assert_eq!(ask(&host, "denied", "/open", "").await.expect(200).text(), "opened");
    ask(&host, "denied", "/open", "somebody-elses").await.problem(404, "no_such_store", None);
}

#[tokio::test]
async fn every_operation_does_what_the_interface_says() {
    let host = TestHost::start().await;
    deploy(&host, "f", granted()).await;
    let ask = async |path: &str, body: &str| ask(&host, "f", path, body).await;
    ask("/get", "key").await.problem(404, "not_found", None);
    ask("/set", "key=first").await.expect(204);
    ask("/set", "key=second").await.expect(204);
    assert_eq!(ask("/get", "key").await.expect(200).text(), "second");
    assert_eq!(ask("/keys", "").await.expect(200).text(), "key");
    assert_eq!(usage(&host, "f").await, (1, 3 + 6 + 64));
    assert_eq!(ask("/delete", "key").await.expect(200).text(), "true false");
    assert_eq!(ask("/delete", "key").await.expect(200).text(), "false false");
    assert_eq!(usage(&host, "f").await, (0, 0));

    assert_eq!(ask("/many", "").await.expect(200).text(), "b=2 none a=3 0");
    assert_eq!(ask("/increment", "sum=5").await.expect(200).text(), "5");
    assert_eq!(ask("/increment", "sum=-7").await.expect(200).text(), "-2");
    assert_eq!(ask("/get", "sum").await.expect(200).text(), "-2");
    assert_eq!(ask("/append", "x").await.expect(200).text(), "1");
    assert_eq!(ask("/stale-swap", "").await.expect(200).text(), "first true second");
    for key in ["sum", "list", "stale"] {
        ask("/delete", key).await.expect(200);
    }
    assert_eq!(ask("/pages", "2500").await.expect(200).text(), "1000 1000 500 of 2500");
}

#[tokio::test]
async fn components_of_the_older_draft_reach_the_same_keys() {
    let host = TestHost::start().await;
    deploy(&host, "f", granted()).await;
    let answer = ask(&host, "f", "/older", "").await.expect(200);
    assert_eq!(answer.text(), r#"83 [Some(("older", [120]))] ["older", "sum"] None true Some([120])"#);
    assert_eq!(ask(&host, "f", "/get", "sum").await.expect(200).text(), "42");
    // A number that it cannot have is refused, and stays what it was.
    ask(&host, "f", "/increment", "sum=-100").await.expect(200);
    ask(&host, "f", "/older", "").await.problem(409, "older", None);
    assert_eq!(ask(&host, "f", "/get", "sum").await.expect(200).text(), "-58");
}

#[tokio::test]
async fn functions_do_not_see_what_others_keep() {
    let host = TestHost::start().await;
    for function in ["left", "right"] {
        deploy(&host, function, granted()).await;
        ask(&host, function, "/set", &format!("key={function}")).await.expect(204);
    }
    for function in ["left", "right"] {
        assert_eq!(ask(&host, function, "/get", "key").await.expect(200).text(), function);
    }
}

#[tokio::test]
async fn revisions_and_restarts_find_what_was_kept() {
    let mut host = TestHost::start().await;
    deploy(&host, "f", granted()).await;
    ask(&host, "f", "/set", "key=of the first").await.expect(204);
    deploy(&host, "f", json!({ "key_value": { "max_bytes": 4096 }, "config": { "new": "revision" } })).await;
    assert_eq!(ask(&host, "f", "/get", "key").await.expect(200).text(), "of the first");
    host.restart().await;
    assert_eq!(ask(&host, "f", "/get", "key").await.expect(200).text(), "of the first");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for round in 0..4 {
        let host = HostProcess::start(folder.path(), None).await;
        if round == 0 {
            deploy(&host, "f", granted()).await;
        }
        let sum: i64 = ask(&host, "f", "/increment", "sum=0").await.expect(200).text().parse().unwrap();
        assert!(sum >= acknowledged, "{acknowledged} was acknowledged, and {sum} is there");
        let api = (*host).clone();
        let counting = async {
            let mut last = sum;
            while let Ok(answer) = api.call_fallibly("f", "/increment", "sum=1").await {
                last = answer.expect(200).text().parse().unwrap();
            }
            last
        };
        let killing = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            host.kill().await;
        };
        (acknowledged, _) = tokio::join!(counting, killing);
    }
    assert!(acknowledged > 0);
    let host = HostProcess::start(folder.path(), None).await;
    let sum: i64 = ask(&host, "f", "/increment", "sum=0").await.expect(200).text().parse().unwrap();
    // One more may have been written whose answer the kill cut off.
    assert!((acknowledged..=acknowledged + 1).contains(&sum), "{acknowledged} and {sum}");
}

#[tokio::test]
async fn sums_and_swaps_of_many_invocations_lose_nothing() {
    let host = TestHost::start().await;
    deploy(&host, "f", granted()).await;
    let calls = (0..120).map(|_| ask(&host, "f", "/increment", "sum=1"));
    let sums = join_all(calls).await.into_iter().map(|answer| answer.expect(200).text().to_owned());
    let expected: BTreeSet<String> = (1..=120).map(|sum: u32| sum.to_string()).collect();
    assert_eq!(sums.collect::<BTreeSet<_>>(), expected);

    let letters: Vec<String> = ('a'..='t').map(String::from).collect();
    for answer in join_all(letters.iter().map(|letter| ask(&host, "f", "/append", letter))).await {
        answer.expect(200);
    }
    let list = ask(&host, "f", "/get", "list").await.expect(200);
    let mut found: Vec<char> = list.text().chars().collect();
    found.sort_unstable();
    assert_eq!(found, ('a'..='t').collect::<Vec<_>>());
}

#[tokio::test]
async fn a_function_keeps_its_quota_and_no_more() {
    let host = TestHost::start().await;
    let quota: u64 = 3 << 20;
    deploy(&host, "f", json!({ "key_value": { "max_bytes": quota } })).await;
    let filled = ask(&host, "f", "/hostile/fill", "").await.expect(200);
    assert!(filled.text().starts_with("2 ") && filled.text().contains("key_value.max_bytes"), "{filled:?}");
    for key in ["large-0", "large-1"] {
        ask(&host, "f", "/delete", key).await.expect(200);
    }
    let tiny = ask(&host, "f", "/hostile/tiny", "").await.expect(200);
    let count: u64 = tiny.text().split(' ').next().unwrap().parse().unwrap();
    assert!((30_000..50_000).contains(&count), "{tiny:?}");
    let (keys, bytes) = usage(&host, "f").await;
    assert!(keys == count && bytes <= quota, "{keys} keys, {bytes} bytes");
    let folder = host.data_dir().join("key-value/default");
    let stored: u64 =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(stored < 4 * quota + (8 << 20), "{stored} bytes on the disk");
}

#[tokio::test]
async fn manifests_are_held_to_the_hosts_ceiling() {
    let mut host = TestHost::start_with(&json!({ "key_value": { "max_bytes": 1_000_000 } })).await;
    let component = host.upload(guest("granted")).await;
    let spec = |key_value: Value| json!({ "component": component, "key_value": key_value });
    let refused = host.revise("f", &spec(json!({ "max_bytes": 2_000_000 }))).await;
    refused.problem(422, "invalid_manifest", Some("key_value.max_bytes"));
    host.revise("f", &spec(json!({ "bytes": 1 }))).await.problem(
        422,
        "invalid_manifest",
        Some("key_value.bytes"),
    );
    let revision = host.revise("f", &spec(json!({}))).await.expect(201).json();
    assert_eq!(revision["spec"]["key_value"]["max_bytes"], 1_000_000);
    let about = host.get("/api/v1/host").await.expect(200).json();
    assert_eq!(about["key_value"]["max_bytes"], 1_000_000);
    host.stop().await;

    let host = TestHost::start_with(&json!({ "key_value": { "max_bytes": 0 } })).await;
    host.upload(guest("granted")).await;
    host.revise("f", &spec(json!({}))).await.problem(422, "invalid_manifest", Some("key_value"));
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_bound() {
    let host = TestHost::start().await;
    let limits = json!({ "memory_bytes": 64 << 20, "handles": 100 });
    deploy(&host, "f", json!({ "key_value": {}, "limits": limits })).await;
    let answer = ask(&host, "f", "/hostile/sizes", "").await.expect(200);
    for (line, bound) in [
        ("key:", "1024"),
        ("key to get:", "1024"),
        ("key to delete:", "1024"),
        ("key to add to:", "1024"),
        ("value:", "1048576"),
        ("keys:", "1000"),
        ("entries:", "4194304"),
        ("values:", "4194304"),
        ("cursor:", "list-keys"),
        ("number:", "not a number"),
        ("sum:", "9223372036854775807"),
    ] {
        let found = answer.text().lines().find(|text| text.starts_with(line));
        assert!(found.is_some_and(|text| text.contains(bound)), "{line} {bound} in {}", answer.text());
    }
    let held = ask(&host, "f", "/hostile/buckets", "").await.expect(200);
    assert!(held.text().contains("limits.handles"), "{}", held.text());
    ask(&host, "f", "/set", "key=still here").await.expect(204);
}

#[tokio::test]
async fn heavy_use_harms_no_neighbour() {
    let host = TestHost::start().await;
    let limits = json!({ "wall_time_ms": 2000 });
    for function in ["busy-1", "busy-2"] {
        deploy(&host, function, json!({ "key_value": {}, "limits": limits })).await;
    }
    deploy(&host, "quiet", granted()).await;
    let neighbour = Neighbour::move_in(&host).await;
    let busy = ["busy-1", "busy-2"].iter().flat_map(|function| [*function; 8]);
    let busy = join_all(busy.map(|function| ask(&host, function, "/hostile/busy", "")));
    let quiet = async {
        for number in 0..5 {
            ask(&host, "quiet", "/set", &format!("key={number}")).await.expect(204);
        }
    };
    let (ended, ()) = tokio::join!(busy, quiet);
    for answer in ended {
        answer.problem(504, "wall_time_exceeded", None);
    }
    neighbour.end_unharmed().await;
}

#[tokio::test]
async fn a_deleted_function_leaves_nothing_to_its_namesake() {
    let host = TestHost::start().await;
    deploy(&host, "f", granted()).await;
    ask(&host, "f", "/set", "key=of the first").await.expect(204);
    host.delete("/api/v1/functions/f").await.expect(204);
    let folder = host.data_dir().join("key-value/default");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    deploy(&host, "f", granted()).await;
    ask(&host, "f", "/get", "key").await.problem(404, "not_found", None);
    assert_eq!(usage(&host, "f").await, (0, 0));
}

#[tokio::test]
async fn a_host_killed_between_deletion_and_removal_leaves_no_orphan() {
    let folder = TempDir::new().unwrap();
    let host = HostProcess::start(folder.path(), Some("store::function::committed")).await;
    deploy(&host, "f", granted()).await;
    deploy(&host, "g", granted()).await;
    for function in ["f", "g"] {
        ask(&host, function, "/set", "key=value").await.expect(204);
    }
    let path = "/api/v1/functions/f";
    Api::try_send(host.request(reqwest::Method::DELETE, path)).await.expect_err("the host is killed");
    host.was_killed().await;
    let files = || {
        let files = std::fs::read_dir(folder.path().join("key-value/default")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".sqlite3")).collect::<Vec<_>>()
    };
    assert_eq!(files().len(), 2);

    let host = HostProcess::start(folder.path(), None).await;
    let left = until("the orphan to be removed", async || Some(files()).filter(|left| left.len() == 1)).await;
    assert!(left[0].starts_with("g."), "{left:?}");
    host.get(path).await.problem(404, "not_found", Some("function"));
    assert_eq!(ask(&host, "g", "/get", "key").await.expect(200).text(), "value");
}
