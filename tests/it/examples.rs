//! The examples' answers over HTTP, beside those that ONNX Runtime gave from Python.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream;
use reqwest::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{Api, DEADLINE, TestHost, digits, example, guest};

/// Deploys an example with its models on one backend, and returns the cases that it was recorded with.
async fn deploy(host: &Api, name: &str, files: &[(&str, &str)], backend: &str) -> Value {
    deploy_with(host, name, files, backend, json!({})).await
}

/// The same, with what else `manifest` has.
async fn deploy_with(
    host: &Api,
    name: &str,
    files: &[(&str, &str)],
    backend: &str,
    mut manifest: Value,
) -> Value {
    let component = host.upload(guest(name)).await;
    let mut models = json!({});
    for &(model, file) in files {
        let artifact = host.upload(example(name, file)).await;
        models[model] = json!({ "artifact": artifact, "backend": backend });
    }
    let limits = json!({ "memory_bytes": 256 << 20, "cpu_time_ms": 20_000, "wall_time_ms": 60_000 });
    manifest["component"] = json!(component);
    manifest["models"] = models;
    manifest["limits"] = limits;
    host.deploy(name, &manifest).await;
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
        deploy(&host, "digits", &[("digits", "model/digits.onnx")], backend).await;
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
        let models = [("magika", "model/.fetched/magika.onnx")];
        let expected = deploy(&host, "filetype", &models, backend).await;
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
        let models = [("minilm", "model/.fetched/minilm.onnx")];
        let signature = json!({
            "inputs": [{ "name": "text", "element_type": "text", "shape": [-1] }],
            "outputs": [{ "name": "embedding", "element_type": "f32", "shape": [-1, 384] }],
        });
        let manifest = json!({ "signature": signature });
        let expected = deploy_with(&host, "embed", &models, backend, manifest).await;
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
        // The same in tensors, all at once.
        let texts: Vec<&Value> = cases.iter().map(|case| &case["text"]).collect();
        let input = json!({ "name": "text", "datatype": "BYTES", "shape": [texts.len()], "data": texts });
        let answer =
            host.post("/v2/models/embed/infer", &json!({ "inputs": [input] })).await.expect(200).json();
        let rows = answer["outputs"][0]["data"].as_array().unwrap();
        assert_eq!(rows.len(), embeddings.len() * 384, "{backend}");
        for (found, alone) in rows.iter().zip(embeddings.iter().flatten()) {
            assert_close(found, alone, tolerance, &format!("in tensors on {backend}"));
        }
        let cosine = |pair: &Value| -> f64 {
            let of = |index: usize| &embeddings[usize::try_from(pair[index].as_u64().unwrap()).unwrap()];
            of(0).iter().zip(of(1)).map(|(a, b)| a.as_f64().unwrap() * b.as_f64().unwrap()).sum()
        };
        assert!(cosine(&expected["related"]) > cosine(&expected["unrelated"]) + 0.2);
    }
}

