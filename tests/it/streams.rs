//! Bodies that stream, and handlers that cannot be asynchronous.

use bytes::Bytes;
use futures::{StreamExt, stream};
use modelet_observe::Outcome;
use modelet_types::Code;
use reqwest::Body;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, RawCaller, TestHost, digits, digits_model, guest, until};

async fn deploy_streaming(host: &TestHost) {
    let component = host.upload(guest("streaming")).await;
    let limits = json!({ "request_body_bytes": 64 << 20, "response_body_bytes": 64 << 20 });
    host.deploy("streaming", &json!({ "component": component, "request_body": "stream", "limits": limits }))
        .await;
}

#[tokio::test]
async fn an_echo_answers_before_the_request_has_ended() {
    let host = TestHost::start().await;
    deploy_streaming(&host).await;
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::wrap_stream(stream::poll_fn(move |cx| receiver.poll_recv(cx)));
    let asking = host.request(reqwest::Method::POST, "/f/default/streaming/echo").body(body).send();
    let (answer, ()) = tokio::join!(asking, async { sender.send(Ok("first".into())).await.unwrap() });
    let mut answer = answer.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
    for word in ["second", "third"] {
        sender.send(Ok(word.into())).await.unwrap();
        let echoed = tokio::time::timeout(DEADLINE, answer.chunk()).await.expect("an echo in time");
        assert_eq!(echoed.unwrap().unwrap(), word);
    }
    drop(sender);
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_large_body_passes_through_unchanged() {
    let host = TestHost::start().await;
    deploy_streaming(&host).await;
    let sent: Vec<u8> = (0..20 << 20).map(|index: u32| (index / 7) as u8).collect();
    let answer = host.call("streaming", "/echo", sent.clone()).await.expect(200);
    assert!(answer.body == sent, "{} bytes came back", answer.body.len());
    let lines = host.call("streaming", "/count?lines=1000", "").await.expect(200);
    assert_eq!(lines.text().lines().count(), 1000);
    assert!(lines.text().ends_with("999\n"));
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_stream() {
    let host = TestHost::start().await;
    deploy_streaming(&host).await;
    let path = "/f/default/streaming/count?lines=4000000000";
    let mut answer = host.request(reqwest::Method::POST, path).send().await.unwrap();
    answer.chunk().await.unwrap();
    let running = host.layers("streaming").await["instances"]["running"].clone();
    assert_eq!(running, 1);
    drop(answer);
    until("the end of the instance", async || {
        (host.layers("streaming").await["instances"]["running"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_caller_who_does_not_read_holds_nothing_longer_than_the_wall_time() {
    let mut host = TestHost::start_with(&json!({ "shutdown_grace_ms": 200 })).await;
    let component = host.upload(guest("hostile")).await;
    let limits = json!({ "wall_time_ms": 500, "response_body_bytes": 1 << 30 });
    let concurrency = json!({ "limit": 1 });
    let spec = json!({ "component": component, "limits": limits, "concurrency": concurrency });
    host.deploy("hostile", &spec).await;
    let request = "POST /f/default/hostile/big-stream?n=1000000000 HTTP/1.1\r\nhost: localhost\r\n\
                   content-length: 0\r\n\r\n";
    let mut silent = RawCaller::send(&host, request).await;
    silent.read_until("HTTP/1.1 200").await;
    until("the end of the instance", async || {
        (host.layers("hostile").await["instances"]["running"] == 0).then_some(())
    })
    .await;
    host.call("hostile", "/log?n=1", "").await.expect(200);
    host.log_line("hostile", &["limits.wall_time_ms"]).await;
    host.stop().await;

    let mut outcomes: Vec<_> = crate::ledger::records(&host).into_values().map(|r| r.outcome).collect();
    outcomes.sort_by_key(|outcome| outcome.as_str());
    assert_eq!(outcomes, [Outcome::Ok, Outcome::Failed(Code::WallTimeExceeded)]);
    drop(silent);
}

#[tokio::test]
async fn a_streamed_request_is_held_to_its_limits_too() {
    let host = TestHost::start_with(&json!({ "body_idle_timeout_ms": 300 })).await;
    let component = host.upload(guest("streaming")).await;
    let limits = json!({ "request_body_bytes": 1000 });
    host.deploy("streaming", &json!({ "component": component, "request_body": "stream", "limits": limits }))
        .await;
    let pieces = |count: usize| {
        stream::iter((0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 100]))))
    };
    let ask = async |body: Body| host.call("streaming", "/last", body).await;
    assert_eq!(ask(Body::wrap_stream(pieces(10))).await.expect(200).text(), "1000 bytes");

    for too_large in [Body::from(vec![b' '; 1001]), Body::wrap_stream(pieces(11))] {
        let problem = ask(too_large).await.problem(413, "request_too_large", Some("body"));
        assert!(problem["detail"].as_str().unwrap().contains("limits.request_body_bytes"), "{problem}");
    }
    let pausing = Body::wrap_stream(pieces(1).chain(stream::pending()));
    ask(pausing).await.problem(408, "request_timeout", Some("body"));
}

#[tokio::test]
async fn a_request_that_breaks_off_is_not_taken_for_a_whole_one() {
    let host = TestHost::start().await;
    deploy_streaming(&host).await;
    let broken = CancellationToken::new();
    let breaks = broken.clone();
    let body = stream::once(async { Ok(Bytes::from_static(b"half")) }).chain(stream::once(async move {
        breaks.cancelled().await;
        Err(std::io::Error::other("the caller's disk failed"))
    }));
    let asking = host.call_fallibly("streaming", "/last", Body::wrap_stream(body));
    let (answer, ()) = tokio::join!(asking, async {
        host.log_line("streaming", &["waiting for the body"]).await;
        broken.cancel();
    });
    assert!(answer.is_err(), "{answer:?}");
    host.log_line("streaming", &["the request's body broke off"]).await;
}

#[tokio::test]
async fn a_handler_without_asynchronous_functions_runs_models_too() {
    let host = TestHost::start().await;
    let component = host.upload(guest("blocking")).await;
    let model = host.upload(digits_model()).await;
    host.deploy(
        "blocking",
        &json!({ "component": component, "models": { "digits": { "artifact": model } } }),
    )
    .await;
    for case in &digits()[..10] {
        let answer = host.call("blocking", "/", case.pixels.clone()).await.expect(200);
        assert_eq!(answer.text(), case.digit.to_string());
    }
    host.call("blocking", "/", "short").await.problem(422, "invalid_input", Some("body"));
}
