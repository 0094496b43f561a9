//! Handlers in tensors: what stands before and behind a model, for callers of the Open Inference Protocol.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Api, TestHost, digits, digits_model, guest, noop_handler, repository, run_client,
};

fn tensor(name: &str, element_type: &str, shape: &[i64]) -> Value {
    json!({ "name": name, "element_type": element_type, "shape": shape })
}

fn signature() -> Value {
    json!({
        "inputs": [tensor("ask", "text", &[1]), tensor("pixels", "u8", &[-1, 64])],
        "outputs": [tensor("label", "text", &[-1]), tensor("probabilities", "f32", &[-1, 10])],
    })
}

async fn spec(host: &TestHost) -> Value {
    let (component, model) = (host.upload(guest("tensors")).await, host.upload(digits_model()).await);
    json!({
        "component": component,
        "signature": signature(),
        "models": { "digits": { "artifact": model } },
        "limits": { "cpu_time_ms": 200, "memory_bytes": 16 << 20 },
    })
}

/// A request for one image.
fn request(ask: &str) -> Value {
    json!({ "inputs": [
        { "name": "ask", "datatype": "BYTES", "shape": [1], "data": [ask] },
        { "name": "pixels", "datatype": "UINT8", "shape": [1, 64], "data": digits()[0].pixels },
    ] })
}

