//! The examples' answers over HTTP, beside those that ONNX Runtime gave from Python.

use serde_json::{Value, json};

use crate::support::{Api, TestHost, digits, example, guest};

/// Deploys an example on one backend and returns the cases that it was recorded with.
async fn deploy(host: &Api, name: &str, model: &str, file: &str, backend: &str) -> Value {
    let component = host.upload(guest(name)).await;
    let artifact = host.upload(example(name, file)).await;
    let models = json!({ model: { "artifact": artifact, "backend": backend } });
    let limits = json!({ "memory_bytes": 256 << 20, "cpu_time_ms": 20_000, "wall_time_ms": 60_000 });
    host.deploy(name, &json!({ "component": component, "models": models, "limits": limits })).await;
    serde_json::from_slice(&example(name, "expected.json")).expect("the recording can be read")
}

#[track_caller]
fn assert_close(found: &Value, expected: &Value, tolerance: f64, case: &str) {
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{case}: {value} is no number"));
    let (found, expected) = (number(found), number(expected));
    assert!((found - expected).abs() <= tolerance, "{case}: {found} is not {expected}");
}

#[tokio::test]
async fn digits_are_read_as_recorded() {
    let host = TestHost::start().await;
    for backend in host.backends().await {
        deploy(&host, "digits", "digits", "model/digits.onnx", backend).await;
        let cases = digits();
        for case in &cases {
            let answer = host.call("digits", "/", case.request()).await;
            assert_eq!(case.mistake(&answer), None, "{backend}");
        }
        let images: Vec<_> = cases.iter().map(|case| &case.pixels).collect();
        let answer =
            host.call("digits", "/", json!({ "images": images }).to_string()).await.expect(200).json();
        let read: Vec<_> = answer["digits"].as_array().unwrap().iter().map(|d| d["digit"].clone()).collect();
        assert_eq!(read, cases.iter().map(|case| json!(case.digit)).collect::<Vec<_>>(), "{backend}");
    }
}

#[tokio::test]
async fn file_types_are_told_as_magika_tells_them() {
    let host = TestHost::start().await;
    for backend in host.backends().await {
        let expected = deploy(&host, "filetype", "magika", "model/.fetched/magika.onnx", backend).await;
        let tolerance = expected["tolerance"].as_f64().unwrap();
        for case in expected["cases"].as_array().unwrap() {
            let file = case["file"].as_str().unwrap();
            let answer = host.call("filetype", "/", example("filetype", file)).await.expect(200).json();
            let case_name = format!("{file} on {backend}");
            for (field, value) in case["answer"].as_object().unwrap() {
                match field.as_str() {
                    "confidence" => assert_close(&answer[field], value, tolerance, &case_name),
                    _ => assert_eq!(&answer[field], value, "{case_name}: {field}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn texts_are_embedded_as_recorded() {
    let host = TestHost::start().await;
    for backend in host.backends().await {
        let expected = deploy(&host, "embed", "minilm", "model/.fetched/minilm.onnx", backend).await;
        let tolerance = expected["tolerance"].as_f64().unwrap();
        let cases = expected["cases"].as_array().unwrap();
        let mut embeddings = Vec::new();
        for case in cases {
            let request = json!({ "text": case["text"] });
            let answer = host.post("/f/default/embed/", &request).await.expect(200).json();
            let values = answer["embedding"].as_array().unwrap().clone();
            let recorded = case["embedding"].as_array().unwrap();
            assert_eq!(values.len(), recorded.len());
            for (found, recorded) in values.iter().zip(recorded) {
                assert_close(found, recorded, tolerance, &format!("{} on {backend}", case["text"]));
            }
            embeddings.push(values);
        }
        let cosine = |pair: &Value| -> f64 {
            let of = |index: usize| &embeddings[usize::try_from(pair[index].as_u64().unwrap()).unwrap()];
            of(0).iter().zip(of(1)).map(|(a, b)| a.as_f64().unwrap() * b.as_f64().unwrap()).sum()
        };
        assert!(cosine(&expected["related"]) > cosine(&expected["unrelated"]) + 0.2);
    }
}