#[tokio::test]
async fn irises_are_told_apart_by_a_forest_of_scikit_learn() {
    let host = TestHost::start().await;
    let read = |file: &str| -> Value {
        serde_json::from_slice(&example("iris-forest", file)).expect("the example's file can be read")
    };
    let artifact = host.upload(example("iris-forest", "model/forest.onnx")).await;
    let spec = |backend: &str| {
        let golden = read("model/golden.json");
        json!({ "models": { "forest": { "artifact": artifact, "backend": backend, "golden": golden } } })
    };
    let refused = host.revise("iris-forest", &spec("rten")).await;
    let problem = refused.problem(422, "invalid_model", Some("models.forest"));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("output `label` has elements of type text"), "{detail}");
    if !host.backends().await.contains(&"onnxruntime") {
        return;
    }

    let revision = host.revise("iris-forest", &spec("auto")).await.expect(201).json();
    let checked = &revision["details"]["models"]["forest"];
    assert_eq!(checked["backend"], "onnxruntime", "{checked}");
    assert!(checked["reason"].as_str().unwrap().starts_with(&format!("rten: {detail}")), "{checked}");

    let expected = read("expected.json");
    let cases = expected["cases"].as_array().unwrap();
    let tolerance = expected["tolerance"].as_f64().unwrap();
    let labels: Vec<&Value> = cases.iter().map(|case| &case["label"]).collect();
    let path = "/v2/models/iris-forest/infer";
    let answer = host.post(path, &read("requests/batch.json")).await.expect(200).json();
    let outputs = &answer["outputs"];
    assert_eq!(outputs[0]["name"], "label");
    assert_eq!((&outputs[0]["datatype"], &outputs[0]["shape"]), (&json!("BYTES"), &json!([cases.len()])));
    assert_eq!(outputs[0]["data"], json!(labels));
    assert_eq!(outputs[1]["shape"], json!([cases.len(), 3]));
    let found = outputs[1]["data"].as_array().unwrap();
    let recorded = cases.iter().flat_map(|case| case["probabilities"].as_array().unwrap());
    for (found, recorded) in found.iter().zip(recorded) {
        assert_close(found, recorded, tolerance, "a probability");
    }

    // The texts alone, in binary: each with its length before it.
    let mut request = read("requests/one.json");
    request["outputs"] = json!([{ "name": "label", "parameters": { "binary_data": true } }]);
    let answer = host.post(path, &request).await.expect(200);
    let head: usize = answer.header("inference-header-content-length").parse().unwrap();
    assert_eq!(&answer.body[head..], b"\x0a\0\0\0versicolor");
}

/// Deploys the voice example on one backend and returns what was recorded of each recording.
async fn deploy_voice(host: &Api, backend: &str) -> Vec<Value> {
    let component = host.upload(guest("voice")).await;
    let artifact = host.upload(example("voice", "model/.fetched/silero_vad.onnx")).await;
    let models = json!({ "silero": { "artifact": artifact, "backend": backend } });
    let spec = json!({ "component": component, "models": models, "request_body": "stream" });
    host.deploy("voice", &spec).await;
    let mut expected: Value = serde_json::from_slice(&example("voice", "expected.json")).unwrap();
    serde_json::from_value(expected["cases"].take()).unwrap()
}

/// The lines that tell what was recorded, from samples of 16 kHz to milliseconds.
fn voice_lines(case: &Value) -> Vec<Value> {
    let pair = |segment: &Value| (segment[0].as_u64().unwrap(), segment[1].as_u64().unwrap());
    let segments: Vec<_> = case["answers"][0]["segments"].as_array().unwrap().iter().map(pair).collect();
    let edge = |event: &str, sample: u64| json!({ "event": event, "at_ms": sample / 16 });
    let edges = segments.iter().flat_map(|&(start, end)| [edge("start", start), edge("end", end)]);
    let spoken: u64 = segments.iter().map(|(start, end)| end - start).sum();
    let duration = case["length"].as_u64().unwrap() / 16;
    let done = json!({ "event": "done", "duration_ms": duration, "speech_ms": spoken / 16 });
    edges.chain([done]).collect()
}

#[tokio::test]
async fn speech_is_found_as_silero_finds_it() {
    let host = TestHost::start().await;
    for backend in host.backends().await {
        for case in deploy_voice(&host, backend).await {
            let file = case["file"].as_str().unwrap();
            let answer = host.call("voice", "/", example("voice", file)).await.expect(200);
            assert_eq!(answer.header("content-type"), "application/x-ndjson");
            let lines: Vec<Value> =
                answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines, voice_lines(&case), "{file} on {backend}");
        }
    }
    host.call("voice", "/", "ID3").await.problem(422, "invalid_input", Some("body"));
    let recording = example("voice", "requests/.fetched/reading.wav");
    let answer = host.call("voice", "/", recording[..recording.len() / 2].to_vec()).await.expect(200);
    let last: Value = serde_json::from_str(answer.text().lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["field"]), (&json!("error"), &json!("data")));
}

