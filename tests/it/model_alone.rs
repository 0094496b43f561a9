//! Functions without a handler: a model that takes and gives tensors, in the Open Inference Protocol.

use modelet_types::Digest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Api, Digit, TestHost, digits, digits_handler, digits_model, repository, run_client, until,
};

/// Deploys the model of digits alone.
async fn deploy(host: &Api, backend: &str) -> u64 {
    let model = host.upload(digits_model()).await;
    host.deploy("digits", &json!({ "models": { "model": { "artifact": model, "backend": backend } } })).await
}

/// A request for what the images show, with one row for each.
fn request(images: &[Digit]) -> Value {
    let rows: Vec<Vec<f32>> =
        images.iter().map(|image| image.pixels.iter().map(|&ink| f32::from(ink) / 16.0).collect()).collect();
    let shape = [rows.len(), 64];
    json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": shape, "data": rows }] })
}

#[track_caller]
fn assert_shows(answer: &Answer, images: &[Digit]) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let output = &answer["outputs"][0];
    assert_eq!(output["name"], "probabilities");
    assert_eq!(output["shape"], json!([images.len(), 10]));
    let found = output["data"].as_array().unwrap();
    for (image, found) in images.iter().zip(found.chunks(10)) {
        for (expected, found) in image.probabilities.iter().zip(found) {
            assert!((expected - found.as_f64().unwrap()).abs() <= 1e-4, "{expected} {found}");
        }
    }
}

