//! Many callers who meet a cold function at once.

use futures::future::join_all;
use serde_json::json;

use crate::support::{TestHost, digits};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_first_requests_load_once_and_compile_nothing() {
    const REQUESTS: usize = 1_000;
    let mut host = TestHost::start().await;
    host.deploy_digits("digits", &json!({ "concurrency": { "queue_timeout_ms": 60_000 } })).await;
    // After a restart nothing is loaded, and the counters are at 0.
    host.restart().await;
    let cold = host.layers("digits").await;
    assert_eq!((&cold["code"], &cold["handler"]), (&json!("cold"), &json!("cold")), "{cold}");
    assert_eq!(cold["sessions"][0]["state"], "cold", "{cold}");

    let cases = digits();
    let calls = cases.iter().cycle().take(REQUESTS).map(async |case| {
        let answer = host.call("digits", "/", case.request()).await;
        case.mistake(&answer)
    });
    let mistakes: Vec<_> = join_all(calls).await.into_iter().flatten().collect();
    assert!(
        mistakes.is_empty(),
        "{} wrong answers: {:?}",
        mistakes.len(),
        &mistakes[..mistakes.len().min(5)]
    );

    assert_eq!(host.metric("modelet_model_loads_total", "").await, 1.0);
    assert_eq!(host.metric("modelet_compilations_total", "").await, 0.0);
    assert_eq!(host.metric("modelet_wakes_total", "layer=\"code\"").await, 1.0);
    assert_eq!(host.metric("modelet_invocations_total", "function=\"digits\"").await, REQUESTS as f64);
}

#[tokio::test]
async fn more_than_the_queue_holds_are_told_when_to_come_again() {
    let host = TestHost::start().await;
    let component = host.upload(crate::support::guest("hostile")).await;
    let spec = json!({
        "component": component,
        "limits": { "wall_time_ms": 2_000 },
        "concurrency": { "limit": 1, "queue": 0 },
    });
    host.deploy("narrow", &spec).await;
    let (first, second) = tokio::join!(host.call("narrow", "/sleep", ""), async {
        crate::support::until("the first one", async || {
            (host.layers("narrow").await["instances"]["running"] == 1).then_some(())
        })
        .await;
        host.call("narrow", "/sleep", "").await
    });
    first.problem(504, "wall_time_exceeded", None);
    second.problem(503, "overloaded", None);
    assert!(second.header("retry-after").parse::<u32>().unwrap() >= 1);
}
