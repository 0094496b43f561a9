//! Uploads that are not what they should be. Each is refused at deploy with what is wrong, and
//! leaves no function behind.

mod onnx;

use serde_json::{Value, json};

use crate::support::{Api, TestHost, blocking_handler, digits_handler, digits_model, noop_handler};

/// Deploys what must be refused, and gives the detail of the refusal.
async fn refused(host: &Api, spec: Value, status: u16, code: &str, field: &str) -> String {
    let problem = host.revise("victim", &spec).await.problem(status, code, Some(field));
    host.get("/api/v1/functions/victim").await.problem(404, "not_found", Some("function"));
    problem["detail"].as_str().unwrap().to_owned()
}

async fn refused_component(host: &Api, component: Vec<u8>) -> String {
    let component = host.upload(component).await;
    refused(host, json!({ "component": component }), 422, "invalid_component", "component").await
}

async fn refused_model(host: &Api, model: Vec<u8>, backend: &str) -> String {
    let component = host.upload(digits_handler()).await;
    let model = host.upload(model).await;
    let models = json!({ "digits": { "artifact": model, "backend": backend } });
    refused(host, json!({ "component": component, "models": models }), 422, "invalid_model", "models.digits")
        .await
}

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).expect("the text is valid")
}

#[tokio::test]
async fn what_is_no_component_is_refused() {
    let host = TestHost::start().await;
    let detail = refused_component(&host, b"#!/bin/sh\necho harmless".to_vec()).await;
    assert!(detail.contains("not WebAssembly"), "{detail}");
    let detail = refused_component(&host, text("(module)")).await;
    assert!(detail.contains("module, not a component") && detail.contains("wasm32-wasip2"), "{detail}");
    let mut cut_off = digits_handler();
    cut_off.truncate(cut_off.len() / 2);
    refused_component(&host, cut_off).await;
    refused_component(&host, Vec::new()).await;
}

#[tokio::test]
async fn a_component_that_exports_no_handler_is_refused() {
    let host = TestHost::start().await;
    let detail = refused_component(&host, text("(component)")).await;
    assert!(detail.contains("modelet:handler/handler@0.1.0") && detail.contains("nothing"), "{detail}");
}

#[tokio::test]
async fn a_handler_of_another_type_is_refused() {
    let host = TestHost::start().await;
    let empty = r#"(component (instance $empty) (export "modelet:handler/handler@0.1.0" (instance $empty)))"#;
    refused_component(&host, text(empty)).await;
    let other = r#"(component
        (core module $m (func (export "handle") (result i32) (i32.const 1)))
        (core instance $i (instantiate $m))
        (func $handle (result u32) (canon lift (core func $i "handle")))
        (instance $handler (export "handle" (func $handle)))
        (export "modelet:handler/blocking-handler@0.1.0" (instance $handler)))"#;
    refused_component(&host, text(other)).await;
}

#[tokio::test]
async fn imports_that_the_host_does_not_offer_are_named() {
    let host = TestHost::start().await;
    let component = r#"(component
        (import "evil:host/files@1.0.0" (instance (export "read-all" (func))))
        (instance $empty)
        (export "modelet:handler/handler@0.1.0" (instance $empty)))"#;
    let detail = refused_component(&host, text(component)).await;
    assert!(detail.contains("evil:host/files@1.0.0"), "{detail}");
    for offered in ["wasi:http", "wasi:config", "wasi:keyvalue", "wasi:logging", "modelet:inference"] {
        assert!(detail.contains(offered), "{offered} is offered: {detail}");
    }
}

#[tokio::test]
async fn too_many_or_too_large_parts_are_refused() {
    let host = TestHost::start().await;
    let memories = "(memory 1)".repeat(50);
    let detail = refused_component(&host, blocking_handler(&memories, "unreachable")).await;
    assert!(detail.contains("memories") && detail.contains("51"), "{detail}");
    let tables = "(table 1 funcref)".repeat(50);
    let detail = refused_component(&host, blocking_handler(&tables, "unreachable")).await;
    assert!(detail.contains("tables") && detail.contains("50"), "{detail}");
    refused_component(&host, blocking_handler("(table 4000000 funcref)", "unreachable")).await;
}

#[tokio::test]
async fn broken_models_are_refused() {
    let host = TestHost::start().await;
    let mut cut_off = digits_model();
    cut_off.truncate(cut_off.len() / 2);
    for backend in host.backends().await.into_iter().chain(["auto"]) {
        refused_model(&host, b"not a model at all".to_vec(), backend).await;
        refused_model(&host, cut_off.clone(), backend).await;
        refused_model(&host, Vec::new(), backend).await;
    }
}

