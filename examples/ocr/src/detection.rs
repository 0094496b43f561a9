//! Where text is: the detection model's map of probabilities, and the boxes that are drawn from it.
//!
//! The steps and the figures are those of the Python package, after the paper on differentiable
//! binarization (Liao et al., 2020).

mod fill;
mod grow;
mod outlines;

use modelet_sdk::{Model, Problem, Tensor};

use crate::frame::stepped;
use crate::geometry::{Point, Quad, Rectangle, smallest_rectangle};
use crate::picture::{CHANNELS, Picture};
use crate::planes::Scale;
use crate::resize::resize;

/// The side that the model wants a picture's shorter one to have, at least.
const SHORTER_SIDE: usize = 736;
/// The most pixels that the model is given: those of a picture eight times as wide as high. Higher ones
/// than that are given at a smaller scale.
const MAX_PIXELS: f64 = (8 * SHORTER_SIDE * SHORTER_SIDE) as f64;
/// The most outlines that are looked at.
const MAX_OUTLINES: usize = 1000;
/// The least mean probability within a box.
const LEAST_SCORE: f32 = 0.5;
/// The least length of a side in the map, before a box grows and after it.
const LEAST_SIDE: f32 = 3.0;
const LEAST_GROWN_SIDE: f32 = 5.0;
/// The least length of a side in the picture.
const LEAST_PLACED_SIDE: usize = 4;
/// Boxes whose tops are less than this apart are of one row, and read from left to right.
const SAME_ROW: f32 = 10.0;

/// The boxes around the lines of a picture, in the order in which they are read. Their corners are
/// whole pixels, clockwise from the top left.
///
/// # Errors
/// The host's, if the model cannot be run.
pub async fn find(model: &Model, picture: &Picture) -> Result<Vec<Quad>, Problem> {
    let input = input(picture)?;
    let map = model.infer([("x", &input)]).await?.into_one()?;
    drop(input);
    let &[1, 1, height, width] = &map.shape()[..] else {
        return Err(Problem::internal(format!("the detection model gave {map:?}")));
    };
    let map = Map { width, height, probabilities: map.to_vec()? };
    let mut boxes = boxes(&map, picture);
    sort(&mut boxes);
    Ok(boxes)
}

/// What the model says about every place: `[height, width]`, the probability that there is text.
pub struct Map {
    pub width: usize,
    pub height: usize,
    pub probabilities: Vec<f32>,
}

/// `[1, 3, height, width] f32`, with sides that are multiples of 32.
///
/// # Errors
/// If the host has no room for it.
pub fn input(picture: &Picture) -> Result<Tensor, Problem> {
    let (width, height) = (picture.width(), picture.height());
    let wanted = (SHORTER_SIDE as f64 / width.min(height) as f64).max(1.0);
    let possible = (MAX_PIXELS / (width as f64 * height as f64)).sqrt();
    let ratio = wanted.min(possible);
    let resized = resize(picture, stepped(width, ratio), stepped(height, ratio));
    let mut numbers = Vec::with_capacity(resized.pixels().len());
    Scale::of_detection().append(&resized, resized.width(), &mut numbers);
    Ok(Tensor::new([1, CHANNELS, resized.height(), resized.width()], numbers)?)
}

fn boxes(map: &Map, picture: &Picture) -> Vec<Quad> {
    let outlines = outlines::of(map, MAX_OUTLINES).into_iter();
    outlines.filter_map(|outline| place(&grown(map, &smallest_rectangle(outline)?)?, map, picture)).collect()
}

/// The box around a text whose core has been found, unless it is too small or too unsure.
fn grown(map: &Map, core: &Rectangle) -> Option<Rectangle> {
    if core.shorter < LEAST_SIDE || fill::mean(map, &core.corners) < LEAST_SCORE {
        return None;
    }
    let grown = smallest_rectangle(grow::outline(&core.corners))?;
    (grown.shorter >= LEAST_GROWN_SIDE).then_some(grown)
}

