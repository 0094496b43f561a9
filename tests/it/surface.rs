//! What a host shows of itself: its description, its health, its metrics.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{TestHost, noop_handler};

/// Every route that the documentation promises, by method.
const ROUTES: &[(&str, &[&str])] = &[
    ("/api/v1/artifacts/{digest}", &["get", "patch", "put"]),
    ("/api/v1/functions", &["get"]),
    ("/api/v1/functions/{function}", &["delete", "get"]),
    ("/api/v1/functions/{function}/logs", &["get"]),
    ("/api/v1/functions/{function}/revisions", &["get", "post"]),
    ("/api/v1/functions/{function}/revisions/{revision}", &["delete", "get"]),
    ("/api/v1/functions/{function}/rollback", &["post"]),
    ("/api/v1/functions/{function}/secrets", &["get"]),
    ("/api/v1/functions/{function}/secrets/{name}", &["delete", "put"]),
    ("/api/v1/functions/{function}/state", &["get"]),
    ("/api/v1/functions/{function}/traffic", &["put"]),
    ("/api/v1/host", &["get"]),
    ("/healthz", &["get"]),
    ("/metrics", &["get"]),
    ("/openapi.json", &["get"]),
    ("/readyz", &["get"]),
];

#[tokio::test]
async fn the_description_names_every_route_and_resolves() {
    let host = TestHost::start().await;
    let description = host.get("/openapi.json").await.expect(200).json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."), "{}", description["openapi"]);
    for (path, methods) in ROUTES {
        let operations =
            description["paths"][path].as_object().unwrap_or_else(|| panic!("{path} is missing"));
        for method in *methods {
            let operation = operations.get(*method).unwrap_or_else(|| panic!("{method} {path} is missing"));
            assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()));
        }
    }
    let mut references = BTreeSet::new();
    collect_references(&description, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("references stay inside");
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference.clone());
            }
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn a_host_says_that_it_is_alive_ready_and_what_it_has() {
    let host = TestHost::start().await;
    host.get("/healthz").await.expect(200);
    host.get("/readyz").await.expect(200);
    let about = host.get("/api/v1/host").await.expect(200).json();
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"), "{about}");
    let backends: Vec<_> = about["backends"].as_array().unwrap().iter().map(|b| b["name"].clone()).collect();
    assert_eq!(backends, [json!("rten"), json!("onnxruntime")]);
    assert_eq!(about["backends"][0]["available"], true);
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let host = TestHost::start().await;
    let mut ids = BTreeSet::new();
    for path in ["/healthz", "/nowhere", "/f/default/nothing/"] {
        let answer = host.get(path).await;
        assert!(ids.insert(answer.header("x-request-id").to_owned()), "{path}");
    }
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let host = TestHost::start().await;
    host.deploy_component("f", noop_handler(0)).await;
    for _ in 0..3 {
        host.call("f", "/", "").await.expect(204);
    }
    let metrics = host.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert!(metrics.text().ends_with("# EOF\n"));
    let labels = "function=\"f\"";
    assert_eq!(host.metric("modelet_invocations_total", labels).await, 3.0);
    assert_eq!(host.metric("modelet_invocation_duration_seconds_count", labels).await, 3.0);
    assert_eq!(host.metric("modelet_compilations_total", "").await, 1.0);
    assert!(host.metric("modelet_ledger_entries_total", "").await >= 3.0);
}
