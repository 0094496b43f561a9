//! Changes that are gone because their operator wanted it so, and not because of anybody else.

use std::fs;

use serde_json::{Value, json};

use super::{changes, host_with_changes_and, verify, write};
use crate::support::{TestHost, until};

const FILES: [&str; 3] = ["metastore.sqlite3", "METASTORE", "audit-heads.jsonl"];

const HEADS: &str = "audit-heads.jsonl";

/// A host whose changes but for the last two are of 40 days ago, and which has signed nothing else.
async fn aged(settings: &Value) -> (TestHost, u64) {
    aged_without(&["METASTORE", HEADS, "audit.key"], settings).await
}

/// The same, which has lost these files with what it was before.
async fn aged_without(files: &[&str], settings: &Value) -> (TestHost, u64) {
    let (mut host, last) = host_with_changes_and(settings).await;
    let last = last["id"].as_u64().unwrap();
    host.stop().await;
    let old = last - 2;
    let aged = "UPDATE changes SET hash = NULL, at = CASE WHEN id > {old} THEN at ELSE at - 3456000000000 END
                WHERE tenant = 'default'";
    write(&host, &aged.replace("{old}", &old.to_string())).await;
    // It is another record now.
    for file in files {
        fs::remove_file(host.data_dir().join(file)).unwrap();
    }
    host.start_again().await;
    (host, old)
}

/// One that has forgotten the changes of 40 days ago, up to the one given.
pub(super) async fn forgetful() -> (TestHost, u64) {
    let (host, old) = aged(&json!({ "audit": { "retention_days": 30 } })).await;
    has_forgotten(&host, old).await;
    (host, old)
}

async fn has_forgotten(host: &TestHost, old: u64) {
    until("the old changes to go", async || {
        let verified = verify(host, json!([])).await;
        assert_eq!(verified["intact"], true, "{verified}");
        (verified["checkpoint"]["id"] == old).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_forgotten_where_the_hashes_of_before_are_lost() {
    let settings = json!({ "audit": { "retention_days": 30 } });
    let (mut host, old) = aged_without(&["METASTORE", HEADS], &settings).await;
    let heads = host.data_dir().join(HEADS);
    until("hashes", async || fs::read(&heads).is_ok_and(|text| !text.is_empty()).then_some(())).await;
    assert_eq!(verify(&host, json!([])).await["checkpoint"], Value::Null);
    // The operator has seen it, and goes on.
    host.restart().await;
    has_forgotten(&host, old).await;
}

#[tokio::test]
async fn nothing_is_forgotten_unless_it_is_asked_for() {
    let (host, old) = aged(&json!({})).await;
    let found = changes(&host).await;
    assert!(found.len() as u64 == old + 2 && found.iter().all(|change| change["action"] != "changes.forget"));
}

#[tokio::test]
async fn what_is_left_is_verified_from_the_checkpoint_on() {
    let (mut host, old) = forgetful().await;
    let found = changes(&host).await;
    let ids: Vec<_> = found.iter().map(|change| change["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, old + 1, old + 2, old + 3]);
    let told = found.last().unwrap();
    assert_eq!((&told["action"], &told["actor"]), (&json!("changes.forget"), &json!("host/upkeep")));
    assert_eq!((&told["after"]["up_to"], &told["after"]["removed"]), (&json!(old), &json!(old - 1)));
    let page = host.get(&format!("/api/v1/changes?after={old}&limit=1")).await.expect(200).json();
    assert_eq!(page["changes"][0]["id"], old + 1);

    let hash = &told["after"]["hash"];
    let remembered = json!([{ "id": old, "hash": hash }, { "id": old - 1, "hash": hash }]);
    let verified = verify(&host, remembered).await;
    assert_eq!(
        (&verified["intact"], &verified["unchecked"]),
        (&json!(true), &json!([old - 1])),
        "{verified}"
    );
    let wrong = json!([{ "id": old, "hash": found[0]["hash"] }]);
    assert_eq!(verify(&host, wrong).await["broken_at"], old);

    host.put("/api/v1/tenants/default/quotas", &json!({ "concurrency": 9 })).await.expect(200);
    host.restart().await;
    let verified = verify(&host, json!([])).await;
    assert_eq!(verified["intact"], true, "{verified}");
    assert_eq!((&verified["id"], &verified["checkpoint"]["id"]), (&json!(old + 4), &json!(old)));
    let lines = fs::read_to_string(host.data_dir().join("audit-heads.jsonl")).unwrap();
    assert_eq!(lines.matches("\"checkpoint\":true").count(), 1, "{lines}");
}

#[tokio::test]
async fn a_checkpoint_that_was_touched_is_found() {
    let (mut host, old) = forgetful().await;
    host.stop().await;
    let path = |name: &str| host.data_dir().join(name);
    let kept = FILES.map(|name| (path(name), fs::read(path(name)).unwrap()));
    // Moved forward by somebody without the key, over a change that goes with it.
    let forward = format!(
        "UPDATE audit_checkpoints SET id = id + 1,
         hash = (SELECT hash FROM changes WHERE tenant = 'default' AND id = {old} + 1) WHERE tenant = 'default'"
    );
    for (statements, reason) in [
        (vec!["DELETE FROM audit_checkpoints"], "it is missing"),
        (vec!["UPDATE audit_checkpoints SET hash = public_key"], "cannot be read"),
        (vec!["UPDATE audit_checkpoints SET at = at + 1"], "wrong signature"),
        (vec!["UPDATE audit_checkpoints SET signature = ''"], "cannot be read"),
        (vec!["UPDATE audit_checkpoints SET tenant = 'other'"], "it is missing"),
        (
            vec![
                &forward,
                "DELETE FROM changes WHERE tenant = 'default' AND id = (SELECT MAX(id) FROM audit_checkpoints)",
            ],
            "wrong signature",
        ),
    ] {
        for (file, bytes) in &kept {
            fs::write(file, bytes).unwrap();
        }
        for statement in &statements {
            write(&host, statement).await;
        }
        host.start_again().await;
        let verified = verify(&host, json!([])).await;
        assert_eq!(verified["intact"], false, "{statements:?}: {verified}");
        assert!(verified["reason"].as_str().unwrap().contains(reason), "{statements:?}: {verified}");
        host.stop().await;
    }
    for (file, bytes) in &kept {
        fs::write(file, bytes).unwrap();
    }
    host.start_again().await;
    assert_eq!(verify(&host, json!([])).await["intact"], true);
}
