//! Real images of digits with the answers that ONNX Runtime gave from Python.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, example};

/// An image and what it shows.
#[derive(Clone, Deserialize)]
pub struct Digit {
    pub pixels: Vec<u8>,
    pub digit: usize,
    pub probabilities: Vec<f64>,
}

#[derive(Deserialize)]
struct Expected {
    tolerance: f64,
    cases: Vec<Digit>,
}

/// Every recorded case.
pub fn digits() -> Vec<Digit> {
    let expected: Expected =
        serde_json::from_slice(&example("digits", "expected.json")).expect("the recording can be read");
    assert!(expected.tolerance <= Digit::TOLERANCE && expected.cases.len() >= 50);
    expected.cases
}

impl Digit {
    const TOLERANCE: f64 = 1e-4;

    pub fn request(&self) -> String {
        json!({ "pixels": self.pixels }).to_string()
    }

    /// Why this is not the right answer to [`Self::request`].
    pub fn mistake(&self, answer: &Answer) -> Option<String> {
        let body = String::from_utf8_lossy(&answer.body);
        let reading: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let confidence = reading["confidence"].as_f64().unwrap_or(f64::NAN);
        let right = answer.status == 200
            && reading["digit"] == self.digit
            && (confidence - self.probabilities[self.digit]).abs() <= Self::TOLERANCE;
        (!right).then(|| format!("expected {}, got {} {body}", self.digit, answer.status))
    }
}
