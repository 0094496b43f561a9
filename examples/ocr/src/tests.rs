//! The handler, with the real models on rten, against what RapidOCR's Python package read in the sample
//! images on ONNX Runtime (`expected.json`).

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use modelet_sdk::testing::{OnnxModel, Reply, TestHost, TestModel};
use modelet_sdk::{Inputs, Request};
use serde::Deserialize;

use crate::frame::Frame;
use crate::{decode, detection, ocr};

/// How far scores may be off: that much the backends' rounding, and the decoders' of JPEG, make.
const SCORE_TOLERANCE: f32 = 0.005;
/// How far corners may be off, in pixels.
const BOX_TOLERANCE: f32 = 1.5;

#[derive(Deserialize)]
struct Case {
    file: String,
    lines: Vec<Line>,
    inputs: SeenInputs,
}

#[derive(Debug, Deserialize)]
struct Line {
    text: String,
    score: f32,
    #[serde(rename = "box")]
    corners: [[f32; 2]; 4],
}

/// What the package gave to the models.
#[derive(Deserialize)]
struct SeenInputs {
    detection: SeenInput,
    /// The shape of each run's input.
    direction: Vec<Vec<usize>>,
    recognition: Vec<Vec<usize>>,
}

#[derive(Deserialize)]
struct SeenInput {
    shape: Vec<usize>,
    /// Of the little-endian bytes of its numbers.
    crc32: u32,
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
    #[derive(Deserialize)]
    struct Expected {
        cases: Vec<Case>,
    }
    let expected = fs::read(folder().join("expected.json")).unwrap();
    serde_json::from_slice::<Expected>(&expected).unwrap().cases
}

static DET: LazyLock<OnnxModel> = LazyLock::new(|| OnnxModel::from_file("model/.fetched/det.onnx"));
static CLS: LazyLock<OnnxModel> = LazyLock::new(|| OnnxModel::from_file("model/.fetched/cls.onnx"));
static REC: LazyLock<OnnxModel> = LazyLock::new(|| OnnxModel::from_file("model/.fetched/rec.onnx"));
static BEST: LazyLock<OnnxModel> = LazyLock::new(|| OnnxModel::from_file("model/best.onnx"));

/// The shapes that a model was run on.
type Shapes = Arc<Mutex<Vec<Vec<usize>>>>;

/// A real model, loaded once for all tests, that remembers what it was run on.
fn watched(model: &'static LazyLock<OnnxModel>, seen: &Shapes) -> impl TestModel {
    let seen = seen.clone();
    move |inputs: &Inputs| {
        let shapes = inputs.iter().map(|(_, tensor)| tensor.shape());
        seen.lock().unwrap().extend(shapes);
        model.infer(inputs)
    }
}

/// The answer, and what `cls` and `rec` were run on.
fn post(file: Vec<u8>) -> (Reply, [Vec<Vec<usize>>; 2]) {
    let [det, cls, rec, best] = std::array::from_fn(|_| Shapes::default());
    let host = TestHost::new()
        .model("det", watched(&DET, &det))
        .model("cls", watched(&CLS, &cls))
        .model("rec", watched(&REC, &rec))
        .model("best", watched(&BEST, &best));
    let reply = host.call_blocking(ocr, Request::post("/").with_body(file));
    (reply, [cls, rec].map(|seen| seen.lock().unwrap().clone()))
}

#[test]
fn reads_every_sample_as_the_package_does() {
    #[derive(Deserialize)]
    struct Answer {
        lines: Vec<Line>,
    }
    for case in cases() {
        let (reply, [direction, recognition]) = post(case.bytes());
        assert_eq!(reply.status(), 200, "{}: {}", case.file, reply.text());
        let found = reply.json::<Answer>().lines;
        let texts = |lines: &[Line]| lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&found), texts(&case.lines), "{}", case.file);
        for (found, expected) in found.iter().zip(&case.lines) {
            let is_near = |a: f32, b: f32| (a - b).abs() <= BOX_TOLERANCE;
            let corners = found.corners.as_flattened().iter().zip(expected.corners.as_flattened());
            assert!(corners.into_iter().all(|(&a, &b)| is_near(a, b)), "{found:?} is not {expected:?}");
            assert!((found.score - expected.score).abs() <= SCORE_TOLERANCE, "{found:?} is not {expected:?}");
        }
        assert_eq!(
            (direction, recognition),
            (case.inputs.direction, case.inputs.recognition),
            "{}",
            case.file
        );
    }
}

#[test]
fn gives_the_detection_model_the_recorded_numbers() {
    for case in cases() {
        let frame = Frame::new(decode::decode(&case.bytes()).unwrap());
        let input = detection::input(&frame.picture).unwrap();
        let expected = case.inputs.detection;
        assert_eq!(input.shape(), expected.shape, "{}", case.file);
        // Decoders of JPEG may round as they like.
        if case.file.ends_with(".png") {
            let numbers = input.to_vec::<f32>().unwrap();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            assert_eq!(crc32fast::hash(&bytes), expected.crc32, "{}", case.file);
        }
    }
}

#[test]
fn an_image_without_text_needs_one_model() {
    let host = TestHost::new().model("det", watched(&DET, &Shapes::default()));
    let blank = fs::read(folder().join("requests/blank.png")).unwrap();
    let reply = host.call_blocking(ocr, Request::post("/").with_body(blank));
    assert_eq!(reply.text(), r#"{"lines":[]}"#);
}
