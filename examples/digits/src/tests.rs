//! The handler against the model's recorded answers (`expected.json`), in every form of request.

use std::fs;
use std::path::Path;

use modelet_sdk::testing::{Reply, TestHost};
use modelet_sdk::{Error, Inputs, Outputs, Request, Tensor};
use serde_json::{Value, json};

use super::{DIGITS, Digits, PIXELS};

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected.json");
    let mut expected: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    serde_json::from_value(expected["cases"].take()).unwrap()
}

/// Answers rows that were recorded with what was recorded for them, in any batch.
fn recorded(inputs: &Inputs) -> Result<Outputs, Error> {
    let input = inputs.get("input").expect("the handler gives the only input").to_vec::<f32>()?;
    let cases = cases();
    let mut probabilities = Vec::new();
    for row in input.chunks(PIXELS) {
        let pixels: Vec<f64> = row.iter().map(|&pixel| f64::from(pixel) * 16.0).collect();
        let case = cases.iter().find(|case| case["pixels"].as_array().unwrap().iter().eq(pixels.iter()));
        let case = case.expect("only recorded images are sent");
        probabilities.extend(serde_json::from_value::<Vec<f32>>(case["probabilities"].clone()).unwrap());
    }
    let output = Tensor::new([probabilities.len() / DIGITS, DIGITS], probabilities)?;
    Ok(Outputs::from([("probabilities", output)]))
}

fn post(body: &Value) -> Reply {
    let host = TestHost::new().model("digits", recorded);
    host.call_blocking(Digits::default(), Request::post("/").with_json(body))
}

/// The one field at fault and what is said about it.
fn refused(body: &Value) -> (String, String) {
    let reply = post(body);
    assert_eq!(reply.status(), 422, "{}", reply.text());
    let problem = reply.problem().unwrap();
    (problem.field.clone().unwrap_or_default(), problem.detail.clone())
}

#[test]
fn reads_every_recorded_image() {
    for case in cases() {
        let reply = post(&json!({ "pixels": case["pixels"] }));
        assert_eq!(reply.json::<Value>()["digit"], case["digit"]);
        assert_eq!(post(&case["pixels"]).bytes(), reply.bytes());
    }
}

#[test]
fn reads_a_batch_in_its_order() {
    let cases = cases();
    let images: Vec<&Value> = cases.iter().map(|case| &case["pixels"]).collect();
    let answer: Value = post(&json!({ "images": images })).json();
    let digits: Vec<&Value> = answer["digits"].as_array().unwrap().iter().map(|one| &one["digit"]).collect();
    assert_eq!(digits, cases.iter().map(|case| &case["digit"]).collect::<Vec<_>>());
    // A batch of one is still a batch.
    let answer: Value = post(&json!({ "images": images[..1] })).json();
    assert_eq!(answer["digits"][0]["digit"], cases[0]["digit"]);
}

#[test]
fn says_how_sure_it_is() {
    let case = &cases()[0];
    let confidence = post(&case["pixels"]).json::<Value>()["confidence"].as_f64().unwrap();
    let recorded = case["probabilities"][case["digit"].as_u64().unwrap() as usize].as_f64().unwrap();
    assert!((confidence - recorded).abs() < 1e-6, "{confidence} is not {recorded}");
}

#[test]
fn names_the_pixel_at_fault() {
    let mut pixels = vec![json!(0); PIXELS];
    pixels[3] = json!(99);
    let (field, detail) = refused(&json!({ "pixels": pixels }));
    assert_eq!(
        (field.as_str(), detail.as_str()),
        ("pixels[3]", "pixels[3]: must be between 0 and 16, got 99")
    );
    assert_eq!(refused(&json!(pixels)).0, "[3]");
    assert_eq!(refused(&json!({ "images": [vec![0; PIXELS], pixels] })).0, "images[1][3]");
    pixels[3] = json!("ink");
    let (field, detail) = refused(&json!({ "pixels": pixels }));
    assert_eq!(field, "pixels[3]");
    assert!(detail.contains("expected f32"), "{detail}");
}

#[test]
fn names_the_field_of_a_wrong_size() {
    assert_eq!(
        refused(&json!({ "pixels": vec![0; 63] })),
        ("pixels".into(), "pixels: must be 64 numbers, got 63".into())
    );
    assert_eq!(refused(&json!(vec![0; 65])).1, "the list must be 64 numbers, got 65");
    assert_eq!(refused(&json!({ "images": [vec![0; 64], vec![0; 2]] })).0, "images[1]");
    assert_eq!(refused(&json!({ "images": vec![vec![0; 64]; 257] })).0, "images");
    assert_eq!(refused(&json!({ "images": [] })).1, "images: must be 1 to 256 images, got 0");
}

#[test]
fn refuses_other_forms() {
    assert_eq!(refused(&json!({})).0, "pixels");
    assert!(refused(&json!({ "pixel": vec![0; 64] })).1.contains("`pixels` or `images`"));
    assert!(refused(&json!({ "pixels": vec![0; 64], "images": [] })).1.contains("give one of"));
    assert!(refused(&json!("seven")).1.contains("a list of 64 numbers"));
}
