//! Tensors and models.

use serde_json::json;

use super::Arena;
use crate::support::blocking_handler;

#[tokio::test]
async fn tensors_and_handles_end_at_their_limits() {
    let arena = Arena::with_limits(json!({ "tensor_bytes": 8 << 20, "handles": 64 })).await;
    assert_eq!(arena.attack("/tensors?n=8").await.expect(200).text(), "held 8 MiB");
    let problem = arena.attack("/tensors?n=10000").await.problem(503, "overloaded", None);
    assert!(problem["detail"].as_str().unwrap().contains("(limits.tensor_bytes)"), "{problem}");
    let problem = arena.attack("/handles?n=100000").await.problem(503, "overloaded", None);
    assert!(problem["detail"].as_str().unwrap().contains("(limits.handles)"), "{problem}");
    arena.ended().await;
}

#[tokio::test]
async fn handles_that_no_host_function_gave_end_too() {
    // Makes 10,000 of them, then answers with 204.
    let waitable_sets = blocking_handler(
        r#"(import "$root" "[waitable-set-new]" (func $new (result i32)))
           (global $made (mut i32) (i32.const 0))
           (data (i32.const 68) "\cc")"#,
        "(loop $again
            (drop (call $new))
            (global.set $made (i32.add (global.get $made) (i32.const 1)))
            (br_if $again (i32.lt_u (global.get $made) (i32.const 10000))))
         (i32.const 64)",
    );
    let arena = Arena::with_component(waitable_sets, json!({ "handles": 64 })).await;
    arena.attack("/").await.problem(502, "handler_trap", None);
    arena.told(&["the handler trapped", "store handle limit exceeded"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn lengths_that_lie_are_found_out() {
    let arena = Arena::with_limits(json!({})).await;
    for path in ["/short-tensor", "/overflowing-shape"] {
        arena.attack(path).await.problem(422, "invalid_input", None);
    }
    arena.attack("/wild-pointer").await.problem(502, "handler_trap", None);
    arena.told(&["create_from_outside_of_memory", "out of bounds of memory"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_model_refuses_what_it_does_not_take() {
    let arena = Arena::with_limits(json!({})).await;
    let problem = arena.attack("/wrong-shape").await.problem(422, "invalid_input", None);
    assert!(problem["detail"].as_str().unwrap().contains("input"), "{problem}");
    let problem = arena.attack("/wrong-input").await.problem(422, "invalid_input", None);
    assert!(problem["detail"].as_str().unwrap().contains("no input `secret`"), "{problem}");
    arena.ended().await;
}

#[tokio::test]
async fn a_model_of_somebody_else_is_like_one_that_does_not_exist() {
    let arena = Arena::with_limits(json!({})).await;
    let model = arena.host.upload(crate::support::digits_model()).await;
    let component = arena.host.upload(crate::support::digits_handler()).await;
    let models = json!({ "secret": { "artifact": model }, "digits": { "artifact": model } });
    arena.host.deploy("owner", &json!({ "component": component, "models": models })).await;

    let problem = arena.attack("/foreign-model").await.problem(500, "handler_error", None);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`secret`") && detail.contains("`digits`"), "{problem}");
    arena.ended().await;
}
