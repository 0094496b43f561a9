//! Components of `wasi:http/incoming-handler@0.2` that were made with other tools than ours, each the way
//! its own documents say: the Spin SDK, componentize-js and componentize-py.

use bytes::Bytes;
use futures::stream;
use modelet_observe::Outcome;
use reqwest::{Body, Method};
use serde_json::json;
use tokio::sync::mpsc;

use crate::ledger::records;
use crate::support::{Api, DEADLINE, TestHost, foreign_guest, guest};

/// `max_invocations` is how many requests an instance of the component can answer, by its tool's own making.
async fn answers_as_everywhere(component: Vec<u8>, max_invocations: u32) {
    let mut host =
        TestHost::start_with(&json!({ "outbound": { "allowed_networks": ["127.0.0.0/8"] } })).await;
    let spec = json!({
        "component": host.upload(component).await,
        "outbound": [format!("GET {}", host.base())],
        "reuse": { "max_invocations": max_invocations },
        // Starting one of these takes its time on a machine that many tests share.
        "limits": { "cpu_time_ms": 5_000, "wall_time_ms": 60_000 },
    });
    host.deploy("foreign", &spec).await;
    let revision = host.get("/api/v1/functions/foreign/revisions/1").await.expect(200).json();
    assert_eq!(revision["details"]["kind"], "wasi_http", "{revision}");

    let request = host.request(Method::PUT, "/f/default/foreign/address?a=1%202").header("x-test", "yes");
    let answer = Api::try_send(request).await.unwrap().expect(202);
    assert_eq!(answer.header("x-seen"), "PUT address?a=1%202 yes");

    streams_both_ways(&host).await;

    // Outbound: what a rule allows, and what none does.
    let address = format!("{}/healthz", host.base());
    let found = host.call("foreign", "/fetch", address).await.expect(200);
    assert_eq!(found.text(), host.get("/healthz").await.expect(200).text());
    host.call("foreign", "/fetch", "http://127.0.0.1:9/healthz").await.expect(502);

    host.call("foreign", "/print", "").await.expect(200);
    host.log_line("foreign", &["to standard output"]).await;

    let stopped = host.call("foreign", "/loop", "").await;
    stopped.problem(504, "cpu_time_exceeded", None);
    let invocation = stopped.header("modelet-invocation-id").to_owned();
    host.call("foreign", "/address", "").await.expect(202);
    host.stop().await;
    let outcome = records(&host)[&invocation].outcome;
    assert_eq!(outcome, Outcome::Failed(modelet_types::Code::CpuTimeExceeded));
}

/// The answer's first piece comes while the request's second is still to be sent.
async fn streams_both_ways(host: &Api) {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::wrap_stream(stream::poll_fn(move |cx| receiver.poll_recv(cx)));
    let asking = host.request(Method::POST, "/f/default/foreign/echo").body(body).send();
    let (answer, ()) = tokio::join!(asking, async { sender.send(Ok("first".into())).await.unwrap() });
    let mut answer = answer.unwrap();
    let first = tokio::time::timeout(DEADLINE, answer.chunk()).await.expect("an echo in time");
    assert_eq!(first.unwrap().unwrap(), "first");
    sender.send(Ok("second".into())).await.unwrap();
    let second = tokio::time::timeout(DEADLINE, answer.chunk()).await.expect("an echo in time");
    assert_eq!(second.unwrap().unwrap(), "second");
    drop(sender);
    assert_eq!(answer.chunk().await.unwrap(), None);

    let sent: Vec<u8> = (0..1 << 20).map(|index: u32| (index / 7) as u8).collect();
    let answer = host.call("foreign", "/echo", sent.clone()).await.expect(200);
    assert!(answer.body == sent, "{} bytes came back", answer.body.len());
}

#[tokio::test]
async fn a_component_of_the_spin_sdk_answers() {
    answers_as_everywhere(guest("spinsdk"), 10_000).await;
}

#[tokio::test]
async fn a_component_of_componentize_js_answers() {
    // Its runtime has one fetch event, which can be answered once.
    answers_as_everywhere(foreign_guest("fetch_js"), 1).await;
}

#[tokio::test]
async fn a_component_of_componentize_py_answers() {
    answers_as_everywhere(foreign_guest("http_python"), 10_000).await;
}