/// The same box in the picture, unless it is too small there.
fn place(rectangle: &Rectangle, map: &Map, picture: &Picture) -> Option<Quad> {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let scaled = rectangle.corners.map(|corner| Point {
        x: (corner.x / map.width as f32 * width).round_ties_even().clamp(0.0, width),
        y: (corner.y / map.height as f32 * height).round_ties_even().clamp(0.0, height),
    });
    let placed =
        clockwise(scaled).map(|corner| Point { x: corner.x.min(width - 1.0), y: corner.y.min(height - 1.0) });
    let sides = [placed[0].distance(placed[1]), placed[0].distance(placed[3])];
    sides.iter().all(|&side| side as usize >= LEAST_PLACED_SIDE).then_some(placed)
}

/// Corners from the top left on: the two leftmost are the left ones, whatever their height.
fn clockwise(mut corners: Quad) -> Quad {
    corners.sort_by(|a, b| a.x.total_cmp(&b.x));
    let [mut left, mut right] = [[corners[0], corners[1]], [corners[2], corners[3]]];
    left.sort_by(|a, b| a.y.total_cmp(&b.y));
    right.sort_by(|a, b| a.y.total_cmp(&b.y));
    [left[0], right[0], right[1], left[1]]
}

/// From top to bottom, and within a row from left to right.
fn sort(boxes: &mut [Quad]) {
    boxes.sort_by(|a, b| a[0].y.total_cmp(&b[0].y).then(a[0].x.total_cmp(&b[0].x)));
    for last in 1..boxes.len() {
        for at in (1..=last).rev() {
            let (before, this) = (boxes[at - 1][0], boxes[at][0]);
            if (this.y - before.y).abs() >= SAME_ROW || this.x >= before.x {
                break;
            }
            boxes.swap(at - 1, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quad(x: f32, y: f32) -> Quad {
        [(x, y), (x + 50.0, y), (x + 50.0, y + 12.0), (x, y + 12.0)].map(|(x, y)| Point { x, y })
    }

    #[test]
    fn reads_rows_from_the_left_and_one_below_another() {
        let mut boxes = [quad(300.0, 95.0), quad(10.0, 200.0), quad(10.0, 100.0), quad(150.0, 103.0)];
        sort(&mut boxes);
        let starts = boxes.map(|corners| (corners[0].x, corners[0].y));
        assert_eq!(starts, [(10.0, 100.0), (150.0, 103.0), (300.0, 95.0), (10.0, 200.0)]);
    }

    #[test]
    fn corners_go_clockwise_from_the_top_left() {
        let [a, b, c, d] = quad(10.0, 20.0);
        assert_eq!(clockwise([c, a, d, b]), [a, b, c, d]);
    }

    #[test]
    fn a_very_high_picture_is_given_at_a_smaller_scale() {
        let shape = |width, height| {
            let picture = Picture::new(width, height, vec![0; 3 * width * height]);
            input(&picture).unwrap().shape()
        };
        assert_eq!(shape(640, 480), [1, 3, 736, 992]);
        assert_eq!(shape(1984, 1504), [1, 3, 1504, 1984]);
        assert_eq!(shape(64, 1984), [1, 3, 11_584, 384]);
    }

    #[test]
    fn draws_a_box_around_what_is_likely() {
        let (width, height) = (160, 96);
        let inside = |x: usize, y: usize| (40..120).contains(&x) && (40..52).contains(&y);
        let probabilities =
            (0..width * height).map(|at| f32::from(u8::from(inside(at % width, at / width))) * 0.9);
        let map = Map { width, height, probabilities: probabilities.collect() };
        let picture = Picture::new(320, 192, vec![0; 3 * 320 * 192]);
        let found = boxes(&map, &picture);
        assert_eq!(found.len(), 1);
        // The core is 80 by 12 and grows by area * 1.6 / perimeter on each side; the picture is twice
        // as large as the map.
        let grown = 2.0 * (80.0 * 12.0 * 1.6 / (2.0 * 92.0));
        assert!((found[0][0].x - (80.0 - grown)).abs() <= 2.0, "{:?}", found[0]);
        assert!((found[0][2].y - (104.0 + grown)).abs() <= 2.0, "{:?}", found[0]);
    }
}