#[tokio::test]
async fn a_model_with_its_weights_outside_of_the_file_is_refused() {
    let host = TestHost::start().await;
    for location in ["../../metastore.sqlite3", "/etc/passwd", "weights.bin"] {
        for backend in host.backends().await.into_iter().chain(["auto"]) {
            let detail = refused_model(&host, onnx::with_external_weights(location), backend).await;
            assert!(detail.contains("in another file"), "{detail}");
            assert!(!detail.contains("No such file"), "the host looked for {location}: {detail}");
        }
    }
}

#[tokio::test]
async fn models_nested_or_chained_without_end_are_refused_and_the_host_lives() {
    let host = TestHost::start().await;
    for backend in host.backends().await.into_iter().chain(["auto"]) {
        let detail = refused_model(&host, onnx::with_nested_type(5_000), backend).await;
        assert!(detail.contains("nested too deeply"), "{detail}");
    }
    let detail = refused_model(&host, onnx::with_chain(10_000), "rten").await;
    assert!(detail.contains("a chain of 10000 operators is too long"), "{detail}");
}

#[tokio::test]
async fn more_threads_than_there_are_cores_are_refused() {
    let host = TestHost::start().await;
    let component = host.upload(digits_handler()).await;
    let model = host.upload(digits_model()).await;
    let cores = std::thread::available_parallelism().unwrap().get();
    let models = json!({ "digits": { "artifact": model, "threads": cores + 1 } });
    let spec = json!({ "component": component, "models": models });
    let detail = refused(&host, spec, 422, "invalid_manifest", "models.digits.threads").await;
    assert!(detail.contains("out of range"), "{detail}");
}

#[tokio::test]
async fn a_model_that_misses_its_golden_output_is_refused() {
    let host = TestHost::start().await;
    let component = host.upload(digits_handler()).await;
    let model = host.upload(digits_model()).await;
    let golden = |outputs: Value| {
        let inputs = json!({ "input": { "shape": [1, 64], "f32": vec![0.5; 64] } });
        let golden = json!([{ "inputs": inputs, "outputs": outputs }]);
        json!({ "component": component, "models": { "digits": { "artifact": model, "golden": golden } } })
    };
    // A certain 3, which half-grey paper is not.
    let wrong = json!({ "probabilities": { "shape": [1, 10], "f32": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0] } });
    let field = "models.digits.golden[0].outputs.probabilities";
    refused(&host, golden(wrong), 422, "golden_mismatch", field).await;
    let misshapen = json!({ "probabilities": { "shape": [1, 2], "f32": [0, 0] } });
    refused(&host, golden(misshapen), 422, "golden_mismatch", field).await;
}

#[tokio::test]
async fn bytes_that_their_digest_does_not_name_are_refused() {
    let host = TestHost::start().await;
    let promised = modelet_types::Digest::of(b"what was promised");
    let path = format!("/api/v1/artifacts/{promised}");
    host.send(reqwest::Method::PUT, &path, "something else...").await.problem(422, "digest_mismatch", None);
    let missing = host.send(reqwest::Method::HEAD, &path, "").await.expect(404);
    assert_eq!(missing.header("upload-offset"), "0");
    refused(&host, json!({ "component": promised.to_string() }), 404, "not_found", "component").await;
}

#[tokio::test]
async fn a_manifest_with_a_mistake_names_the_entry() {
    let host = TestHost::start().await;
    let component = host.upload(noop_handler(0)).await;
    for (entry, value, field) in [
        ("limit", json!({}), "limit"),
        ("limits", json!({ "memory": 1 }), "limits.memory"),
        ("limits", json!({ "memory_bytes": 1 }), "limits.memory_bytes"),
        ("limits", json!({ "cpu_time_ms": "long" }), "limits.cpu_time_ms"),
        ("concurrency", json!({ "limit": 0 }), "concurrency.limit"),
        ("concurrency", json!({ "priority": "urgent" }), "concurrency.priority"),
        ("models", json!({ "m": { "artifact": "sha256:12" } }), "models.m.artifact"),
        ("scale", json!({ "session_idle_timeout_ms": -1 }), "scale.session_idle_timeout_ms"),
        ("request_body", json!("carrier pigeon"), "request_body"),
    ] {
        let mut spec = json!({ "component": component });
        spec[entry] = value;
        refused(&host, spec, 422, "invalid_manifest", field).await;
    }
    refused(&host, json!({}), 422, "invalid_manifest", "models").await;
}