#[tokio::test]
async fn speech_is_told_while_the_sound_is_still_arriving() {
    let host = TestHost::start().await;
    for backend in host.backends().await {
        let case = deploy_voice(&host, backend).await.remove(0);
        let mut expected = VecDeque::from(voice_lines(&case));
        let recording = example("voice", case["file"].as_str().unwrap());
        let mut pieces: VecDeque<Bytes> = recording.chunks(1600).map(Bytes::copy_from_slice).collect();

        let (sender, mut receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let body = Body::wrap_stream(stream::poll_fn(move |cx| receiver.poll_recv(cx)));
        let asking = host.request(reqwest::Method::POST, "/f/default/voice").body(body).send();
        let first = pieces.pop_front().unwrap();
        let (answer, ()) = tokio::join!(asking, async { sender.send(Ok(first)).await.unwrap() });
        let mut answer = answer.unwrap();
        let mut text = Vec::new();
        // Speech is certain once there was more of it than 250 ms, whose first 30 ms are what is added
        // before it. A pause follows in the body: the next piece comes when the line has come.
        let mut line = async |text: &mut Vec<u8>| {
            while !text.contains(&b'\n') {
                let piece = tokio::time::timeout(DEADLINE, answer.chunk()).await.expect("a line in time");
                text.extend_from_slice(&piece.unwrap().expect("the answer has not ended"));
            }
            let rest = text.split_off(text.iter().position(|&byte| byte == b'\n').unwrap() + 1);
            serde_json::from_slice::<Value>(&std::mem::replace(text, rest)).unwrap()
        };
        let start = case["answers"][0]["segments"][0][0].as_u64().unwrap();
        let certain = usize::try_from(start + 480 + 8 * 512).unwrap() * 2 + 44;
        for piece in pieces.drain(..certain.div_ceil(1600) - 1) {
            sender.send(Ok(piece)).await.unwrap();
        }
        assert_eq!(line(&mut text).await, expected.pop_front().unwrap(), "{backend}");
        assert!(pieces.len() > 150, "{} pieces have not been sent", pieces.len());

        let sending = async {
            for piece in pieces {
                sender.send(Ok(piece)).await.unwrap();
            }
            drop(sender);
        };
        let reading = async {
            for expected in expected {
                assert_eq!(line(&mut text).await, expected, "{backend}");
            }
        };
        tokio::join!(sending, reading);
    }
}

#[tokio::test]
async fn text_in_images_is_read_as_rapidocr_reads_it() {
    let models = [
        ("det", "model/.fetched/det.onnx"),
        ("cls", "model/.fetched/cls.onnx"),
        ("rec", "model/.fetched/rec.onnx"),
        ("best", "model/best.onnx"),
    ];
    let host = TestHost::start().await;
    for backend in host.backends().await {
        let expected = deploy(&host, "ocr", &models, backend).await;
        for case in expected["cases"].as_array().unwrap() {
            let file = case["file"].as_str().unwrap();
            let answer = host.call("ocr", "/", example("ocr", file)).await.expect(200).json();
            let case_name = format!("{file} on {backend}");
            let texts = |lines: &Value| -> Vec<Value> {
                lines.as_array().unwrap().iter().map(|line| line["text"].clone()).collect()
            };
            assert_eq!(texts(&answer["lines"]), texts(&case["lines"]), "{case_name}");
            let lines = answer["lines"].as_array().unwrap().iter().zip(case["lines"].as_array().unwrap());
            for (found, recorded) in lines {
                assert_close(&found["score"], &recorded["score"], 0.005, &case_name);
                for (at, corner) in recorded["box"].as_array().unwrap().iter().enumerate() {
                    assert_close(&found["box"][at][0], &corner[0], 1.5, &case_name);
                    assert_close(&found["box"][at][1], &corner[1], 1.5, &case_name);
                }
            }
        }
        let mut broken = example("ocr", "requests/invoice.png");
        broken.truncate(broken.len() / 2);
        host.call("ocr", "/", broken).await.problem(422, "invalid_input", Some("image"));
    }
}