async fn infer(host: &Api, ask: &str) -> Answer {
    host.post("/v2/models/ink/infer", &request(ask)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_triton_call_a_handler_in_tensors() {
    let host = TestHost::start().await;
    host.deploy("ink", &spec(&host).await).await;
    let address = host.base().strip_prefix("http://").unwrap();
    let expected = repository().join("examples/digits/expected.json");
    let arguments = [address.as_ref(), expected.as_os_str()];
    run_client("oip_tensors.py", arguments, &[("MODELET_KEY", host.key())]).await;
}

#[tokio::test]
async fn it_is_called_at_its_own_address_and_by_other_functions() {
    let host = TestHost::start().await;
    host.deploy("ink", &spec(&host).await).await;
    let at_its_own = host.call("ink", "", request("").to_string()).await.expect(200).json();
    assert_eq!(at_its_own["model_name"], "ink", "{at_its_own}");
    assert_eq!(at_its_own["outputs"][0]["name"], "label", "{at_its_own}");
    let component = host.upload(guest("granted")).await;
    let rules = ["http://ink.modelet.internal"];
    host.deploy("granted", &json!({ "component": component, "outbound": rules })).await;
    let body = format!("http://ink.modelet.internal/v2/models/ink/infer\n{}", request(""));
    let asked = host.call("granted", "/ask", body).await.expect(200).json();
    assert_eq!(asked["outputs"], at_its_own["outputs"]);
    // Each has its record, with what its handler and its model took.
    let usage = host.get("/api/v1/usage?interval=total&function=ink").await.expect(200).json();
    assert_eq!(usage["total"]["invocations"], 2, "{usage}");
    for field in ["cpu_us", "inference_cpu_us"] {
        assert!(usage["total"][field].as_u64().unwrap() > 0, "{field}: {usage}");
    }
    // It answers in its protocol alone.
    for path in ["elsewhere", "v2/models/granted", "v2/models/stats"] {
        assert_eq!(host.get(&format!("/f/default/ink/{path}")).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_it_does_wrong_is_its_own() {
    let host = TestHost::start().await;
    host.deploy("ink", &spec(&host).await).await;
    for (ask, status, says) in [
        ("give less", 502, "no output `probabilities`"),
        ("give otherwise", 502, "output `label`"),
        ("panic", 502, "trapped"),
        ("loop", 504, "CPU time"),
        ("refuse", 422, "draw darker"),
    ] {
        let answer = infer(&host, ask).await;
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!((answer.status, error.contains(says)), (status, true), "{ask}: {} {error}", answer.status);
        assert!(answer.headers.contains_key("modelet-invocation-id"), "{ask}");
        infer(&host, "").await.expect(200);
    }
    host.log_line("ink", &["no output `probabilities`"]).await;
    host.log_line("ink", &["on purpose"]).await;
    // Of no use is no wrong: what nobody asked for is not looked at.
    let mut wanted = request("give less");
    wanted["outputs"] = json!([{ "name": "label" }]);
    let answer = host.post("/v2/models/ink/infer", &wanted).await.expect(200).json();
    assert_eq!(answer["outputs"].as_array().map(Vec::len), Some(1), "{answer}");
}

#[tokio::test]
async fn an_instance_that_is_used_again_keeps_no_tensors() {
    let host = TestHost::start().await;
    let mut spec = spec(&host).await;
    spec["reuse"] = json!({ "max_invocations": 1_000 });
    // Less than what two calls hold together.
    spec["limits"]["tensor_bytes"] = json!(1_000);
    spec["limits"]["handles"] = json!(8);
    host.deploy("ink", &spec).await;
    for round in 0..20 {
        let answer = infer(&host, if round % 3 == 2 { "refuse" } else { "" }).await;
        assert_eq!(answer.status, if round % 3 == 2 { 422 } else { 200 }, "{round}: {}", answer.text());
    }
    assert_eq!(
        host.get("/api/v1/functions/ink/state").await.expect(200).json()["revisions"][0]["instances"]["idle"],
        1
    );
}

#[tokio::test]
async fn the_manifest_declares_what_the_code_does_not_say() {
    let host = TestHost::start().await;
    let spec = spec(&host).await;
    let without = |field: &str| {
        let mut spec = spec.clone();
        spec.as_object_mut().unwrap().remove(field);
        spec
    };
    let with = |field: &str, value: Value| {
        let mut spec = spec.clone();
        spec[field] = value;
        spec
    };
    let noop = host.upload(noop_handler(0)).await;
    let twice = json!({ "inputs": [tensor("x", "u8", &[]), tensor("x", "u8", &[])], "outputs": [tensor("y", "u8", &[])] });
    for (spec, field) in [
        (without("signature"), "signature"),
        (with("component", json!(noop)), "signature"),
        (without("component"), "signature"),
        (with("signature", twice), "signature.inputs[1].name"),
        (with("request_body", json!("stream")), "request_body"),
    ] {
        let problem = host.revise("ink", &spec).await.problem(422, "invalid_manifest", Some(field));
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    }
    let unknown = json!({ "inputs": [tensor("x", "u7", &[])], "outputs": [] });
    let refused = host.revise("ink", &with("signature", unknown)).await;
    assert!((400..=422).contains(&refused.status) && refused.text().contains("u7"), "{}", refused.text());
    let shown = host.send(Method::GET, "/api/v1/functions/ink", "").await;
    assert_eq!(shown.status, 404, "nothing was made: {}", shown.text());
}

#[tokio::test]
async fn it_is_held_to_its_limits() {
    let host = TestHost::start().await;
    let spec = spec(&host).await;
    let limited = async |name: &str, field: &str, value: u64| {
        let mut spec = spec.clone();
        spec["limits"][field] = json!(value);
        host.deploy(name, &spec).await;
        let answer = host.post(&format!("/v2/models/{name}/infer"), &request("")).await;
        (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    let (status, error) = limited("small", "response_body_bytes", 40).await;
    assert_eq!((status, error.contains("limits.response_body_bytes")), (502, true), "{error}");
    host.log_line("small", &["limits.response_body_bytes"]).await;
    // The request alone is within them; what is made of it is not.
    let (status, error) = limited("narrow", "tensor_bytes", 100).await;
    assert_eq!((status, error.contains("limits.tensor_bytes")), (503, true), "{error}");
    let (status, error) = limited("tiny", "tensor_bytes", 10).await;
    assert_eq!((status, error.contains("limits.tensor_bytes")), (413, true), "{error}");
    let mut few = spec.clone();
    let inputs: Vec<Value> = (0..9).map(|index| tensor(&format!("x{index}"), "u8", &[])).collect();
    few["signature"]["inputs"] = json!(inputs);
    few["limits"]["handles"] = json!(8);
    host.revise("few", &few).await.problem(422, "invalid_manifest", Some("signature.inputs"));
}

#[tokio::test]
async fn a_request_that_cannot_be_read_wakes_nothing() {
    let host = TestHost::start().await;
    host.deploy("ink", &spec(&host).await).await;
    let awake = async || host.metric("modelet_cold_invocations_total", "function=\"ink\"").await;
    for body in
        ["{}", "not JSON", r#"{"inputs": [{"name": "pixels", "datatype": "U8", "shape": [1], "data": [1]}]}"#]
    {
        let answer = host.call("ink", "", body).await;
        assert!(
            answer.status == 400 && !answer.headers.contains_key("modelet-wake-us"),
            "{body}: {answer:?}"
        );
    }
    assert_eq!(awake().await, 0.0);
    let woken = infer(&host, "").await.expect(200);
    assert!(woken.headers.contains_key("modelet-wake-us"), "{woken:?}");
}

#[tokio::test]
async fn a_tenant_that_is_not_trusted_has_them_too() {
    let host = TestHost::start().await;
    host.put("/api/v1/tenants/default/trust", &json!({ "trust": "untrusted" })).await.expect(200);
    host.deploy("ink", &spec(&host).await).await;
    let answer = infer(&host, "").await.expect(200).json();
    assert_eq!(answer["outputs"][0]["datatype"], "BYTES", "{answer}");
    assert_eq!(infer(&host, "refuse").await.status, 422);
}

#[tokio::test]
async fn a_long_complaint_is_cut() {
    let host = TestHost::start().await;
    host.deploy("ink", &spec(&host).await).await;
    let answer = infer(&host, "complain").await;
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!((answer.status, error.len()), (400, 4_096));
}

#[tokio::test]
async fn it_may_stand_beside_a_handler_of_http() {
    let host = TestHost::start().await;
    let component = host.upload(guest("both")).await;
    let signature = json!({
        "inputs": [tensor("by", "u32", &[1])],
        "outputs": [tensor("counted", "u32", &[1])],
    });
    let spec = json!({ "component": component, "signature": signature, "reuse": { "max_invocations": 100 } });
    host.deploy("both", &spec).await;
    let shown = host.get("/api/v1/functions/both/revisions/1").await.expect(200).json();
    assert_eq!(shown["details"]["kind"], "handler", "{shown}");
    let count = async || {
        let input = json!({ "name": "by", "datatype": "UINT32", "shape": [1], "data": [10] });
        host.post("/v2/models/both/infer", &json!({ "inputs": [input] })).await.expect(200).json()
    };
    // One instance answers both, each at its own address.
    assert_eq!(host.call("both", "/", "you").await.expect(200).text(), "hello you, 0");
    assert_eq!(count().await["outputs"][0]["data"], json!([10]));
    assert_eq!(host.call("both", "/v2/models/both", "v2").await.expect(200).text(), "hello v2, 2");
    assert_eq!(count().await["outputs"][0]["data"], json!([30]));
    let without = json!({ "component": component });
    host.revise("both", &without).await.problem(422, "invalid_manifest", Some("signature"));
}
