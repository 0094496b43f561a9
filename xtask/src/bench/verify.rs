//! Whether a server's answers are right: every recorded image, outside of what is timed.

use std::fs;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use crate::workspace;

const EXPECTED: &str = "examples/digits/expected.json";

/// A recorded image and the model's answer to it.
#[derive(Deserialize)]
pub struct Case {
    pixels: Vec<u8>,
    digit: u8,
}

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

impl Case {
    /// The request's body.
    pub fn body(&self) -> Vec<u8> {
        json!({ "pixels": self.pixels }).to_string().into_bytes()
    }

    /// Checks an answer to this image.
    pub fn check(&self, answer: &Value) -> anyhow::Result<()> {
        let right = answer["digit"] == self.digit;
        ensure!(right, "the answer is {answer}, and the image shows {}", self.digit);
        Ok(())
    }
}

/// The recorded images.
pub fn cases() -> anyhow::Result<Vec<Case>> {
    let text =
        fs::read(workspace::root().join(EXPECTED)).with_context(|| format!("cannot read {EXPECTED}"))?;
    let expected: Expected = serde_json::from_slice(&text).context(EXPECTED)?;
    Ok(expected.cases)
}

/// Sends every recorded image to `url`.
///
/// # Errors
/// At the first answer that is wrong or has a status other than 200.
pub fn all(url: &str) -> anyhow::Result<()> {
    let mut client = Client::new();
    for case in cases()? {
        case.check(&client.post(url, &case.body())?.value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_are_refused() {
        let case = Case { pixels: vec![0; 64], digit: 7 };
        assert!(case.check(&json!({ "digit": 7, "confidence": 0.9 })).is_ok());
        assert!(case.check(&json!({ "digit": 1 })).is_err());
        assert!(case.check(&json!({ "error": "no" })).is_err());
    }

    #[test]
    fn the_recorded_images_are_there() {
        assert!(cases().unwrap().len() >= 50);
    }
}
