//! Who can write to the metastore and to the file of hashes, but has not read the host's key.

use std::fs;

use jiff::Timestamp;
use modelet_store::{Anchor, AuditKey, Change, Store, StoreConfig, read_anchors};
use modelet_types::TenantName;
use serde_json::{Value, json};

use super::{alter, host_with_changes, verify, write};
use crate::support::{Api, TestHost};

async fn verify_with(host: &Api, public_keys: &[&Value]) -> Value {
    let body = json!({ "public_keys": public_keys });
    host.post("/api/v1/changes/verify", &body).await.expect(200).json()
}

/// Alters a change of a host that has stopped, with every hash behind it, and gives all changes.
async fn forge(host: &TestHost) -> Vec<Change> {
    write(host, "UPDATE changes SET actor = 'nobody', hash = NULL WHERE tenant = 'default' AND id > 2").await;
    // The store chains anew what has no hash; it has no key.
    let store = Store::open(&StoreConfig::embedded(host.data_dir())).await.unwrap();
    let forged = store.changes(&TenantName::default_tenant(), 0, 1_000).await.unwrap();
    store.close().await;
    forged
}

#[tokio::test]
async fn heads_are_signed() {
    let (mut host, last) = host_with_changes().await;
    let key = verify(&host, json!([])).await["public_key"].clone();
    let verified = verify_with(&host, &[&key]).await;
    assert_eq!((&verified["intact"], &verified["signed"]["id"]), (&json!(true), &last["id"]), "{verified}");
    assert_eq!(verified["checkpoint"], Value::Null);
    let (other, _) = AuditKey::read_or_make(&host.data_dir().join("other.key")).unwrap();
    let other = json!(other.public());
    let verified = verify_with(&host, &[&other]).await;
    assert_eq!(verified["intact"], false, "{verified}");
    assert!(verified["reason"].as_str().unwrap().contains("not trusted"), "{verified}");
    let both = verify_with(&host, &[&other, &key]).await;
    assert_eq!(both["intact"], true, "{both}");
    fs::remove_file(host.data_dir().join("audit-heads.jsonl")).unwrap();
    let verified = verify_with(&host, &[&other]).await;
    assert!(verified["reason"].as_str().unwrap().contains("nothing is signed"), "{verified}");
    host.restart().await;
    let verified = verify_with(&host, &[&key]).await;
    assert_eq!((&verified["public_key"], &verified["signed"]["id"]), (&key, &last["id"]), "{verified}");
    let body = json!({ "public_keys": ["ed25519:00"] });
    host.post("/api/v1/changes/verify", &body).await.problem(400, "invalid_input", Some("public_keys[0]"));
}

#[tokio::test]
async fn what_was_signed_is_not_forged_without_the_key() {
    type Rewrite = fn(Anchor, &AuditKey) -> Anchor;
    let ways: [(Rewrite, &str); 4] = [
        (|line, _| line, "has a wrong signature"),
        (|line, key| Anchor::head(key, line.at, &line.tenant, line.change()), "a key that is not trusted"),
        (|line, _| Anchor { key: None, signature: None, ..line }, "is not signed"),
        (|line, _| Anchor { signature: None, ..line }, "has a wrong signature"),
    ];
    for (rewrite, reason) in ways {
        let (mut host, _) = host_with_changes().await;
        host.stop().await;
        let forged = forge(&host).await;
        let file = host.data_dir().join("audit-heads.jsonl");
        let (own, _) = AuditKey::read_or_make(&host.data_dir().join("own.key")).unwrap();
        let rewritten: String = read_anchors(&file)
            .unwrap()
            .into_iter()
            .map(|(_, line)| {
                let hash = forged[usize::try_from(line.id).unwrap() - 1].hash;
                serde_json::to_string(&rewrite(Anchor { hash, ..line }, &own)).unwrap() + "\n"
            })
            .collect();
        assert!(!rewritten.is_empty());
        fs::write(&file, rewritten).unwrap();
        host.start_again().await;
        let verified = verify(&host, json!([])).await;
        assert_eq!(verified["intact"], false, "{verified}");
        assert!(verified["reason"].as_str().unwrap().contains(reason), "{reason}: {verified}");
    }
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_found() {
    let (mut host, last) = host_with_changes().await;
    host.stop().await;
    let last = last["id"].as_u64().unwrap();
    write(
        &host,
        &format!("UPDATE counters SET last = {last} - 1 WHERE tenant = 'default' AND name = 'changes'"),
    )
    .await;
    write(&host, &format!("DELETE FROM changes WHERE tenant = 'default' AND id = {last}")).await;
    host.start_again().await;
    let verified = verify(&host, json!([])).await;
    assert_eq!(
        (&verified["intact"], verified["broken_at"].as_u64()),
        (&json!(false), Some(last)),
        "{verified}"
    );
    // Nor is another change signed in its place.
    host.put("/api/v1/tenants/default/quotas", &json!({ "concurrency": 9 })).await.expect(200);
    host.restart().await;
    let verified = verify(&host, json!([])).await;
    assert_eq!(
        (&verified["intact"], verified["broken_at"].as_u64()),
        (&json!(false), Some(last)),
        "{verified}"
    );
}

#[tokio::test]
async fn another_key_is_trusted_if_the_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (old, _) = AuditKey::read_or_make(&folder.path().join("old.key")).unwrap();
    let new = folder.path().join("new.key");
    let settings = json!({ "audit": { "key_file": new, "trusted_keys": [old.public()] } });
    let mut host = TestHost::start_with(&settings).await;
    assert!(new.exists() && !host.data_dir().join("audit.key").exists());
    let key = verify(&host, json!([])).await["public_key"].clone();
    host.stop().await;
    let file = host.data_dir().join("audit-heads.jsonl");
    let (_, line) = read_anchors(&file).unwrap().remove(0);
    let at = Timestamp::now();
    let signed = Anchor::head(&old, at, &line.tenant, line.change());
    fs::write(&file, serde_json::to_string(&signed).unwrap() + "\n").unwrap();
    host.start_again().await;
    let verified = verify(&host, json!([])).await;
    assert_eq!((&verified["intact"], &verified["signed"]["since"]), (&json!(true), &json!(at)), "{verified}");
    assert_eq!(verify_with(&host, &[&key]).await["intact"], false, "the old key was not named");
    assert_eq!(verify_with(&host, &[&key, &json!(old.public())]).await["intact"], true);
    alter(&mut host, "UPDATE changes SET actor = 'nobody' WHERE tenant = 'default' AND id = 1").await;
    assert_eq!(verify(&host, json!([])).await["broken_at"], 1);
}
