//! Growing a rectangle around the core of a text to the whole of it.
//!
//! The model is trained on shrunk text, which the paper grows back by its area over its perimeter, times
//! a figure. The package does that with Clipper's offsetting, on whole pixels and with round corners; the
//! rounding decides about the last pixel, so it is done alike here.

use std::f64::consts::PI;

use crate::geometry::{Pixel, Quad};

const RATIO: f64 = 1.6;
/// How far the round corners may be off, in pixels.
const ARC_TOLERANCE: f64 = 0.25;

/// Pixels on the outline of the grown rectangle.
pub fn outline(corners: &Quad) -> Vec<Pixel> {
    let distance = distance(corners);
    let centres = corners.map(|corner| (f64::from(corner.x.trunc()), f64::from(corner.y.trunc())));
    let step = (1.0 - ARC_TOLERANCE.min(distance * 0.25) / distance).acos() * 2.0;
    let step = step.max(2.0 / distance);
    let mut pixels = Vec::new();
    for at in 0..centres.len() {
        let [before, centre, after] = [at + 3, at, at + 1].map(|index| centres[index % centres.len()]);
        let [Some(from), Some(to)] = [angle(before, centre), angle(centre, after)] else { continue };
        let turn = (to - from + PI).rem_euclid(2.0 * PI) - PI;
        let steps = (turn.abs() / step).round().max(1.0) as usize;
        for part in 0..steps {
            let angle = from + step.copysign(turn) * part as f64;
            pixels.push(pixel(centre, angle, distance));
        }
        pixels.push(pixel(centre, to, distance));
    }
    pixels
}

/// Area times the figure, over the perimeter.
fn distance(corners: &Quad) -> f64 {
    let (mut area, mut perimeter) = (0.0, 0.0);
    for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        let [fx, fy, tx, ty] = [from.x, from.y, to.x, to.y].map(f64::from);
        area += (fx * ty - tx * fy) / 2.0;
        perimeter += (tx - fx).hypot(ty - fy);
    }
    area.abs() * RATIO / perimeter
}

/// The direction that leads out of a side, of corners that go clockwise; `None` of a side without length.
fn angle(from: (f64, f64), to: (f64, f64)) -> Option<f64> {
    let (x, y) = (to.0 - from.0, to.1 - from.1);
    (x != 0.0 || y != 0.0).then(|| (-x).atan2(y))
}

fn pixel(centre: (f64, f64), angle: f64, distance: f64) -> Pixel {
    let (sine, cosine) = angle.sin_cos();
    Pixel { x: (centre.0 + cosine * distance).round() as i32, y: (centre.1 + sine * distance).round() as i32 }
}
