//! Which lines stand on their heads.

use futures::{StreamExt, TryStreamExt, stream};
use modelet_sdk::{Model, Problem, Tensor};

use crate::SIDE_BY_SIDE;
use crate::picture::{CHANNELS, Picture};
use crate::planes::Scale;
use crate::recognition::{HEIGHT, width_at};
use crate::resize::resize;

/// The width that the model sees; longer lines are pressed together.
const WIDTH: usize = 192;
/// The most lines of a batch.
const MAX_ROWS: usize = 6;
/// The probabilities that the model gives a line: that it is upright, and that it is not.
const CLASSES: usize = 2;
/// From this probability on a line is turned.
const THRESHOLD: f32 = 0.9;

/// Turns the lines that stand on their heads.
///
/// # Errors
/// The host's, if the model cannot be run.
pub async fn turn_upright(model: &Model, lines: Vec<Picture>) -> Result<Vec<Picture>, Problem> {
    let scale = Scale::of_lines();
    let batches = stream::iter(lines.chunks(MAX_ROWS)).map(|batch| are_turned(model, batch, &scale));
    let turned: Vec<Vec<bool>> = batches.buffered(SIDE_BY_SIDE).try_collect().await?;
    let turn = |(line, is_turned): (Picture, bool)| if is_turned { line.turned() } else { line };
    Ok(lines.into_iter().zip(turned.into_iter().flatten()).map(turn).collect())
}

async fn are_turned(model: &Model, lines: &[Picture], scale: &Scale) -> Result<Vec<bool>, Problem> {
    let mut numbers = Vec::with_capacity(lines.len() * CHANNELS * HEIGHT * WIDTH);
    for line in lines {
        let resized = resize(line, width_at(line, HEIGHT).min(WIDTH), HEIGHT);
        scale.append(&resized, WIDTH, &mut numbers);
    }
    let input = Tensor::new([lines.len(), CHANNELS, HEIGHT, WIDTH], numbers)?;
    let probabilities = model.infer([("x", &input)]).await?.into_one()?.to_vec::<f32>()?;
    if probabilities.len() != lines.len() * CLASSES {
        return Err(Problem::internal(format!("the direction model gave {} numbers", probabilities.len())));
    }
    Ok(probabilities
        .chunks_exact(CLASSES)
        .map(|classes| classes[1] > THRESHOLD && classes[1] > classes[0])
        .collect())
}
