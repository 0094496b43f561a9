//! Functions that call functions of their tenant, and how long each stage of a call took.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestHost, digits, digits_model, guest, until};

const ANY_FUNCTION: &str = "http://*.modelet.internal";

/// Deploys the handler that sends its requests on, with the only rule `rule`.
async fn deploy(host: &TestHost, rule: &str, limits: Value) {
    let component = host.upload(guest("standard")).await;
    host.deploy("standard", &json!({ "component": component, "outbound": [rule], "limits": limits })).await;
}

async fn forward(host: &TestHost, address: &str, body: String) -> Answer {
    host.call("standard", &format!("/forward?{address}"), body).await
}

#[tokio::test]
async fn a_handler_calls_another_function_which_is_counted_by_itself() {
    let host = TestHost::start().await;
    deploy(&host, "POST http://digits.modelet.internal", json!({})).await;
    host.deploy_digits("digits", &json!({})).await;
    for case in digits().iter().take(3) {
        let answer = forward(&host, "http://digits.modelet.internal/", case.request()).await;
        assert_eq!(case.mistake(&answer), None);
    }
    for function in ["digits", "standard"] {
        let labels = format!("function=\"{function}\"");
        assert_eq!(host.metric("modelet_invocations_total", &labels).await, 3.0, "{function}");
    }
    let refused = forward(&host, "http://digits.modelet.internal/", "{}".into()).await;
    refused.problem(422, "invalid_input", Some("pixels"));
}

#[tokio::test]
async fn a_model_alone_is_called_in_its_protocol() {
    let host = TestHost::start().await;
    deploy(&host, ANY_FUNCTION, json!({})).await;
    let model = host.upload(digits_model()).await;
    host.deploy("model", &json!({ "models": { "model": { "artifact": model } } })).await;
    let row: Vec<f32> = digits()[0].pixels.iter().map(|&ink| f32::from(ink) / 16.0).collect();
    let request =
        json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": [1, 64], "data": [row] }] });
    let answer = forward(&host, "http://model.modelet.internal/", request.to_string()).await.expect(200);
    assert_eq!(answer.json()["outputs"][0]["shape"], json!([1, 10]));
}

#[tokio::test]
async fn what_no_rule_allows_and_what_is_not_there_is_not_called() {
    let host = TestHost::start().await;
    host.deploy_digits("digits", &json!({})).await;
    deploy(&host, "http://other.modelet.internal", json!({})).await;
    let refused = forward(&host, "http://digits.modelet.internal/", String::new()).await.expect(502);
    assert!(refused.text().contains("HttpRequestDenied"), "{}", refused.text());
    forward(&host, "http://other.modelet.internal/", String::new()).await.problem(
        404,
        "not_found",
        Some("function"),
    );

    deploy(&host, ANY_FUNCTION, json!({})).await;
    let no_name = forward(&host, "http://no.name.modelet.internal/", String::new()).await.expect(502);
    assert!(no_name.text().contains("DestinationNotFound"), "{}", no_name.text());
}

#[tokio::test]
async fn functions_of_another_tenant_are_not_there() {
    let host = TestHost::start().await;
    host.deploy_digits("digits", &json!({})).await;
    host.post("/api/v1/tenants", &json!({ "tenant": "acme" })).await.expect(201);
    let key = host.request(Method::POST, "/api/v1/keys").header("modelet-tenant", "acme");
    let key = key.json(&json!({ "role": "owner" })).send().await.unwrap();
    let key = key.json::<Value>().await.unwrap()["key"].as_str().unwrap().to_owned();
    let acme = host.with_key(Some(&key));
    let component = acme.upload(guest("standard")).await;
    acme.deploy("standard", &json!({ "component": component, "outbound": [ANY_FUNCTION] })).await;
    let address = "/f/acme/standard/forward?http://digits.modelet.internal/";
    acme.send(Method::POST, address, digits()[0].request()).await.problem(404, "not_found", Some("function"));
}

#[tokio::test]
async fn a_restricted_key_deploys_no_way_around_its_restriction() {
    let host = TestHost::start().await;
    deploy(&host, "http://example.com", json!({})).await;
    let key = json!({ "role": "deployer", "functions": ["standard"] });
    let key = host.post("/api/v1/keys", &key).await.expect(201).json()["key"].as_str().unwrap().to_owned();
    let restricted = host.with_key(Some(&key));
    let component = restricted.upload(guest("standard")).await;
    let spec = |rule: &str| json!({ "component": component, "outbound": ["http://example.com", rule] });
    for rule in [ANY_FUNCTION, "POST http://digits.modelet.internal"] {
        let refused = restricted.revise("standard", &spec(rule)).await;
        refused.problem(403, "permission_denied", Some("outbound[1]"));
    }
    restricted.revise("standard", &spec("http://standard.modelet.internal")).await.expect(201);
    host.revise("standard", &spec(ANY_FUNCTION)).await.expect(201);
}

#[tokio::test]
async fn functions_that_call_one_another_without_end_are_stopped() {
    let host = TestHost::start().await;
    deploy(&host, ANY_FUNCTION, json!({})).await;
    let nested = |depth: usize| format!("/{}hello", "fetch?http://standard.modelet.internal/".repeat(depth));
    let answer = host.call("standard", &nested(8), "").await.expect(200);
    assert_eq!(answer.text(), "hello");
    let answer = host.call("standard", &nested(9), "").await.expect(502);
    assert!(answer.text().contains("LoopDetected"), "{}", answer.text());
}

#[tokio::test]
async fn a_called_function_ends_with_its_caller() {
    let host = TestHost::start().await;
    deploy(&host, ANY_FUNCTION, json!({ "wall_time_ms": 300 })).await;
    let component = host.upload(guest("standard")).await;
    let limits = json!({ "wall_time_ms": 600_000, "cpu_time_ms": 600_000 });
    host.deploy("slow", &json!({ "component": component, "limits": limits })).await;
    forward(&host, "http://slow.modelet.internal/loop", String::new()).await.problem(
        504,
        "wall_time_exceeded",
        None,
    );
    let running = async || host.layers("slow").await["instances"]["running"].as_u64().unwrap();
    until("the called one to end", async || (running().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_caller_who_asks_is_told_how_long_each_stage_took() {
    let host = TestHost::start().await;
    host.deploy_digits("digits", &json!({})).await;
    let call = async |value: &str| {
        let request = host.request(Method::POST, "/f/default/digits").header("modelet-timing", value);
        request.body(digits()[0].request()).timeout(Duration::from_secs(60)).send().await.unwrap()
    };
    let names = |response: &reqwest::Response| -> Vec<String> {
        let header = response.headers().get_all("server-timing").iter();
        let text: Vec<&str> = header.map(|value| value.to_str().unwrap()).collect();
        let metrics = text.iter().flat_map(|text| text.split(", ")).filter(|metric| metric.contains(";dur="));
        metrics.map(|metric| metric.split(';').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&call("true").await), ["receive", "queue", "wake", "handler", "model-digits"]);
    assert_eq!(names(&call("true").await), ["receive", "queue", "handler", "model-digits"]);
    assert_eq!(names(&call("false").await), [""; 0]);
}
