//! Models in memory: loaded before they are called, kept from going cold, and short of memory.

use serde_json::{Value, json};

use crate::support::{TestHost, digits, digits_model, until};

const NEVER: u64 = 3_600_000;

/// The digits model with so many bytes more of `doc_string` (field 6 of `ModelProto`): another model.
fn padded(bytes: usize, letter: u8) -> Vec<u8> {
    let mut model = digits_model();
    model.push(6 << 3 | 2);
    let mut length = bytes;
    while length >= 0x80 {
        model.push(length as u8 | 0x80);
        length >>= 7;
    }
    model.push(length as u8);
    model.extend(vec![letter; bytes]);
    model
}

async fn answers(host: &TestHost, function: &str) -> bool {
    let case = &digits()[3];
    let answer = host.call(function, "/", case.request()).await;
    assert_eq!(case.mistake(&answer), None);
    answer.headers.contains_key("modelet-wake-us")
}

async fn is_warm(host: &TestHost, function: &str) -> bool {
    let layers = host.layers(function).await;
    layers["handler"] == "resident" && layers["sessions"][0]["state"] == "ready"
}

async fn session(host: &TestHost, function: &str) -> Value {
    host.layers(function).await["sessions"][0].clone()
}

#[tokio::test]
async fn a_preloaded_function_is_awake_before_its_first_call_also_after_a_restart() {
    let mut host = TestHost::start().await;
    host.deploy_digits("digits", &json!({ "scale": { "preload": true } })).await;
    assert_eq!(session(&host, "digits").await["state"], "ready", "a deploy waits for the models");
    until("the handler to be linked", async || is_warm(&host, "digits").await.then_some(())).await;
    assert!(!answers(&host, "digits").await, "nothing was left to wake");
    host.restart().await;
    until("it to be awake", async || is_warm(&host, "digits").await.then_some(())).await;
}

#[tokio::test]
async fn a_function_with_a_minimum_scale_outlives_its_idle_timeouts_until_it_has_no_traffic() {
    let host = TestHost::start().await;
    let timeouts = json!({
        "handler_idle_timeout_ms": 50, "instance_idle_timeout_ms": 50, "session_idle_timeout_ms": 50,
    });
    let mut stays = timeouts.clone();
    stays["min_scale"] = 1.into();
    host.deploy_digits("stays", &json!({ "scale": stays })).await;
    let other = host.upload(padded(10, b'a')).await;
    let models = json!({ "digits": { "artifact": other, "backend": "rten" } });
    host.deploy_digits("goes", &json!({ "scale": timeouts, "models": models })).await;
    for function in ["stays", "goes"] {
        answers(&host, function).await;
    }
    until("the other to go cold", async || {
        let layers = host.layers("goes").await;
        (layers["code"] == "cold" && layers["sessions"][0]["state"] == "cold").then_some(())
    })
    .await;
    assert!(is_warm(&host, "stays").await);
    assert_eq!(session(&host, "stays").await["pinned"], true);
    assert!(!answers(&host, "stays").await);

    host.deploy_digits("stays", &json!({ "scale": timeouts })).await;
    until("it to go cold", async || {
        let layers = host.layers("stays").await;
        (layers["code"] == "cold" && layers["sessions"][0]["state"] == "cold").then_some(())
    })
    .await;
}

#[tokio::test]
async fn models_share_the_memory_that_there_is_and_those_used_the_longest_ago_go() {
    const MODEL: usize = 8 << 20;
    let host = TestHost::start_with(&json!({ "inference": { "memory_bytes": 30 << 20 } })).await;
    let functions = ["first", "second", "third"];
    for (function, letter) in functions.into_iter().zip(b'a'..) {
        let model = host.upload(padded(MODEL, letter)).await;
        let models = json!({ "digits": { "artifact": model, "backend": "rten" } });
        let scale = json!({ "session_idle_timeout_ms": NEVER });
        host.deploy_digits(function, &json!({ "models": models, "scale": scale })).await;
        answers(&host, function).await;
        let bytes = session(&host, function).await["memory_bytes"].as_u64().unwrap();
        assert!(bytes >= MODEL as u64, "{bytes}");
    }
    for function in functions.into_iter().cycle().take(9) {
        answers(&host, function).await;
    }
    assert!(host.metric("modelet_model_memory_bytes", "").await <= f64::from(30 << 20));
    assert_eq!(host.metric("modelet_model_memory_budget_bytes", "").await, f64::from(30 << 20));

    let huge = host.upload(padded(31 << 20, b'h')).await;
    let models = json!({ "digits": { "artifact": huge, "backend": "rten" } });
    let component = host.upload(crate::support::digits_handler()).await;
    let refused = host.revise("huge", &json!({ "component": component, "models": models })).await;
    let problem = refused.problem(422, "invalid_model", Some("models.digits"));
    assert!(problem["detail"].as_str().unwrap().contains("inference.memory_bytes"), "{problem}");
}

#[tokio::test]
async fn an_answer_that_is_kept_is_given_again_and_costs_no_inference() {
    let host = TestHost::start().await;
    let model = host.upload(digits_model()).await;
    let models = json!({ "digits": { "artifact": model, "backend": "rten", "response_cache": {} } });
    host.deploy_digits("digits", &json!({ "models": models })).await;
    for _ in 0..3 {
        answers(&host, "digits").await;
    }
    let cache = session(&host, "digits").await["response_cache"].clone();
    assert_eq!((&cache["answers"], &cache["hits"], &cache["misses"]), (&1.into(), &2.into(), &1.into()));
    let cached = host.metric("modelet_model_cached_answers_total", "").await;
    assert_eq!(cached, 2.0);
}