/// The text of an error in the protocol's form.
#[track_caller]
fn error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_right_at_each_of_its_addresses_on_each_backend() {
    let host = TestHost::start().await;
    let images = digits();
    for (number, backend) in host.backends().await.into_iter().enumerate() {
        assert_eq!(deploy(&host, backend).await, number as u64 + 1);
        let body = request(&images);
        for path in [
            "/v2/models/digits/infer".to_owned(),
            format!("/v2/models/digits/versions/{}/infer", number + 1),
            "/f/default/digits".to_owned(),
            "/f/default/digits/".to_owned(),
            "/f/default/digits/v2/models/digits/infer".to_owned(),
        ] {
            let answer = host.post(&path, &body).await;
            assert_shows(&answer, &images);
            assert_eq!(answer.header("modelet-revision"), (number + 1).to_string());
            answer.header("modelet-invocation-id");
        }
        let metadata = host.get("/v2/models/digits").await.expect(200).json();
        assert_eq!(metadata["platform"], format!("{backend}_onnx"));
        assert_eq!(host.get("/f/default/digits").await.expect(200).json(), metadata);
    }
    // The one that lost its traffic.
    let old = host.post("/v2/models/digits/versions/1/infer", &request(&images)).await;
    if host.backends().await.len() > 1 {
        assert!(error(&old, 404).contains("revision 1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeps_until_it_is_asked_and_is_accounted_for() {
    let host = TestHost::start().await;
    let model = host.upload(digits_model()).await;
    let spec = json!({
        "models": { "model": { "artifact": model } },
        "scale": { "session_idle_timeout_ms": 100 },
    });
    host.deploy("digits", &spec).await;
    let session = async || host.layers("digits").await["sessions"][0]["state"].clone();
    until("the model to fall asleep", async || (session().await == "cold").then_some(())).await;
    let layers = host.layers("digits").await;
    assert!(layers.get("code").is_none() && layers.get("handler").is_none(), "{layers}");
    for path in ["/v2/models/digits", "/v2/models/digits/ready", "/f/default/digits/v2/models/digits/ready"] {
        host.get(path).await.expect(200);
    }
    assert_eq!(host.get("/v2/models/digits/ready").await.json(), json!({ "name": "digits", "ready": true }));
    assert_eq!(session().await, "cold", "metadata and readiness wake nothing");

    let images = &digits()[..1];
    let answer = host.post("/v2/models/digits/infer", &request(images)).await;
    assert_shows(&answer, images);
    assert!(answer.header("modelet-wake-us").parse::<u64>().unwrap() > 0);
    assert_eq!(host.metric("modelet_invocations_total", "function=\"digits\"").await, 1.0);
    assert_eq!(host.metric("modelet_cold_invocations_total", "function=\"digits\"").await, 1.0);

    // Before its first request, and without waiting for its idle time.
    host.send(Method::POST, "/v2/repository/models/digits/load", "").await.expect(200);
    assert_eq!(session().await, "ready");
    host.send(Method::POST, "/v2/repository/models/digits/unload", "").await.expect(200);
    assert_eq!(session().await, "cold");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_in_the_form_of_the_protocol() {
    let host = TestHost::start().await;
    let model = host.upload(digits_model()).await;
    let spec = json!({
        "models": { "model": { "artifact": model } },
        "limits": { "request_body_bytes": 100_000, "tensor_bytes": 10_000, "response_body_bytes": 1_000 },
    });
    host.deploy("digits", &spec).await;
    host.deploy_component("handled", digits_handler()).await;
    let infer = async |body: &Value| host.post("/v2/models/digits/infer", body).await;
    let input = |shape: Value, data: Value| json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": shape, "data": data }] });
    assert!(error(&infer(&input(json!([1, 3]), json!([1, 2, 3]))).await, 400).contains("shape [any, 64]"));
    assert!(error(&infer(&input(json!([1, 64]), json!([1]))).await, 400).starts_with("inputs[0].data: "));
    assert!(error(&infer(&json!({})).await, 400).contains("inputs"));
    assert!(error(&host.call("digits", "", "not JSON").await, 400).starts_with("body: "));
    let large = input(json!([50, 64]), json!(vec![0; 50 * 64]));
    assert!(error(&infer(&large).await, 413).contains("limits.tensor_bytes"));
    let many = input(json!([39, 64]), json!(vec![0; 39 * 64]));
    assert!(error(&infer(&many).await, 502).contains("limits.response_body_bytes"));
    let over = "x".repeat(100_001);
    assert!(error(&host.call("digits", "", over).await, 413).contains("100000"));

    for (method, path, status, says) in [
        (Method::GET, "/v2/models/digits/infer", 405, "POST"),
        (Method::POST, "/v2/models/digits/explain", 404, "/infer"),
        (Method::GET, "/v2/models/nobody", 404, "nobody"),
        (Method::GET, "/v2/models/digits/versions/first", 400, "first"),
        (Method::POST, "/v2/models/handled/infer", 400, "has a handler"),
        (Method::GET, "/v2/models/handled", 400, "has a handler"),
        (Method::GET, "/f/default/digits/elsewhere", 404, "elsewhere"),
        (Method::GET, "/f/default/digits/v2/models/handled", 404, "handled"),
    ] {
        let answer = host.send(method, path, "").await;
        assert!(error(&answer, status).contains(says), "{path}: {}", answer.text());
    }
    // A function with a handler keeps all that is below its address for itself.
    assert_ne!(host.get("/f/default/handled/v2").await.text(), host.get("/v2").await.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_without_a_handler_has_one_model_and_nothing_for_handlers() {
    let host = TestHost::start().await;
    let model = host.upload(digits_model()).await;
    let entry = json!({ "artifact": model });
    for (spec, field) in [
        (json!({}), "models"),
        (json!({ "models": { "a": entry, "b": entry } }), "models"),
        (json!({ "models": { "a": entry }, "config": { "k": "v" } }), "config"),
        (json!({ "models": { "a": entry }, "outbound": ["example.com"] }), "outbound"),
    ] {
        host.revise("digits", &spec).await.problem(422, "invalid_manifest", Some(field));
    }
    let missing = json!({ "models": { "a": { "artifact": Digest::of(b"nothing").to_string() } } });
    host.revise("digits", &missing).await.problem(404, "not_found", Some("models.a.artifact"));
}

#[tokio::test]
async fn a_message_over_grpc_is_as_long_as_the_host_allows() {
    let host = TestHost::start_with(&json!({ "max_grpc_message_bytes": 65_536 })).await;
    for (length, status) in [(65_536, "3"), (65_537, "8")] {
        let mut message = vec![0];
        message.extend(u32::to_be_bytes(length));
        // No fields, so what is within the limit is not read as a request.
        message.resize(5 + length as usize, 0);
        let path = "/inference.GRPCInferenceService/ModelInfer";
        let request =
            host.over_http2().request(Method::POST, path).header("content-type", "application/grpc");
        let answer = Api::try_send(request.body(message)).await.unwrap().expect(200);
        assert_eq!(answer.header("grpc-status"), status, "{length}: {answer:?}");
    }
}

/// Runs one of others' clients.
async fn client(script: &str, host: &Api) {
    let address = host.base().strip_prefix("http://").unwrap();
    let expected = repository().join("examples/digits/expected.json");
    run_client(script, [address.as_ref(), expected.as_os_str()], &[("MODELET_KEY", host.key())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_triton_and_kserve_work() {
    let host = TestHost::start().await;
    let model = host.upload(digits_model()).await;
    let model = json!({ "artifact": model, "batching": { "max_batch_size": 8 } });
    host.deploy("digits", &json!({ "models": { "digits": model } })).await;
    client("oip_http.py", &host).await;
    client("oip_grpc.py", &host).await;
    client("oip_kserve.py", &host).await;
}
