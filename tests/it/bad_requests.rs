//! Requests that cannot be answered: 4xx, with what is wrong and where.

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, stream};
use reqwest::{Body, Method, RequestBuilder};
use serde_json::json;

use crate::support::{Api, DEADLINE, TestHost, digits, noop_handler, until};

/// A request with a body of JSON that begins with `start` and never ends.
fn stalled(host: &Api, method: Method, path: &str, start: &'static str) -> RequestBuilder {
    let start = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(start.as_bytes()))]);
    let body = Body::wrap_stream(start.chain(stream::pending()));
    host.request(method, path).header("content-type", "application/json").body(body)
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let host = TestHost::start().await;
    host.deploy_component("here", noop_handler(0)).await;
    for path in ["/nowhere", "/api/v1/nowhere"] {
        host.get(path).await.problem(404, "not_found", None);
    }
    let function = Some("function");
    for path in ["/f/default/elsewhere/", "/f/somebody/here/", "/f/default/Not-A-Name/"] {
        host.get(path).await.problem(404, "not_found", function);
    }
    for path in ["", "/state", "/logs", "/revisions", "/revisions/1"] {
        host.get(&format!("/api/v1/functions/elsewhere{path}")).await.problem(404, "not_found", function);
    }
    host.get("/api/v1/functions/here/revisions/7").await.problem(404, "not_found", Some("revision"));
    host.delete("/api/v1/functions/elsewhere").await.problem(404, "not_found", function);
    host.post("/api/v1/functions/elsewhere/rollback", &json!({})).await.problem(404, "not_found", function);
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
        let problem = answer.problem(413, "request_too_large", Some("body"));
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
    answer.problem(404, "not_found", Some("revision"));
    let answer = host.put(traffic, &json!([{ "revision": 1, "weight": 0 }])).await;
    let problem = answer.problem(400, "invalid_input", Some("body"));
    assert!(problem["detail"].as_str().unwrap().contains("weight of revision 1 is 0"), "{problem}");
    let answer = host.put(traffic, &json!([{ "revision": 1, "weight": "all" }])).await;
    answer.problem(400, "invalid_input", Some("[0].weight"));
    let answer = host.put(traffic, &json!([" ".repeat(70_000)])).await;
    answer.problem(413, "request_too_large", Some("body"));
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
    conflict.problem(409, "conflict", Some("upload-offset"));
    assert_eq!(conflict.header("upload-offset"), "100");
    assert_eq!(host.send(Method::HEAD, &path, "").await.expect(404).header("upload-offset"), "100");
    let whole = patch(100, bytes.len()).await.expect(201).json();
    assert_eq!(whole["size"], bytes.len());
    assert_eq!(host.get(&path).await.expect(200).json(), whole);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_timeout() {
    let host = TestHost::start_with(&json!({ "body_idle_timeout_ms": 100 })).await;
    for (method, path, start) in [
        (Method::POST, "/api/v1/functions/f/revisions", "{\"component\""),
        (Method::PUT, "/api/v1/functions/f/traffic", ""),
    ] {
        let answer = Api::try_send(stalled(&host, method, path, start)).await.unwrap();
        answer.problem(408, "request_timeout", Some("body"));
    }
    let path = format!("/api/v1/artifacts/{}", modelet_types::Digest::of(b"0123456789"));
    let upload =
        stalled(&host, Method::PATCH, &path, "0123").header("upload-offset", 0).header("upload-length", 10);
    let answer = Api::try_send(upload).await.unwrap();
    answer.problem(408, "request_timeout", None);
    assert_eq!(answer.header("upload-offset"), "4");
}

#[tokio::test]
async fn a_deploy_beside_many_others_is_told_to_come_back() {
    /// Of one tenant.
    const MAX_DEPLOYS: usize = 4;
    let host = TestHost::start_with(&json!({ "body_idle_timeout_ms": 5_000 })).await;
    let path = "/api/v1/functions/f/revisions";
    // One more than may be: the only one that is answered while the others wait for their bodies.
    let mut deploys: FuturesUnordered<_> =
        (0..=MAX_DEPLOYS).map(|_| Api::try_send(stalled(&host, Method::POST, path, "{"))).collect();
    let first = tokio::time::timeout(DEADLINE, deploys.next()).await.expect("one is answered");
    let answer = first.expect("there are deploys").expect("the host answers");
    answer.problem(503, "overloaded", None);
    assert_eq!(answer.header("retry-after"), "1");
    drop(deploys);
    until("the others' places", async || (host.revise("f", &json!({})).await.status == 422).then_some(()))
        .await;
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_the_api() {
    let host = TestHost::start().await;
    host.deploy_component("f", noop_handler(0)).await;
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let request = host.request(method, path).body("[]");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Api::try_send(request).await.unwrap()
    };
    // What a browser lets any page send without asking the host first.
    let simple = ("content-type", "text/plain");
    let foreign = ("origin", "https://attacker.example");
    let rollback = "/api/v1/functions/f/rollback";
    for headers in [&[simple, foreign][..], &[("sec-fetch-site", "cross-site")], &[("origin", "null")]] {
        ask(Method::POST, rollback, headers).await.problem(403, "origin_not_allowed", None);
        ask(Method::POST, "/f/default/f/", headers).await.expect(204);
    }
    let own = ("origin", host.base());
    ask(Method::GET, "/api/v1/functions", &[own, ("sec-fetch-site", "same-origin")]).await.expect(200);
    for path in ["/api/v1/functions/f/traffic", "/api/v1/functions/f/revisions"] {
        let method = if path.ends_with("traffic") { Method::PUT } else { Method::POST };
        let answer = ask(method, path, &[simple]).await;
        answer.problem(415, "unsupported_media_type", Some("content-type"));
    }
}

#[tokio::test]
async fn a_page_of_a_function_is_in_a_sandbox() {
    let host = TestHost::start().await;
    host.deploy_component("f", noop_handler(0)).await;
    assert_eq!(host.call("f", "/", "").await.expect(204).header("content-security-policy"), "sandbox");
}

#[tokio::test]
async fn a_manifest_without_limits_fits_under_any_ceiling() {
    let ceiling = json!({ "memory_bytes": 16 << 20 });
    let host = TestHost::start_with(&json!({ "limits": ceiling })).await;
    let about = host.get("/api/v1/host").await.expect(200).json();
    assert_eq!(about["limits"]["memory_bytes"], 16 << 20);
    assert_eq!(about["limits"]["cpu_time_ms"], modelet_types::Limits::HIGHEST.cpu_time_ms);
    let component = host.upload(noop_handler(0)).await;
    let limits = json!({ "cpu_time_ms": 60_000 });
    let answer = host.revise("f", &json!({ "component": component, "limits": limits })).await;
    let stored = &answer.expect(201).json()["spec"]["limits"];
    assert_eq!((&stored["memory_bytes"], &stored["cpu_time_ms"]), (&json!(16 << 20), &json!(60_000)));
    assert_eq!(stored["handles"], modelet_types::Limits::default().handles);
    host.call("f", "/", "").await.expect(204);
    let limits = json!({ "memory_bytes": 17 << 20 });
    let answer = host.revise("f", &json!({ "component": component, "limits": limits })).await;
    answer.problem(422, "invalid_manifest", Some("limits.memory_bytes"));
}

#[tokio::test]
async fn a_foreign_host_header_is_refused() {
    let host = TestHost::start().await;
    // What a page in somebody's browser sends after its own name was made to mean this machine.
    let rebound = host.request(Method::GET, "/api/v1/functions").header("host", "attacker.example");
    Api::try_send(rebound).await.unwrap().problem(421, "host_not_allowed", None);
}
