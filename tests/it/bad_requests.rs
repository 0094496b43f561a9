//! Requests that cannot be answered: 4xx, with what is wrong and where.

use bytes::Bytes;
use futures::stream;
use reqwest::{Body, Method};
use serde_json::json;

use crate::support::{Api, TestHost, digits, noop_handler};

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let host = TestHost::start().await;
    host.deploy_component("here", noop_handler(0)).await;
    for path in [
        "/f/default/elsewhere/",
        "/f/somebody/here/",
        "/f/default/Not-A-Name/",
        "/nowhere",
        "/api/v1/nowhere",
    ] {
        host.get(path).await.problem(404, "not_found", None);
    }
    for path in ["", "/state", "/logs", "/revisions", "/revisions/1"] {
        host.get(&format!("/api/v1/functions/elsewhere{path}")).await.problem(404, "not_found", None);
    }
    host.get("/api/v1/functions/here/revisions/7").await.problem(404, "not_found", None);
    host.delete("/api/v1/functions/elsewhere").await.problem(404, "not_found", None);
    host.post("/api/v1/functions/elsewhere/rollback", &json!({})).await.problem(404, "not_found", None);
}

#[tokio::test]
async fn a_function_without_an_active_revision_says_so() {
    let host = TestHost::start().await;
    let component = host.upload(noop_handler(0)).await;
    let path = "/api/v1/functions/waiting/revisions?activate=false";
    host.post(path, &json!({ "component": component })).await.expect(201);
    host.get("/f/default/waiting/").await.problem(503, "not_active", None);
}

#[tokio::test]
async fn a_method_that_an_address_does_not_answer_is_refused() {
    let host = TestHost::start().await;
    let answer = host.post("/api/v1/functions", &json!({})).await;
    answer.problem(405, "method_not_allowed", None);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let host = TestHost::start().await;
    host.deploy_digits("digits", &json!({ "limits": { "request_body_bytes": 1000 } })).await;
    let announced = host.call("digits", "/", vec![b' '; 1001]).await;
    let pieces = stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 100]))));
    let chunked = host.call("digits", "/", Body::wrap_stream(pieces)).await;
    for answer in [announced, chunked] {
        let problem = answer.problem(413, "request_too_large", None);
        assert!(
            problem["detail"].as_str().unwrap().contains("1000 bytes (limits.request_body_bytes)"),
            "{problem}"
        );
    }
    let case = &digits()[0];
    let answer = host.call("digits", "/", case.request()).await;
    assert_eq!(case.mistake(&answer), None);
}

#[tokio::test]
async fn a_body_that_is_not_json_or_has_the_wrong_shape_names_the_place() {
    let host = TestHost::start().await;
    host.deploy_digits("digits", &json!({})).await;
    let call = async |body: &'static str| host.call("digits", "/", body).await;
    call("{\"pixels\": [1, 2,").await.problem(400, "invalid_input", None);
    call("{}").await.problem(422, "invalid_input", Some("pixels"));
    call("{\"pixels\": [1, 2, 3]}").await.problem(422, "invalid_input", Some("pixels"));
    call("{\"pixels\": [1, \"ink\"]}").await.problem(422, "invalid_input", Some("pixels[1]"));
    let mut dark = digits()[0].pixels.clone();
    dark[3] = 99;
    let answer = host.call("digits", "/", json!({ "images": [dark] }).to_string()).await;
    answer.problem(422, "invalid_input", Some("images[0][3]"));
}

#[tokio::test]
async fn the_control_api_names_what_is_wrong_with_a_request() {
    let host = TestHost::start().await;
    let revisions = "/api/v1/functions/f/revisions";
    let json_text = |body: &'static str| {
        host.request(Method::POST, revisions).header("content-type", "application/json").body(body)
    };
    let answer = Api::try_send(json_text("{\"component\": ")).await.unwrap();
    answer.problem(422, "invalid_manifest", Some("component"));
    let answer = host.revise("Not-A-Name", &json!({})).await;
    answer.problem(400, "invalid_input", Some("function"));
    let answer = host.get("/api/v1/artifacts/sha256:12").await;
    answer.problem(400, "invalid_input", Some("digest"));

    host.deploy_component("f", noop_handler(0)).await;
    let traffic = "/api/v1/functions/f/traffic";
    let answer = host.put(traffic, &json!([{ "revision": 7, "weight": 1 }])).await;
    answer.problem(404, "not_found", None);
    let answer = host.put(traffic, &json!([{ "revision": 1, "weight": 0 }])).await;
    let problem = answer.problem(400, "invalid_input", None);
    assert!(problem["detail"].as_str().unwrap().contains("weight of revision 1 is 0"), "{problem}");
    let answer = host.put(traffic, &json!([{ "revision": 1, "weight": "all" }])).await;
    answer.problem(400, "invalid_input", Some("[0].weight"));
    host.get("/api/v1/functions/f/logs?tail=all").await.problem(400, "invalid_input", Some("tail"));
    host.get("/api/v1/functions/f/logs?tial=1").await.problem(400, "invalid_input", Some("tial"));
    host.get("/api/v1/functions/%ff").await.problem(400, "invalid_input", None);
}

#[tokio::test]
async fn an_upload_goes_on_only_where_it_stopped() {
    let host = TestHost::start().await;
    let bytes = noop_handler(1);
    let path = format!("/api/v1/artifacts/{}", modelet_types::Digest::of(&bytes));
    let patch = async |from: usize, to: usize| {
        let request = host
            .request(Method::PATCH, &path)
            .header("upload-offset", from)
            .header("upload-length", bytes.len())
            .body(bytes[from..to].to_vec());
        Api::try_send(request).await.unwrap()
    };
    assert_eq!(patch(0, 100).await.expect(204).header("upload-offset"), "100");
    let conflict = patch(50, 120).await;
    conflict.problem(409, "conflict", None);
    assert_eq!(conflict.header("upload-offset"), "100");
    assert_eq!(host.send(Method::HEAD, &path, "").await.expect(404).header("upload-offset"), "100");
    let whole = patch(100, bytes.len()).await.expect(201).json();
    assert_eq!(whole["size"], bytes.len());
    assert_eq!(host.get(&path).await.expect(200).json(), whole);
}

#[tokio::test]
async fn a_foreign_host_header_is_refused() {
    let host = TestHost::start().await;
    // What a page in somebody's browser sends after its own name was made to mean this machine.
    let rebound = host.request(Method::GET, "/api/v1/functions").header("host", "attacker.example");
    Api::try_send(rebound).await.unwrap().problem(421, "host_not_allowed", None);
}
