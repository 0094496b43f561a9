//! The record of changes: everything that changed, by whom and from where, and every way to alter it found.

mod offline;
mod retention;
mod signed;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Api, TestHost, noop_handler};

async fn changes(host: &Api) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/api/v1/changes?limit=5&after={after}");
        let page = host.get(&path).await.expect(200).json();
        found.extend(page["changes"].as_array().unwrap().iter().cloned());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return found,
        }
    }
}

async fn verify(host: &Api, remembered: Value) -> Value {
    let body = json!({ "remembered": remembered });
    host.post("/api/v1/changes/verify", &body).await.expect(200).json()
}

/// A host on which something was changed, with the last change that it has.
async fn host_with_changes() -> (TestHost, Value) {
    host_with_changes_and(&json!({})).await
}

/// The same, with `settings`.
async fn host_with_changes_and(settings: &Value) -> (TestHost, Value) {
    let host = TestHost::start_with(settings).await;
    host.deploy_component("f", noop_handler(0)).await;
    host.put("/api/v1/functions/f/secrets/token", &json!({ "value": "sesame" })).await.expect(200);
    host.put("/api/v1/tenants/default/quotas", &json!({ "concurrency": 7 })).await.expect(200);
    host.delete("/api/v1/functions/f").await.expect(204);
    let verified = verify(&host, json!([])).await;
    assert_eq!(verified["intact"], true, "{verified}");
    (host, verified)
}

#[tokio::test]
async fn every_change_says_who_made_it_and_from_where() {
    let (host, verified) = host_with_changes().await;
    let by = host.get("/api/v1/identity").await.expect(200).json()["actor"].clone();
    let found = changes(&host).await;
    assert_eq!(verified["id"], found.len());
    assert_eq!(verified["hash"], found.last().unwrap()["hash"]);
    let told = |action: &str| {
        let is_it = |change: &&Value| change["action"] == action;
        found.iter().find(is_it).unwrap_or_else(|| panic!("no {action} in {found:#?}")).clone()
    };
    for action in ["artifact.upload", "function.create", "revision.create", "secret.set", "function.delete"] {
        let change = told(action);
        assert_eq!((&change["actor"], &change["origin"]), (&by, &json!("127.0.0.1")), "{change}");
    }
    let quotas = told("tenant.set_quotas");
    assert_eq!(quotas["before"]["quotas"], json!({}));
    assert_eq!(quotas["after"]["quotas"], json!({ "concurrency": 7 }));
    assert_eq!(told("tenant.create")["origin"], Value::Null, "the host did that by itself");
    assert!(!serde_json::to_string(&found).unwrap().contains("sesame"));
    host.get("/api/v1/changes?limit=0").await.problem(400, "invalid_input", Some("limit"));
}

/// Alters the metastore of a host that has stopped.
async fn write(host: &TestHost, statement: &str) {
    let file = host.data_dir().join("metastore.sqlite3");
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let altered = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    assert!(altered.rows_affected() > 0, "{statement}");
    connection.close().await.unwrap();
}

/// Alters the metastore of a host, and starts another one on it.
async fn alter(host: &mut TestHost, statement: &str) {
    host.stop().await;
    write(host, statement).await;
    host.start_again().await;
}

#[tokio::test]
async fn whatever_is_altered_is_found() {
    for (statement, broken_at) in [
        ("UPDATE changes SET actor = 'key/000000000000' WHERE id = 3", Some(3)),
        ("UPDATE changes SET after_json = NULL WHERE id = 4", Some(4)),
        ("DELETE FROM changes WHERE id = 5", Some(5)),
        ("DELETE FROM changes WHERE id = (SELECT MAX(id) FROM changes)", None),
    ] {
        let (mut host, last) = host_with_changes().await;
        alter(&mut host, statement).await;
        let verified = verify(&host, json!([])).await;
        let broken_at = broken_at.or(last["id"].as_u64());
        assert_eq!(
            (&verified["intact"], verified["broken_at"].as_u64()),
            (&json!(false), broken_at),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_forged_chain_is_told_from_what_is_remembered() {
    let (mut host, last) = host_with_changes().await;
    let remembered = json!([{ "id": last["id"], "hash": last["hash"] }]);
    assert_eq!(verify(&host, remembered.clone()).await["intact"], true);
    // As somebody does who knows how it is made: the host chains anew what has no hash.
    let forged = "UPDATE changes SET actor = 'nobody', hash = NULL WHERE tenant = 'default' AND id > 1";
    alter(&mut host, forged).await;
    let verified = verify(&host, json!([])).await;
    assert_eq!(verified["intact"], false, "the file of hashes has the last change: {verified}");
    let heads = host.data_dir().join("audit-heads.jsonl");
    std::fs::remove_file(&heads).unwrap();
    assert_eq!(verify(&host, json!([])).await["intact"], false, "the host has read the file");
    host.stop().await;
    assert!(!heads.exists(), "what contradicts what was signed is not signed");
    host.start_again().await;
    assert_eq!(verify(&host, json!([])).await["intact"], true, "nobody remembers");
    let verified = verify(&host, remembered).await;
    assert_eq!((&verified["intact"], &verified["broken_at"]), (&json!(false), &last["id"]), "{verified}");
}
