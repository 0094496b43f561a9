//! Hosts whose data is not all in their folder: the metastore on PostgreSQL, the artifacts in a bucket.

use modelet_test_postgres::Server;
use modelet_test_s3::{self as s3, S3Server};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Api, Digit, HostProcess, digits, digits_handler, digits_model};

/// Deploys the digits example on a host, and asks it for a digit.
async fn deploy_and_call(host: &HostProcess, digit: &Digit) {
    let (component, model) = (host.upload(digits_handler()).await, host.upload(digits_model()).await);
    let spec = json!({ "component": component, "models": { "digits": { "artifact": model } } });
    host.deploy("digits", &spec).await;
    call(host, digit).await;
}

/// Asks for a digit, and gets the right one.
async fn call(host: &HostProcess, digit: &Digit) {
    let answer = host.call("digits", "/", digit.request()).await;
    assert_eq!(digit.mistake(&answer), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_its_metastore_on_postgres() {
    let server = Server::start().unwrap();
    let folder = TempDir::new().unwrap();
    let changes = json!({ "metastore_url": server.database().unwrap() });
    let digits = digits();
    let host = HostProcess::start_with(folder.path(), &changes, None).await;
    deploy_and_call(&host, &digits[0]).await;
    host.kill().await;
    assert!(!folder.path().join("metastore.sqlite3").exists());

    let host = HostProcess::start_with(folder.path(), &changes, None).await;
    call(&host, &digits[1]).await;
    // Calls need no metastore. What does says so, and works again when it is back.
    server.crash().unwrap();
    call(&host, &digits[2]).await;
    let refused = host.get("/api/v1/functions").await;
    refused.problem(503, "storage_unavailable", None);
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    server.resume().unwrap();
    crate::support::until("the metastore to be back", async || {
        (host.get("/api/v1/functions").await.status == 200).then_some(())
    })
    .await;
    host.post("/api/v1/functions/digits/rollback", &json!({})).await.problem(409, "conflict", None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_its_artifacts_in_a_bucket() {
    let mut server = S3Server::start();
    let folder = TempDir::new().unwrap();
    let changes = json!({ "artifacts_url": s3::url("host") });
    let variables = s3::variables(&server.endpoint());
    let start = async || HostProcess::start_with(folder.path(), &changes, variables.clone()).await;
    let digits = digits();
    let host = start().await;
    deploy_and_call(&host, &digits[0]).await;
    host.kill().await;

    // A host on another disk: its calls fetch what they need.
    std::fs::remove_dir_all(folder.path().join("artifacts/sha256")).unwrap();
    let host = start().await;
    let before = server.reads();
    call(&host, &digits[1]).await;
    assert!(server.reads() > before, "the model was fetched");

    // What is awake goes on without the bucket, and nothing new can be uploaded until it is back.
    server.stop();
    call(&host, &digits[2]).await;
    let bytes = b"something new".to_vec();
    let path = format!("/api/v1/artifacts/{}", modelet_types::Digest::of(&bytes));
    let refused = host.send(reqwest::Method::PUT, &path, bytes.clone()).await;
    refused.problem(503, "storage_unavailable", None);
    server.resume();
    // All of it had come, so that nothing is sent again.
    let rest = host.request(reqwest::Method::PATCH, &path);
    let rest = rest.header("upload-offset", bytes.len()).header("upload-length", bytes.len());
    Api::try_send(rest).await.unwrap().expect(201);
}
