//! Reads the lines of text in an image.
//!
//! The body is a PNG or JPEG file. The answer is
//! `{"lines": [{"text": "Invoice 2026-1142", "score": 0.97, "box": [[x, y], …]}, …]}`, in the order in
//! which they are read. Three models do it one after the other: one finds lines, one tells which of them
//! stand on their heads, one reads them. What is done between them is what RapidOCR's Python package does.

mod crop;
mod decode;
mod detection;
mod direction;
mod frame;
mod geometry;
mod picture;
mod planes;
mod recognition;
mod resize;

use modelet_sdk::{Json, Model, Problem, try_join};
use serde::Serialize;

use frame::Frame;
use geometry::Quad;
use recognition::Reading;

/// Batches of lines that are with the host at one time. More of them would not make the host faster, and
/// each holds its tensors.
const SIDE_BY_SIDE: usize = 4;
/// Readings that are less sure are left out.
const LEAST_SCORE: f32 = 0.5;

/// What an image says.
#[derive(Debug, Serialize)]
pub struct Answer {
    lines: Vec<Line>,
}

/// One line of text.
#[derive(Debug, Serialize)]
pub struct Line {
    text: String,
    /// The mean of the probabilities that the model gives its characters, from 0 to 1.
    score: f32,
    /// The corners in pixels of the image, clockwise from the top left of the box, whichever way the text runs.
    #[serde(rename = "box")]
    corners: [[f32; 2]; 4],
}

/// Answers a request.
///
/// # Errors
/// 422 at `image` if the body is not an image that can be looked at; the host's, if a model cannot be run.
#[modelet_sdk::handler]
pub async fn ocr(file: Vec<u8>) -> Result<Json<Answer>, Problem> {
    let frame = Frame::new(decode::decode(&file)?);
    drop(file);
    let boxes = detection::find(&Model::load("det").await?, &frame.picture).await?;
    if boxes.is_empty() {
        return Ok(Json(Answer { lines: Vec::new() }));
    }
    let (cls, rec, best) = try_join!(Model::load("cls"), Model::load("rec"), Model::load("best"))?;
    let crops = crop::all(&frame.picture, &boxes)?;
    let upright = direction::turn_upright(&cls, crops).await?;
    let readings = recognition::read(&rec, &best, &upright).await?;
    let lines = boxes.iter().zip(readings).filter(|(_, reading)| reading.score >= LEAST_SCORE);
    let lines = lines.map(|(corners, reading)| Line::new(reading, &frame.place(corners)));
    Ok(Json(Answer { lines: lines.collect() }))
}

impl Line {
    fn new(reading: Reading, corners: &Quad) -> Self {
        Self { text: reading.text, score: reading.score, corners: corners.map(|corner| [corner.x, corner.y]) }
    }
}

#[cfg(test)]
mod tests;
