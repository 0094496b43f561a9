//! What is written in a line.

mod plan;
mod text;

use futures::{StreamExt, TryStreamExt, stream};
use modelet_sdk::{Model, Problem, Tensor};

use crate::SIDE_BY_SIDE;
use crate::picture::{CHANNELS, Picture};
use crate::planes::Scale;
use crate::resize::resize;
use plan::Batch;
pub use text::Reading;

/// The height of a line as the model sees it.
pub const HEIGHT: usize = 48;

/// The width of a line in this height, rounded up.
pub fn width_at(line: &Picture, height: usize) -> usize {
    (height as f64 * aspect(line)).ceil() as usize
}

fn aspect(line: &Picture) -> f64 {
    line.width() as f64 / line.height() as f64
}

/// Reads lines, and gives what was read in their order.
///
/// `rec` gives a probability for each of 6,625 characters at every eighth pixel. These numbers stay in the
/// host: they go on to `best`, whose answer is the likeliest character of each place.
///
/// # Errors
/// The host's, if a model cannot be run.
pub async fn read(rec: &Model, best: &Model, lines: &[Picture]) -> Result<Vec<Reading>, Problem> {
    let aspects: Vec<f64> = lines.iter().map(aspect).collect();
    let batches = plan::batches(&aspects);
    let scale = Scale::of_lines();
    let runs = stream::iter(&batches).map(|batch| read_batch(rec, best, lines, batch, &scale));
    let answers: Vec<Vec<Reading>> = runs.buffered(SIDE_BY_SIDE).try_collect().await?;
    let mut readings = vec![Reading::default(); lines.len()];
    for (batch, answer) in batches.iter().zip(answers) {
        for (&line, reading) in batch.lines.iter().zip(answer) {
            readings[line] = reading;
        }
    }
    Ok(readings)
}

async fn read_batch(
    rec: &Model,
    best: &Model,
    lines: &[Picture],
    batch: &Batch,
    scale: &Scale,
) -> Result<Vec<Reading>, Problem> {
    let input = input(lines, batch, scale)?;
    let probabilities = rec.infer([("x", &input)]).await?.into_one()?;
    drop(input);
    let mut answer = best.infer([("probabilities", &probabilities)]).await?;
    let (classes, scores) = (answer.take("class")?, answer.take("score")?);
    let &[rows, steps] = &classes.shape()[..] else {
        return Err(Problem::internal(format!("the model of the likeliest characters gave {classes:?}")));
    };
    let (classes, scores) = (classes.to_vec::<i64>()?, scores.to_vec::<f32>()?);
    if rows != batch.lines.len() || steps == 0 || scores.len() != classes.len() {
        return Err(Problem::internal(format!("{rows} of {} lines were read", batch.lines.len())));
    }
    classes.chunks_exact(steps).zip(scores.chunks_exact(steps)).map(|(c, s)| text::decode(c, s)).collect()
}

/// `[lines, 3, 48, width] f32`, each line at the left.
fn input(lines: &[Picture], batch: &Batch, scale: &Scale) -> Result<Tensor, Problem> {
    let mut numbers = Vec::with_capacity(batch.lines.len() * CHANNELS * HEIGHT * batch.width);
    for &line in &batch.lines {
        let line = &lines[line];
        let resized = resize(line, width_at(line, HEIGHT).min(batch.width), HEIGHT);
        scale.append(&resized, batch.width, &mut numbers);
    }
    Ok(Tensor::new([batch.lines.len(), CHANNELS, HEIGHT, batch.width], numbers)?)
}
