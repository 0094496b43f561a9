//! Reads handwritten digits from images of 8 by 8 pixels.
//!
//! One image, `{"pixels": [64 numbers from 0 to 16]}` or the bare list, is answered with
//! `{"digit": 7, "confidence": 0.99}`; several, `{"images": [[…], …]}`, with `{"digits": […]}`.

mod body;

use modelet_sdk::{Handler, Inputs, Json, Outputs, Problem, Tensor};
use serde::Serialize;

use body::Body;

/// Pixels of an image of 8 by 8.
const PIXELS: usize = 64;
/// The value of full ink; the model takes pixels from 0 to 1.
const FULL_INK: f32 = 16.0;
/// The most images of one request.
const MAX_IMAGES: usize = 256;
/// From 0 to 9.
const DIGITS: usize = 10;

/// The handler of one request, which remembers in what form the answer is expected.
#[derive(Default)]
pub struct Digits {
    many: bool,
}

/// What an image shows.
#[derive(Debug, PartialEq, Serialize)]
pub struct Reading {
    digit: usize,
    /// The probability that the model gives it, from 0 to 1.
    confidence: f32,
}

/// The answer, in the form of the request.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the crate's documentation shows both forms")]
pub enum Answer {
    One(Reading),
    Many { digits: Vec<Reading> },
}

#[modelet_sdk::handler(model = "digits", outputs = ["probabilities"])]
impl Handler for Digits {
    type Request = Json<Body>;
    type Response = Json<Answer>;

    fn preprocess(&mut self, Json(body): Self::Request) -> Result<Inputs, Problem> {
        let (count, scaled) = match body {
            Body::Bare(image) => (1, scale(image, "")?),
            Body::Pixels(image) => (1, scale(image, "pixels")?),
            Body::Images(images) => {
                self.many = true;
                if images.is_empty() || images.len() > MAX_IMAGES {
                    let reason = format!("must be 1 to {MAX_IMAGES} images, got {}", images.len());
                    return Err(Problem::invalid("images", reason));
                }
                let mut batch = Vec::with_capacity(images.len() * PIXELS);
                let count = images.len();
                for (index, image) in images.into_iter().enumerate() {
                    batch.extend(scale(image, &format!("images[{index}]"))?);
                }
                (count, batch)
            }
        };
        Ok(Inputs::from([("input", Tensor::new([count, PIXELS], scaled)?)]))
    }

    fn postprocess(self, outputs: Outputs) -> Result<Self::Response, Problem> {
        let probabilities = outputs.into_one()?.to_vec::<f32>()?;
        let mut readings = probabilities.chunks_exact(DIGITS).map(reading);
        if self.many {
            return Ok(Json(Answer::Many { digits: readings.collect() }));
        }
        let one = readings.next().ok_or_else(|| Problem::internal("the model gave no probabilities"))?;
        Ok(Json(Answer::One(one)))
    }
}

/// Pixels from 0 to 1, made in place. `field` is where the image stands in the body.
fn scale(mut image: Vec<f32>, field: &str) -> Result<Vec<f32>, Problem> {
    if image.len() != PIXELS {
        let reason = format!("must be {PIXELS} numbers, got {}", image.len());
        return Err(if field.is_empty() {
            Problem::new(422, "invalid_input", format!("the list {reason}"))
        } else {
            Problem::invalid(field, reason)
        });
    }
    for (index, pixel) in image.iter_mut().enumerate() {
        if !(0.0..=FULL_INK).contains(pixel) {
            let reason = format!("must be between 0 and {FULL_INK}, got {pixel}");
            return Err(Problem::invalid(format!("{field}[{index}]"), reason));
        }
        *pixel /= FULL_INK;
    }
    Ok(image)
}

/// The likeliest digit; the smaller one of two that are equally likely.
fn reading(probabilities: &[f32]) -> Reading {
    let mut best = Reading { digit: 0, confidence: f32::NEG_INFINITY };
    for (digit, &confidence) in probabilities.iter().enumerate() {
        if confidence > best.confidence {
            best = Reading { digit, confidence };
        }
    }
    best
}

#[cfg(test)]
mod tests;
