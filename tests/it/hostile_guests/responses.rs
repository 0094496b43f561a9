//! What is written to the caller and to the log.

use serde_json::json;

use super::Arena;

const LIMIT: usize = 1 << 20;

#[tokio::test]
async fn a_giant_response_is_refused_whole() {
    let arena = Arena::with_limits(json!({ "response_body_bytes": LIMIT })).await;
    let fits = arena.attack(&format!("/big?n={LIMIT}")).await.expect(200);
    assert_eq!(fits.body.len(), LIMIT);
    let problem =
        arena.attack(&format!("/big?n={}", LIMIT + 1)).await.problem(502, "response_too_large", None);
    assert!(problem["detail"].as_str().unwrap().contains("(limits.response_body_bytes)"), "{problem}");
    arena.told(&["limits.response_body_bytes"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_giant_stream_is_broken_off_at_the_limit() {
    let arena = Arena::with_limits(json!({ "response_body_bytes": LIMIT })).await;
    let received = arena.attack_stream(&format!("/big-stream?n={}", 1 << 30)).await;
    assert!(received.len() <= LIMIT, "{} bytes", received.len());
    arena.told(&["limits.response_body_bytes"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_response_that_is_not_http_is_refused() {
    let arena = Arena::with_limits(json!({})).await;
    let split = arena.attack("/bad-header").await;
    split.problem(502, "invalid_response", None);
    assert!(split.headers.get("set-cookie").is_none());
    arena.attack("/bad-status").await.problem(502, "invalid_response", None);
    arena.told(&["x-split"]).await;
    arena.told(&["status 101"]).await;
    arena.ended().await;
}

#[tokio::test]
async fn a_flooded_log_keeps_its_limit_and_says_so() {
    const LOG_BYTES: usize = 4_096;
    let arena = Arena::with_limits(json!({ "log_bytes": LOG_BYTES })).await;
    for path in ["/log?n=20000", "/print?n=20000"] {
        let answer = arena.attack(path).await.expect(200);
        assert_eq!(answer.text(), "flooded");
        let invocation = answer.header("modelet-invocation-id");
        let of_this = |line: &serde_json::Value| line["invocation"] == invocation && line["source"] != "host";

        arena.host.log_line("hostile", &["log limit of 4096 bytes reached"]).await;
        let lines = arena.host.logs("hostile").await;
        let kept: usize = lines
            .iter()
            .filter(|line| of_this(line))
            .map(|line| line["message"].as_str().unwrap().len())
            .sum();
        assert!((1..=LOG_BYTES).contains(&kept), "{kept} bytes of {path} are in the log");
    }
    arena.ended().await;
}
