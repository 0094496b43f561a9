//! Tensors and models.

use serde_json::json;

use super::Arena;

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
    let wrong_name = arena.attack("/wrong-input").await;
    assert!(wrong_name.status >= 400 && wrong_name.text().contains("secret"), "{wrong_name:?}");
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
