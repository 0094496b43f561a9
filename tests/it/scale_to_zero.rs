//! Layers that go cold one by one, and wake again.

use serde_json::{Value, json};

use crate::support::{TestHost, digits, until};

const NEVER: u64 = 3_600_000;

/// Which layers of `function` are warm: compiled code, linked handler, session.
async fn warm(host: &TestHost, function: &str) -> [bool; 3] {
    let layers = host.layers(function).await;
    assert_eq!(layers["row"], "present", "{layers}");
    let is = |layer: &Value, warm: &str| {
        assert!([warm, "cold"].contains(&layer.as_str().unwrap()), "{layers}");
        layer == warm
    };
    [
        is(&layers["code"], "resident"),
        is(&layers["handler"], "resident"),
        is(&layers["sessions"][0]["state"], "ready"),
    ]
}

async fn calls(host: &TestHost, function: &str) -> Option<u64> {
    let case = &digits()[7];
    let answer = host.call(function, "/", case.request()).await;
    assert_eq!(case.mistake(&answer), None);
    answer.headers.get("modelet-wake-us").map(|wake| wake.to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn each_layer_goes_cold_by_its_own_timeout_and_wakes_for_the_next_call() {
    let host = TestHost::start().await;
    for (function, [code, handler, session], left_warm) in [
        ("all", [50, 50, 50], [false, false, false]),
        ("instances", [NEVER, 50, NEVER], [true, false, true]),
        ("handler", [50, 50, NEVER], [false, false, true]),
        ("session", [NEVER, NEVER, 50], [true, true, false]),
    ] {
        // The same model with another `doc_string` (field 6 of `ModelProto`) is another session, with a
        // timeout of its own.
        let mut model = crate::support::digits_model();
        model.extend([6 << 3 | 2, u8::try_from(function.len()).unwrap()]);
        model.extend(function.as_bytes());
        let model = host.upload(model).await;
        let models = json!({ "digits": { "artifact": model, "backend": "rten" } });
        let scale = json!({
            "handler_idle_timeout_ms": code,
            "instance_idle_timeout_ms": handler,
            "session_idle_timeout_ms": session,
        });
        host.deploy_digits(function, &json!({ "models": models, "scale": scale })).await;
        calls(&host, function).await;
        let compilations = host.metric("modelet_compilations_total", "").await;
        until(&format!("{function} to go cold"), async || {
            (warm(&host, function).await == left_warm).then_some(())
        })
        .await;
        let woke = calls(&host, function).await;
        assert!(woke.is_some_and(|wake_us| wake_us > 0), "{function} woke in {woke:?}");
        assert_eq!(host.metric("modelet_compilations_total", "").await, compilations, "{function}");
    }
}

#[tokio::test]
async fn a_warm_function_does_not_wake() {
    let host = TestHost::start().await;
    host.deploy_digits("digits", &json!({})).await;
    calls(&host, "digits").await;
    assert_eq!(calls(&host, "digits").await, None);
    assert_eq!(warm(&host, "digits").await, [true; 3]);
}

/// The budget of what is awake is checked when something wakes, so every timeout here is too long to
/// be what puts a function to sleep.
#[tokio::test]
async fn over_the_budget_what_was_used_the_longest_ago_goes_to_sleep() {
    let host = TestHost::start_with(&json!({ "max_awake_revisions": 2 })).await;
    let scale = json!({ "handler_idle_timeout_ms": NEVER, "instance_idle_timeout_ms": NEVER });
    let functions = ["first", "second", "third", "fourth"];
    for function in functions {
        host.deploy_digits(function, &json!({ "scale": scale })).await;
    }
    for function in functions {
        calls(&host, function).await;
    }
    until("two of them to be asleep", async || {
        (host.metric("modelet_revisions_awake", "").await == 2.0).then_some(())
    })
    .await;
    assert_eq!(host.metric("modelet_evictions_total", "").await, 2.0);
    for (function, awake) in functions.into_iter().zip([false, false, true, true]) {
        assert_eq!(warm(&host, function).await[..2], [awake; 2], "{function}");
    }
    assert!(calls(&host, "first").await.is_some(), "it wakes again");
}

#[tokio::test]
async fn code_over_the_budget_of_bytes_is_not_kept() {
    let host = TestHost::start_with(&json!({ "max_awake_code_bytes": 1 })).await;
    let scale = json!({ "handler_idle_timeout_ms": NEVER, "instance_idle_timeout_ms": NEVER });
    host.deploy_digits("digits", &json!({ "scale": scale })).await;
    for _ in 0..3 {
        assert!(calls(&host, "digits").await.is_some(), "it is asleep before each call");
        until("it to be asleep", async || {
            (warm(&host, "digits").await == [false, false, true]).then_some(())
        })
        .await;
    }
}
