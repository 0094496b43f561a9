//! A trap in each phase of an invocation.

use serde_json::json;

use super::Arena;
use crate::support::blocking_handler;

#[tokio::test]
async fn a_trap_while_instantiating_is_the_handlers_fault() {
    let component =
        blocking_handler("(func $refuse_to_start unreachable) (start $refuse_to_start)", "unreachable");
    let arena = Arena::with_component(component, json!({})).await;
    arena.attack("/").await.problem(502, "handler_trap", None);
    arena.told(&["unreachable", "refuse_to_start"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_trap_before_or_after_the_model_is_told_to_the_author_alone() {
    let arena = Arena::with_limits(json!({})).await;
    for (path, phase) in [("/trap-before", "trap in preprocess"), ("/trap-after", "trap in postprocess")] {
        let problem = arena.attack(path).await.problem(502, "handler_trap", None);
        assert!(!problem.to_string().contains(phase), "the message is not for the caller: {problem}");

        let said = arena.host.log_line("hostile", &["panic", phase]).await;
        assert_eq!((&said["source"], &said["level"]), (&json!("handler"), &json!("critical")), "{said}");
        assert_eq!(said["invocation"], problem["invocation"]);
        assert_eq!(said["revision"], problem["revision"]);
    }
    // The model's ten probabilities were there when the second one trapped.
    arena.host.log_line("hostile", &["after 10 probabilities"]).await;
    arena.told(&["the handler trapped", "preprocess"]).await;
    arena.told(&["the handler trapped", "postprocess"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_trap_in_the_middle_of_a_stream_breaks_it_off() {
    let arena = Arena::with_limits(json!({})).await;
    let received = arena.attack_stream("/trap-mid-stream").await;
    assert!(b"the first half".starts_with(&received), "{received:?}");
    arena.host.log_line("hostile", &["trap in the middle of a stream"]).await;
    arena.told(&["the handler trapped"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_loop_in_the_middle_of_a_stream_ends_at_its_cpu_time() {
    let arena = Arena::with_limits(json!({ "cpu_time_ms": 300 })).await;
    let received = arena.attack_stream("/loop-mid-stream").await;
    assert!(b"the first half".starts_with(&received), "{received:?}");
    arena.told(&["limits.cpu_time_ms"]).await;
    arena.ended().await;
}
