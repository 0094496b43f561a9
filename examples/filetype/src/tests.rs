//! The handler against what Magika's own library said about the sample files (`expected.json`).

use std::fs;
use std::path::Path;

use modelet_sdk::testing::{RecordedModel, TestHost};
use modelet_sdk::{Error, Inputs, Outputs, Request, Tensor};
use serde::Deserialize;
use serde_json::Value;

use crate::features::{self, Features, WIDTH};
use crate::filetype;
use crate::package::OUTPUTS;

#[derive(Deserialize)]
struct Case {
    file: String,
    answer: Value,
    /// Of the little-endian bytes of what the model was given; missing where it was not asked.
    row_crc32: Option<u32>,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        fs::read(folder().join(&self.file)).unwrap()
    }
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cases() -> Vec<Case> {
    let mut expected: Value =
        serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap();
    serde_json::from_value(expected["cases"].take()).unwrap()
}

fn checksum(row: &[i32]) -> u32 {
    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    crc32fast::hash(&bytes)
}

/// Answers a recorded row with the probability that was recorded for it.
fn recorded(inputs: &Inputs) -> Result<Outputs, Error> {
    let row = inputs.get("bytes").expect("the handler gives it").to_vec::<i32>()?;
    let checksum = checksum(&row);
    let case = cases().into_iter().find(|case| case.row_crc32 == Some(checksum));
    let answer = case.expect("only recorded rows are sent").answer;
    let output = OUTPUTS.iter().position(|output| output.model.label == answer["model_label"]);
    let mut probabilities = vec![0.0; OUTPUTS.len()];
    probabilities[output.expect("the label is the model's")] = answer["confidence"].as_f64().unwrap() as f32;
    Ok(Outputs::from([("target_label", Tensor::new([1, OUTPUTS.len()], probabilities)?)]))
}

#[test]
fn gives_the_model_the_recorded_rows() {
    for case in cases() {
        let row = match features::extract(&case.bytes()) {
            Features::Row(row) => {
                assert_eq!(row.len(), WIDTH);
                Some(checksum(&row))
            }
            _ => None,
        };
        assert_eq!(row, case.row_crc32, "{}", case.file);
    }
}

#[test]
fn answers_every_sample_as_the_library_does() {
    for case in cases() {
        let host = TestHost::new().model("magika", recorded);
        let reply = host.call_blocking(filetype, Request::post("/").with_body(case.bytes()));
        assert_eq!(reply.status(), 200, "{}", reply.text());
        let mut answer: Value = reply.json();
        let confidence = answer["confidence"].as_f64().unwrap();
        assert!((confidence - case.answer["confidence"].as_f64().unwrap()).abs() < 1e-6, "{}", case.file);
        answer["confidence"] = case.answer["confidence"].clone();
        assert_eq!(answer, case.answer, "{}", case.file);
    }
}

/// The golden rows hold all that the model said, not the best alone.
#[test]
fn finds_the_best_of_real_probabilities() {
    for (file, label) in [("stack.py", "python"), ("gradient.png", "png")] {
        let host = TestHost::new().model("magika", RecordedModel::from_file("model/golden.json"));
        let bytes = fs::read(folder().join("requests").join(file)).unwrap();
        let reply = host.call_blocking(filetype, Request::post("/").with_body(bytes));
        assert_eq!(reply.json::<Value>()["label"], label);
    }
}
