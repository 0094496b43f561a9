//! What handlers say, read afterwards and while it is said.

use serde_json::{Value, json};

use crate::support::{DEADLINE, TestHost, guest};

#[tokio::test]
async fn lines_say_who_wrote_them_and_for_which_invocation() {
    let host = TestHost::start().await;
    host.deploy_component("talker", guest("streaming")).await;
    let answer = host.call("talker", "/log", "tea is ready").await.expect(200);
    for (source, level, message) in [
        ("handler", "warn", "streaming: tea is ready"),
        ("stdout", "info", "to standard output: tea is ready"),
        ("stderr", "warn", "to standard error: tea is ready"),
    ] {
        let line = host.log_line("talker", &[message]).await;
        assert_eq!((&line["source"], &line["level"]), (&json!(source), &json!(level)), "{line}");
        assert_eq!(line["message"], message);
        assert_eq!(line["invocation"], answer.header("modelet-invocation-id"));
        assert_eq!(line["revision"], 1);
    }
    host.call("talker", "/log", "last").await.expect(200);
    host.log_line("talker", &["to standard error: last"]).await;
    let tail = host.get("/api/v1/functions/talker/logs?tail=1").await.expect(200);
    assert_eq!(tail.text().lines().count(), 1);
}

#[tokio::test]
async fn following_gives_the_tail_and_then_what_is_said() {
    let host = TestHost::start().await;
    host.deploy_component("talker", guest("streaming")).await;
    host.call("talker", "/log", "before").await.expect(200);
    host.log_line("talker", &["to standard error: before"]).await;

    let path = "/api/v1/functions/talker/logs?tail=1&follow=true";
    let mut following = host.request(reqwest::Method::GET, path).send().await.unwrap();
    let mut received = Vec::new();
    let mut next_line = async || -> Value {
        loop {
            if let Some(end) = received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = received.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let chunk = tokio::time::timeout(DEADLINE, following.chunk()).await.expect("a line in time");
            received.extend_from_slice(&chunk.unwrap().expect("the log goes on"));
        }
    };
    let tail = next_line().await;
    assert_eq!(tail["message"], "to standard error: before");
    host.call("talker", "/log", "after").await.expect(200);
    let mut seq = tail["seq"].as_u64().unwrap();
    for _ in 0..3 {
        let line = next_line().await;
        assert!(line["message"].as_str().unwrap().ends_with("after"), "{line}");
        seq += 1;
        assert_eq!(line["seq"], seq, "no line is left out");
    }
}
