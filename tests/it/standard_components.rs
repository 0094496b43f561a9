//! Components of `wasi:http/incoming-handler@0.2` that know nothing of Modelet.

use bytes::Bytes;
use futures::{StreamExt, stream};
use modelet_observe::Outcome;
use modelet_types::Code;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::ledger::records;
use crate::support::{DEADLINE, RawCaller, TestHost, guest, until};

async fn start(changes: Value) -> TestHost {
    let host = TestHost::start().await;
    let mut spec = json!({ "component": host.upload(guest("standard")).await });
    for (name, value) in changes.as_object().expect("changes are an object") {
        spec[name] = value.clone();
    }
    host.deploy("standard", &spec).await;
    host
}

#[tokio::test]
async fn is_found_out_at_deploy_and_takes_its_request_as_a_stream() {
    let host = start(json!({})).await;
    let revision = host.get("/api/v1/functions/standard/revisions/1").await.expect(200).json();
    assert_eq!(revision["details"]["kind"], "wasi_http", "{revision}");
    assert_eq!(revision["spec"]["request_body"], "stream", "{revision}");
    assert_eq!(host.call("standard", "/hello", "").await.expect(200).text(), "hello");
}

#[tokio::test]
async fn sees_method_path_query_and_headers() {
    let host = start(json!({})).await;
    let request = host.request(Method::PUT, "/f/default/standard/address?a=1%202").header("x-test", "yes");
    let answer = crate::support::Api::try_send(request).await.unwrap().expect(202);
    assert_eq!(answer.header("content-length"), "0");
    let seen = answer.header("x-seen");
    assert!(seen.starts_with("PUT ") && seen.ends_with("/address?a=1%202 Some(\"yes\")"), "{seen}");
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let host =
        start(json!({ "limits": { "request_body_bytes": 64 << 20, "response_body_bytes": 64 << 20 } })).await;
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::wrap_stream(stream::poll_fn(move |cx| receiver.poll_recv(cx)));
    let asking = host.request(Method::POST, "/f/default/standard/echo").body(body).send();
    let (answer, ()) = tokio::join!(asking, async { sender.send(Ok("first".into())).await.unwrap() });
    let mut answer = answer.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
    sender.send(Ok("second".into())).await.unwrap();
    let echoed = tokio::time::timeout(DEADLINE, answer.chunk()).await.expect("an echo in time");
    assert_eq!(echoed.unwrap().unwrap(), "second");
    drop(sender);
    assert_eq!(answer.chunk().await.unwrap(), None);

    let sent: Vec<u8> = (0..8 << 20).map(|index: u32| (index / 7) as u8).collect();
    let answer = host.call("standard", "/echo", sent.clone()).await.expect(200);
    assert!(answer.body == sent, "{} bytes came back", answer.body.len());
    assert_eq!(host.call("standard", "/length", sent).await.expect(200).text(), (8 << 20).to_string());
    assert_eq!(host.call("standard", "/lines", "").await.expect(200).text(), "0\n1\n2\n3\n4\n");
}

#[tokio::test]
async fn a_gathered_body_is_the_same() {
    let host = start(json!({ "request_body": "bytes" })).await;
    assert_eq!(host.call("standard", "/echo", "a body").await.expect(200).text(), "a body");
}

#[tokio::test]
async fn trailers_pass_through() {
    let host = start(json!({})).await;
    let request = "POST /f/default/standard/trailers HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\n\
                   connection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                   4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n";
    let answer = RawCaller::send(&host, request).await.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("0\r\nx-sum: 42\r\n"), "{answer}");
}

#[tokio::test]
async fn is_held_to_the_same_limits() {
    let mut host =
        start(json!({ "limits": { "cpu_time_ms": 100, "response_body_bytes": 1 << 20, "request_body_bytes": 1000 } }))
            .await;
    host.call("standard", "/loop", "").await.problem(504, "cpu_time_exceeded", None);
    host.call("standard", "/trap", "").await.problem(502, "handler_trap", None);
    host.log_line("standard", &["on purpose"]).await;
    // Announced, and found out on the way.
    host.call("standard", "/length", vec![0; 1001]).await.problem(413, "request_too_large", Some("body"));
    let pieces = stream::iter([600, 600]).map(|length| Ok::<_, std::io::Error>(vec![0_u8; length]));
    host.call("standard", "/length", Body::wrap_stream(pieces)).await.problem(
        413,
        "request_too_large",
        Some("body"),
    );
    // A body that breaks off cannot be taken for a whole one.
    let flood = host.request(Method::POST, "/f/default/standard/flood").send().await.unwrap();
    assert_eq!(flood.status(), 200);
    let invocation = flood.headers()["modelet-invocation-id"].to_str().unwrap().to_owned();
    assert!(flood.bytes().await.is_err());
    host.stop().await;
    let outcome = records(&host)[&invocation].outcome;
    assert_eq!(outcome, Outcome::Failed(Code::ResponseTooLarge));
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_handler() {
    let host = start(json!({ "limits": { "response_body_bytes": 1 << 30 } })).await;
    let mut answer = host.request(Method::POST, "/f/default/standard/flood").send().await.unwrap();
    answer.chunk().await.unwrap();
    assert_eq!(host.layers("standard").await["instances"]["running"], 1);
    drop(answer);
    until("the handler to end", async || {
        (host.layers("standard").await["instances"]["running"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn output_is_in_the_log_and_instances_can_be_reused() {
    let host = start(json!({ "reuse": { "max_invocations": 2 } })).await;
    host.call("standard", "/print", "").await.expect(200);
    host.log_line("standard", &["to standard output"]).await;
    assert_eq!(host.call("standard", "/count", "").await.expect(200).text(), "2");
    assert_eq!(host.call("standard", "/count", "").await.expect(200).text(), "1");
}
