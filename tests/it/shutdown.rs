//! Ending a host without breaking what runs.

use bytes::Bytes;
use futures::stream;
use reqwest::Body;
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{TestHost, guest, until};

#[tokio::test]
async fn a_running_request_is_finished_and_a_new_one_is_refused() {
    let mut host = TestHost::start().await;
    let component = host.upload(guest("streaming")).await;
    host.deploy("streaming", &json!({ "component": component, "request_body": "stream" })).await;
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = Body::wrap_stream(stream::poll_fn(move |cx| receiver.poll_recv(cx)));
    let api = (*host).clone();
    let asking = tokio::spawn(async move { api.call("streaming", "/last", body).await });
    sender.send(Ok("12345".into())).await.unwrap();
    host.log_line("streaming", &["waiting for the body"]).await;

    let api = (*host).clone();
    let stopping = host.stop();
    let finishing = async {
        until("new requests to be refused", async || {
            match api.get_fallibly("/f/default/streaming/config").await {
                Ok(answer) if answer.status == 200 => None,
                Ok(answer) => {
                    answer.problem(503, "shutting_down", None);
                    Some(())
                }
                Err(error) => error.is_connect().then_some(()),
            }
        })
        .await;
        assert!(!asking.is_finished(), "the running request was cut off");
        sender.send(Ok("6789".into())).await.unwrap();
        drop(sender);
        asking.await.unwrap()
    };
    let ((), answer) = tokio::join!(stopping, finishing);
    assert_eq!(answer.expect(200).text(), "9 bytes");
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut_off() {
    let mut host = TestHost::start_with(&json!({ "shutdown_grace_ms": 200 })).await;
    host.deploy_component("hostile", guest("hostile")).await;
    let api = (*host).clone();
    let sleeping = tokio::spawn(async move { api.call_fallibly("hostile", "/sleep", "").await });
    until("the sleeper", async || (host.layers("hostile").await["instances"]["running"] == 1).then_some(()))
        .await;
    tokio::time::timeout(crate::support::DEADLINE, host.stop()).await.expect("the host ends");
    match sleeping.await.unwrap() {
        Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
}
