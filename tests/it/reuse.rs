//! Instances that answer more than one invocation: what docs/manifest.md says of `[reuse]`,
//! sentence by sentence.

use serde_json::{Value, json};

use crate::ledger::records;
use crate::support::{TestHost, guest, until};

/// Deploys the handler that remembers, as `function`, with `reuse`.
async fn deploy(host: &TestHost, function: &str, reuse: &Value) {
    let component = host.upload(guest("reused")).await;
    let limits = json!({ "cpu_time_ms": 100, "handles": 16 });
    host.deploy(function, &json!({ "component": component, "reuse": reuse, "limits": limits })).await;
}

async fn start(reuse: Value) -> TestHost {
    let host = TestHost::start().await;
    deploy(&host, "reused", &reuse).await;
    host
}

/// The answer of a call that comes after the others.
async fn ask(host: &TestHost, path: &str) -> String {
    host.call("reused", path, "").await.expect(200).text().to_owned()
}

#[tokio::test]
async fn an_instance_is_fresh_unless_the_manifest_says_otherwise() {
    let host = start(json!({})).await;
    for _ in 0..3 {
        assert_eq!(ask(&host, "/count").await, "1");
    }
    assert_eq!(host.layers("reused").await["instances"]["idle"], 0);
}

#[tokio::test]
async fn an_instance_answers_as_often_as_the_manifest_says() {
    let host = start(json!({ "max_invocations": 3 })).await;
    let mut counts = Vec::new();
    for _ in 0..7 {
        counts.push(ask(&host, "/count").await);
    }
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1"]);
    assert_eq!(host.layers("reused").await["instances"]["idle"], 1);
}

#[tokio::test]
async fn an_idle_instance_ends_at_its_timeout() {
    let host = start(json!({ "max_invocations": 100, "idle_timeout_ms": 100 })).await;
    assert_eq!(ask(&host, "/count").await, "1");
    until("the instance to end", async || {
        (host.layers("reused").await["instances"]["idle"] == 0).then_some(())
    })
    .await;
    assert_eq!(ask(&host, "/count").await, "1");
}

#[tokio::test]
async fn invocations_at_the_same_time_have_instances_of_their_own() {
    let host = start(json!({ "max_invocations": 100 })).await;
    let calls = (0..4).map(|_| host.call("reused", "/burn", ""));
    let answers = futures::future::join_all(calls).await;
    let mut counts: Vec<u32> =
        answers.into_iter().map(|answer| answer.expect(200).text().parse().unwrap()).collect();
    counts.sort_unstable();
    let idle = host.layers("reused").await["instances"]["idle"].as_u64().unwrap();
    // Every instance has begun to count at 1, and all of them wait now.
    assert_eq!(counts.iter().filter(|count| **count == 1).count() as u64, idle, "{counts:?}");
}

#[tokio::test]
async fn what_fails_ends_its_instance_and_a_problem_of_the_handlers_own_does_not() {
    let host = start(json!({ "max_invocations": 100 })).await;
    assert_eq!(ask(&host, "/count").await, "1");
    host.call("reused", "/problem", "").await.problem(422, "on_purpose", None);
    assert_eq!(ask(&host, "/count").await, "3");
    host.call("reused", "/trap", "").await.problem(502, "handler_trap", None);
    assert_eq!(ask(&host, "/count").await, "1");
}

#[tokio::test]
async fn an_instance_whose_handler_goes_on_after_its_answer_ends() {
    let host = start(json!({ "max_invocations": 100 })).await;
    assert_eq!(ask(&host, "/linger").await, "1");
    assert_eq!(ask(&host, "/count").await, "1");
    assert_eq!(ask(&host, "/count").await, "2");
}

#[tokio::test]
async fn an_instance_that_has_streamed_its_answer_answers_again() {
    let host = start(json!({ "max_invocations": 100 })).await;
    for count in ["1", "2", "3"] {
        assert_eq!(ask(&host, "/stream").await, count);
    }
}

#[tokio::test]
async fn limits_count_for_one_invocation() {
    let mut host = start(json!({ "max_invocations": 100 })).await;
    // Each uses over half of the CPU time, and leaves as many tensors behind as it may hold.
    for count in ["1", "2", "3"] {
        assert_eq!(ask(&host, "/burn").await, count);
    }
    for _ in 0..10 {
        assert_eq!(ask(&host, "/hoard").await, "16");
    }
    host.stop().await;
    let records = records(&host);
    assert_eq!(records.len(), 13);
    for record in records.values() {
        assert!(record.cpu_time_us < 100_000 && record.peak_memory_bytes > 0, "{record:?}");
    }
}

#[tokio::test]
async fn an_instance_that_leaves_handles_behind_ends_before_they_are_too_many() {
    let host = start(json!({ "max_invocations": 100 })).await;
    assert_eq!(ask(&host, "/hoard").await, "16");
    assert_eq!(ask(&host, "/count").await, "2");
    assert_eq!(ask(&host, "/hoard").await, "16");
    assert_eq!(ask(&host, "/count").await, "1");
}

#[tokio::test]
async fn tensors_end_with_their_invocation() {
    let host = start(json!({ "max_invocations": 100 })).await;
    assert_eq!(ask(&host, "/stash").await, "1");
    // The handle of the earlier invocation is dropped late, which does no harm.
    assert_eq!(ask(&host, "/unstash").await, "[2] [7, 8]");
    assert_eq!(ask(&host, "/stash").await, "3");
    // Used, it ends the instance, and never means a tensor of this invocation.
    host.call("reused", "/stale", "").await.problem(502, "handler_trap", None);
    host.log_line("reused", &["the handle is one of an earlier invocation"]).await;
    assert_eq!(ask(&host, "/count").await, "1");
}

#[tokio::test]
async fn what_is_printed_is_in_the_log_of_its_own_invocation() {
    let host = start(json!({ "max_invocations": 100 })).await;
    let mut printed = Vec::new();
    for number in 1..=3 {
        let answer = host.call("reused", "/print", "").await.expect(200);
        printed.push((format!("line {number}"), answer.header("modelet-invocation-id").to_owned()));
    }
    for (text, invocation) in printed {
        let line = host.log_line("reused", &[&text]).await;
        assert_eq!(line["message"], text);
        assert_eq!(line["invocation"], invocation);
    }
}

#[tokio::test]
async fn state_never_crosses_a_revision() {
    let host = start(json!({ "max_invocations": 100 })).await;
    assert_eq!(ask(&host, "/count").await, "1");
    assert_eq!(ask(&host, "/count").await, "2");
    // Another function of the same component, and another revision of the same function.
    deploy(&host, "other", &json!({ "max_invocations": 100 })).await;
    assert_eq!(host.call("other", "/count", "").await.expect(200).text(), "1");
    deploy(&host, "reused", &json!({ "max_invocations": 100 })).await;
    assert_eq!(ask(&host, "/count").await, "1");
}

#[tokio::test]
async fn idle_instances_keep_no_others_from_running() {
    let host = TestHost::start_with(&json!({ "max_instances": 16 })).await;
    let functions: Vec<String> = (0..12).map(|number| format!("reused-{number}")).collect();
    for function in &functions {
        deploy(&host, function, &json!({ "max_invocations": 100, "idle_timeout_ms": 3_600_000 })).await;
    }
    for _ in 0..2 {
        for function in &functions {
            host.call(function, "/count", "").await.expect(200);
        }
    }
    let calls = functions.iter().map(|function| host.call(function, "/burn", ""));
    for answer in futures::future::join_all(calls).await {
        answer.expect(200);
    }
}
