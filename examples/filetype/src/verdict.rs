//! From the model's probabilities to the answer: which type, and whether the model is sure enough.
//!
//! Knows nothing of bytes and requests.

use modelet_sdk::Problem;
use serde::Serialize;

use crate::package::{ContentType, EMPTY, OUTPUTS, TEXT, UNKNOWN};

/// The type of a file.
#[derive(Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Such as `python`.
    label: &'static str,
    /// The model's probability, or 1 where no model was needed.
    confidence: f32,
    mime_type: &'static str,
    group: &'static str,
    description: &'static str,
    extensions: &'static [&'static str],
    is_text: bool,
    /// What the model saw, which differs from `label` where it was not sure enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_label: Option<&'static str>,
}

impl Verdict {
    /// Of a file with no bytes.
    pub fn empty() -> Self {
        Self::new(EMPTY, 1.0, None)
    }

    /// Of a file with too few bytes for the model.
    pub fn few(is_text: bool) -> Self {
        Self::new(generic(is_text), 1.0, None)
    }

    /// Of a file that the model has seen, by `[214]` probabilities.
    ///
    /// # Errors
    /// If there are not as many as the package says.
    pub fn from_probabilities(probabilities: &[f32]) -> Result<Self, Problem> {
        if probabilities.len() != OUTPUTS.len() {
            let detail =
                format!("the model gave {} probabilities, not {}", probabilities.len(), OUTPUTS.len());
            return Err(Problem::internal(detail));
        }
        let (mut best, mut confidence) = (&OUTPUTS[0], f32::NEG_INFINITY);
        for (output, &probability) in OUTPUTS.iter().zip(probabilities) {
            if probability > confidence {
                (best, confidence) = (output, probability);
            }
        }
        let is_sure = f64::from(confidence) >= best.threshold;
        let answer = if is_sure { best.answer } else { generic(best.answer.is_text) };
        Ok(Self::new(answer, confidence, Some(best.model.label)))
    }

    fn new(of: &ContentType, confidence: f32, model_label: Option<&'static str>) -> Self {
        Self {
            label: of.label,
            confidence,
            mime_type: of.mime_type,
            group: of.group,
            description: of.description,
            extensions: of.extensions,
            is_text: of.is_text,
            model_label,
        }
    }
}

/// What is left to say when the type is not known.
fn generic(is_text: bool) -> &'static ContentType {
    if is_text { TEXT } else { UNKNOWN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(label: &str, confidence: f32) -> Verdict {
        let mut probabilities = vec![0.0; OUTPUTS.len()];
        let output = OUTPUTS.iter().position(|output| output.model.label == label).unwrap();
        probabilities[output] = confidence;
        Verdict::from_probabilities(&probabilities).unwrap()
    }

    #[test]
    fn believes_the_model_from_each_types_threshold_on() {
        assert_eq!(verdict("python", 0.5).label, "python");
        assert_eq!(verdict("python", 0.49).label, "txt");
        assert_eq!(verdict("markdown", 0.74).label, "txt");
        assert_eq!(verdict("markdown", 0.75).label, "markdown");
        assert_eq!(verdict("png", 0.4).label, "unknown");
    }

    #[test]
    fn says_what_the_model_saw() {
        assert_eq!(verdict("png", 0.4).model_label, Some("png"));
        assert_eq!(verdict("randomtxt", 0.9).label, "txt");
        assert_eq!(Verdict::empty().model_label, None);
    }

    #[test]
    fn refuses_another_models_output() {
        assert_eq!(Verdict::from_probabilities(&[1.0; 3]).unwrap_err().status, 500);
    }
}
