//! The colour between pixels by cubic convolution, with OpenCV's parameter.

use crate::picture::{CHANNELS, Picture};

/// Pixels that a colour is mixed from, in each direction.
const TAPS: usize = 4;
/// The slope at the outer end of the kernel (Keys, 1981).
const SLOPE: f32 = -0.75;

/// The colour at a place. Beyond the border, the nearest pixel goes on.
pub fn sample(picture: &Picture, (x, y): (f64, f64)) -> [u8; CHANNELS] {
    let (columns, across) = taps(x, picture.width());
    let (rows, down) = taps(y, picture.height());
    let mut colour = [0.0_f32; CHANNELS];
    for (row, down) in rows.into_iter().zip(down) {
        for (column, across) in columns.into_iter().zip(across) {
            for (sum, &value) in colour.iter_mut().zip(picture.pixel(column, row)) {
                *sum += down * across * f32::from(value);
            }
        }
    }
    colour.map(|value| value.round_ties_even() as u8)
}

/// The pixels around a place, and the weight of each.
fn taps(place: f64, length: usize) -> ([usize; TAPS], [f32; TAPS]) {
    let before = place.floor();
    let last = length as i64 - 1;
    let pixels = [-1, 0, 1, 2].map(|offset| (before as i64).saturating_add(offset).clamp(0, last) as usize);
    (pixels, weights((place - before) as f32))
}

fn weights(fraction: f32) -> [f32; TAPS] {
    let outer = |x: f32| ((SLOPE * x - 5.0 * SLOPE) * x + 8.0 * SLOPE) * x - 4.0 * SLOPE;
    let inner = |x: f32| ((SLOPE + 2.0) * x - (SLOPE + 3.0)) * x * x + 1.0;
    let (first, second, third) = (outer(fraction + 1.0), inner(fraction), inner(1.0 - fraction));
    [first, second, third, 1.0 - first - second - third]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_smoothly_from_pixel_to_pixel() {
        let pixels = [10, 10, 90, 90].iter().flat_map(|&grey| [grey; CHANNELS]).collect();
        let picture = Picture::new(4, 1, pixels);
        let grey = |x: f64| sample(&picture, (x, 0.0))[0];
        assert_eq!((grey(1.0), grey(1.5), grey(2.0)), (10, 50, 90));
        // Cubic convolution overshoots beside an edge.
        assert!(grey(0.5) < 10 && grey(2.5) > 90);
    }

    #[test]
    fn stands_any_place() {
        let picture = Picture::new(2, 1, vec![10, 10, 10, 90, 90, 90]);
        assert_eq!(sample(&picture, (-7.25, 1e9)), [10; CHANNELS]);
        assert_eq!(sample(&picture, (1e18, -1e300)), [90; CHANNELS]);
        for place in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            sample(&picture, (place, place));
        }
    }
}
