//! Secrets: handed to handlers, and found nowhere else.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, TestHost, guest};

/// A value that stands nowhere by chance.
const VALUE: &str = "tr0ub4dor&3-correct-horse-battery";
const OTHER: &str = "open-sesame-by-the-forty-thieves";

async fn set(host: &Api, function: &str, name: &str, value: &str) -> Answer {
    host.put(&format!("/api/v1/functions/{function}/secrets/{name}"), &json!({ "value": value })).await
}

async fn deploy(host: &Api, function: &str, manifest: Value) -> Answer {
    let mut spec = manifest;
    spec["component"] = host.upload(guest("granted")).await.into();
    host.revise(function, &spec).await
}

async fn secret(host: &Api, function: &str, name: &str) -> Answer {
    host.call(function, "/secret", name.to_owned()).await
}

fn needs_key() -> Value {
    json!({ "secrets": ["api-key"] })
}

#[tokio::test]
async fn a_handler_reads_what_its_manifest_names_and_nothing_else() {
    let host = TestHost::start().await;
    set(&host, "f", "api-key", VALUE).await.expect(200);
    set(&host, "f", "other", OTHER).await.expect(200);
    let mut manifest = needs_key();
    manifest["config"] = json!({ "greeting": "hello" });
    deploy(&host, "f", manifest).await.expect(201);
    assert_eq!(secret(&host, "f", "api-key").await.expect(200).text(), VALUE);
    secret(&host, "f", "other").await.problem(404, "not_found", None);
    // A handler that shows all of its configuration shows no secret.
    let shown = host.call("f", "/configuration", "").await.expect(200);
    assert_eq!(shown.text(), r#"Ok([("greeting", "hello")])"#);

    set(&host, "g", "other", OTHER).await.expect(200);
    deploy(&host, "g", json!({})).await.expect(201);
    secret(&host, "g", "other").await.problem(404, "not_found", None);
}

#[tokio::test]
async fn a_new_value_takes_effect_without_a_deploy() {
    let mut host = TestHost::start().await;
    set(&host, "f", "api-key", VALUE).await.expect(200);
    let mut manifest = needs_key();
    // Also in an instance that has answered with the old one.
    manifest["reuse"] = json!({ "max_invocations": 10 });
    deploy(&host, "f", manifest).await.expect(201);
    assert_eq!(secret(&host, "f", "api-key").await.expect(200).text(), VALUE);
    set(&host, "f", "api-key", OTHER).await.expect(200);
    assert_eq!(secret(&host, "f", "api-key").await.expect(200).text(), OTHER);
    host.restart().await;
    assert_eq!(secret(&host, "f", "api-key").await.expect(200).text(), OTHER);
}

#[tokio::test]
async fn a_secret_that_is_not_set_is_refused_at_deploy() {
    let host = TestHost::start().await;
    let problem = deploy(&host, "f", needs_key()).await.problem(422, "invalid_manifest", Some("secrets[0]"));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`api-key`") && detail.contains("modelet secret set f api-key"), "{detail}");
    let spec = json!({ "config": { "secret.api-key": VALUE } });
    let problem =
        deploy(&host, "f", spec).await.problem(422, "invalid_manifest", Some("config.secret.api-key"));
    assert!(!problem.to_string().contains(VALUE));

    set(&host, "f", "api-key", VALUE).await.expect(200);
    deploy(&host, "f", needs_key()).await.expect(201);
    // What an active revision needs stays.
    let path = "/api/v1/functions/f/secrets/api-key";
    host.delete(path).await.problem(409, "conflict", None);
    deploy(&host, "f", json!({})).await.expect(201);
    host.delete(path).await.expect(204);
    host.delete(path).await.problem(404, "not_found", Some("secret"));
    host.post("/api/v1/functions/f/rollback", &json!({})).await.problem(409, "conflict", None);
}

#[tokio::test]
async fn secrets_are_listed_by_name_and_go_with_their_function() {
    let host = TestHost::start().await;
    host.get("/api/v1/functions/f/secrets").await.problem(404, "not_found", Some("function"));
    let answer = set(&host, "f", "api-key", VALUE).await.expect(200).json();
    let by = host.get("/api/v1/identity").await.expect(200).json()["actor"].clone();
    assert_eq!((&answer["name"], &answer["set_by"]), (&json!("api-key"), &by));
    assert!(by.as_str().unwrap().starts_with("key/"), "{by}");
    let listed = host.get("/api/v1/functions/f/secrets").await.expect(200).json();
    assert_eq!(listed["secrets"], json!([answer]));
    // Made for its secret, it waits for its first revision.
    host.call("f", "/", "").await.problem(503, "not_active", None);
    host.delete("/api/v1/functions/f").await.expect(204);
    set(&host, "f", "other", OTHER).await.expect(200);
    deploy(&host, "f", needs_key()).await.problem(422, "invalid_manifest", Some("secrets[0]"));
}

#[tokio::test]
async fn bad_values_and_names_are_refused_without_repeating_them() {
    let host = TestHost::start().await;
    let path = "/api/v1/functions/f/secrets/api-key";
    let send = async |content_type: &str, body: String| {
        let request = host.request(Method::PUT, path).header("content-type", content_type).body(body);
        Api::try_send(request).await.unwrap()
    };
    let json = "application/json";
    for (answer, status, code, field) in [
        (send("text/plain", VALUE.into()).await, 415, "unsupported_media_type", "content-type"),
        (send(json, VALUE.into()).await, 400, "invalid_input", "body"),
        (send(json, json!(VALUE).to_string()).await, 400, "invalid_input", "body"),
        (send(json, json!({ "value": [VALUE] }).to_string()).await, 400, "invalid_input", "body"),
        (send(json, json!({ VALUE: 1 }).to_string()).await, 400, "invalid_input", "body"),
        (set(&host, "f", "api-key", "").await, 400, "invalid_input", "value"),
        (set(&host, "f", "api-key", &VALUE.repeat(1_000)).await, 400, "invalid_input", "value"),
        (set(&host, "f", "api-key", &VALUE.repeat(10_000)).await, 413, "request_too_large", "body"),
        (set(&host, "f", "API_KEY", VALUE).await, 400, "invalid_input", "name"),
    ] {
        answer.problem(status, code, Some(field));
        assert!(!answer.text().contains(VALUE), "{}", answer.text());
    }
    host.get("/api/v1/functions/f").await.problem(404, "not_found", Some("function"));
}

#[tokio::test]
async fn a_handler_that_logs_a_secret_is_saved_from_itself() {
    let host = TestHost::start().await;
    set(&host, "f", "api-key", VALUE).await.expect(200);
    deploy(&host, "f", needs_key()).await.expect(201);
    host.call("f", "/tell", "api-key").await.expect(204);
    for line in ["stdout has", "stderr has", "the log has"] {
        let line = host.log_line("f", &[line]).await;
        assert!(line["message"].as_str().unwrap().ends_with("has [secret] in it"), "{line}");
    }
}

#[tokio::test]
async fn a_secret_is_in_no_file_and_in_no_answer() {
    let mut host = TestHost::start().await;
    set(&host, "f", "api-key", OTHER).await.expect(200);
    set(&host, "f", "api-key", VALUE).await.expect(200);
    deploy(&host, "f", needs_key()).await.expect(201);
    assert_eq!(secret(&host, "f", "api-key").await.expect(200).text(), VALUE);
    host.call("f", "/tell", "api-key").await.expect(204);
    host.call("f", "/panic", "api-key").await.problem(502, "handler_trap", None);
    host.log_line("f", &["it does not open with [secret]"]).await;
    for path in [
        "/api/v1/functions",
        "/api/v1/functions/f",
        "/api/v1/functions/f/secrets",
        "/api/v1/functions/f/state",
        "/api/v1/functions/f/logs",
        "/api/v1/functions/f/revisions",
        "/api/v1/functions/f/revisions/1",
        "/api/v1/host",
        "/metrics",
        "/openapi.json",
    ] {
        let answer = host.get(path).await.expect(200);
        assert!(!answer.text().contains(VALUE) && !answer.text().contains(OTHER), "{path}");
    }
    look_for_values(&host.data_dir());
    host.stop().await;
    look_for_values(&host.data_dir());
}

/// Looks into every file, for the values as they are and as hexadecimal digits.
fn look_for_values(folder: &Path) {
    let files = files(folder);
    let names = files.iter().filter_map(|file| file.file_name()?.to_str());
    let names: Vec<&str> = names.collect();
    assert!(names.contains(&"metastore.sqlite3") && names.contains(&"secret.key"), "{names:?}");
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        for value in [VALUE, OTHER] {
            let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
            for text in [value, &hex] {
                let is_there = bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!is_there, "{text} is in {}", file.display());
            }
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
