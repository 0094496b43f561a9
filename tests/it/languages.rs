//! The examples in Python and JavaScript: the same function as `examples/digits`, in other languages.

use serde_json::{Value, json};

use crate::support::{TestHost, digits, digits_model, example_component};

/// Deploys an example with its handler as `modelet build` made it, so that its instances are reused.
async fn start(example: &str, component: &str) -> TestHost {
    let host = TestHost::start().await;
    let component = host.upload(example_component(example, component)).await;
    let artifact = host.upload(digits_model()).await;
    let spec = json!({
        "component": component,
        "models": { "digits": { "artifact": artifact } },
        "reuse": { "max_invocations": 10_000 },
        // Many tests share the machine.
        "limits": { "cpu_time_ms": 20_000, "wall_time_ms": 60_000 },
    });
    host.deploy(example, &spec).await;
    host
}

/// That the handler answers, and refuses, as the one in Rust does.
async fn reads_digits(host: &TestHost, function: &str) {
    let cases = digits();
    for case in &cases {
        let answer = host.call(function, "/", case.request()).await;
        assert_eq!(case.mistake(&answer), None);
    }
    let images: Vec<_> = cases.iter().map(|case| &case.pixels).collect();
    let answer = host.call(function, "/", json!({ "images": images }).to_string()).await.expect(200).json();
    let read: Vec<_> = answer["digits"].as_array().unwrap().iter().map(|one| one["digit"].clone()).collect();
    assert_eq!(read, cases.iter().map(|case| json!(case.digit)).collect::<Vec<_>>());
    assert_eq!(
        host.call(function, "/", json!(images[1]).to_string()).await.expect(200).json(),
        answer["digits"][1]
    );

    let with_bad_pixel = |bad: Value| {
        let mut pixels = vec![json!(0); 64];
        pixels[3] = bad;
        pixels
    };
    for (body, field) in [
        (json!({ "pixels": with_bad_pixel(json!(99)) }), Some("pixels[3]")),
        (json!({ "images": [vec![0; 64], vec![0; 2]] }), Some("images[1]")),
        (json!(with_bad_pixel(json!("ink"))), Some("[3]")),
        (json!({}), Some("pixels")),
        (json!("seven"), None),
    ] {
        host.call(function, "/", body.to_string()).await.problem(422, "invalid_input", field);
    }
    for hostile in [b"\xff\xfe".to_vec(), b"{".to_vec(), b"[".repeat(1_000)] {
        host.call(function, "/", hostile).await.problem(400, "invalid_input", None);
    }
    // SpiderMonkey reads any depth; CPython recurses, and the sandbox ends it.
    let deep = host.call(function, "/", b"[".repeat(100_000)).await;
    if deep.status != 400 {
        deep.problem(502, "handler_stack_overflow", None);
    }
    // It goes on answering after what it refused, and drops what it holds of the host.
    assert_eq!(cases[0].mistake(&host.call(function, "/", cases[0].request()).await), None);
}

/// That a model which cannot run is a problem and no trap.
async fn tells_why_a_model_does_not_run(host: &TestHost, function: &str, component: Vec<u8>) {
    let component = host.upload(component).await;
    host.deploy(function, &json!({ "component": component })).await;
    let answer = host.call(function, "/", digits()[0].request()).await;
    let problem = answer.problem(500, "handler_error", None);
    assert!(problem["detail"].as_str().unwrap().contains("digits"), "{problem}");
}

#[tokio::test]
async fn a_handler_in_python_answers_as_recorded() {
    let host = start("digits-python", "digits_python.wasm").await;
    let revision = host.get("/api/v1/functions/digits-python/revisions/1").await.expect(200).json();
    assert_eq!(revision["details"]["kind"], "handler", "{revision}");
    reads_digits(&host, "digits-python").await;
    let component = example_component("digits-python", "digits_python.wasm");
    tells_why_a_model_does_not_run(&host, "digits-python", component).await;
}

#[tokio::test]
async fn a_handler_in_javascript_answers_as_recorded() {
    let host = start("digits-js", "digits_js.wasm").await;
    let revision = host.get("/api/v1/functions/digits-js/revisions/1").await.expect(200).json();
    assert_eq!(revision["details"]["kind"], "blocking_handler", "{revision}");
    reads_digits(&host, "digits-js").await;
    let component = example_component("digits-js", "digits_js.wasm");
    tells_why_a_model_does_not_run(&host, "digits-js", component).await;
}
