//! Resizing with linear interpolation, in the fixed-point arithmetic of OpenCV's `resize`.
//!
//! The models were trained on images that OpenCV had resized, and the expected answers were recorded
//! with it, so the numbers are the same to the last bit: weights of 11 bits, the sum along a row kept in
//! full, that down a column cut to 16 bits before each product.

use crate::picture::{CHANNELS, Picture};

const ONE: f32 = 2048.0;

/// Where a pixel of the result comes from: two neighbours, and the weight of each.
#[derive(Clone, Copy)]
struct Source {
    first: usize,
    second: usize,
    weights: [i32; 2],
}

/// The picture in another size, each at least 1.
pub fn resize(picture: &Picture, width: usize, height: usize) -> Picture {
    if (width, height) == (picture.width(), picture.height()) {
        return picture.clone();
    }
    let columns = sources(picture.width(), width);
    let rows = sources(picture.height(), height);
    let mut pixels = Vec::with_capacity(width * height * CHANNELS);
    // Rows of the result go down through those of the source, so two stretched rows are enough.
    let mut stretched = [Stretched::new(width), Stretched::new(width)];
    for row in rows {
        if stretched[0].of != Some(row.first) {
            stretched.swap(0, 1);
        }
        for (kept, of) in stretched.iter_mut().zip([row.first, row.second]) {
            kept.fill(picture, of, &columns);
        }
        let [above, below] = &stretched;
        pixels.extend(above.values.iter().zip(&below.values).map(|(&above, &below)| {
            let sum = ((row.weights[0] * (above >> 4)) >> 16) + ((row.weights[1] * (below >> 4)) >> 16);
            ((sum + 2) >> 2) as u8
        }));
    }
    Picture::new(width, height, pixels)
}

/// A row of the source in the width of the result, with 11 bits below the point.
struct Stretched {
    of: Option<usize>,
    values: Vec<i32>,
}

impl Stretched {
    fn new(width: usize) -> Self {
        Self { of: None, values: vec![0; width * CHANNELS] }
    }

    fn fill(&mut self, picture: &Picture, of: usize, columns: &[Source]) {
        if self.of.replace(of) == Some(of) {
            return;
        }
        let row = picture.row(of);
        for (values, column) in self.values.chunks_exact_mut(CHANNELS).zip(columns) {
            let first = &row[column.first * CHANNELS..][..CHANNELS];
            let second = &row[column.second * CHANNELS..][..CHANNELS];
            for ((value, &first), &second) in values.iter_mut().zip(first).zip(second) {
                *value = i32::from(first) * column.weights[0] + i32::from(second) * column.weights[1];
            }
        }
    }
}

fn sources(from: usize, to: usize) -> Vec<Source> {
    let step = 1.0 / (to as f64 / from as f64);
    (0..to)
        .map(|at| {
            let centre = ((at as f64 + 0.5) * step - 0.5) as f32;
            let first = centre.floor();
            let fraction = centre - first;
            let [first, second] = [first, first + 1.0].map(|pixel| (pixel.max(0.0) as usize).min(from - 1));
            let weights = [1.0 - fraction, fraction].map(|weight| (weight * ONE).round_ties_even() as i32);
            Source { first, second, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greys(picture: &Picture) -> Vec<u8> {
        picture.pixels().iter().step_by(CHANNELS).copied().collect()
    }

    fn picture(width: usize, height: usize, greys: &[u8]) -> Picture {
        Picture::new(width, height, greys.iter().flat_map(|&grey| [grey; CHANNELS]).collect())
    }

    /// Half the size is the mean of four, rounded up.
    #[test]
    fn pixels_are_mixed_by_their_nearness() {
        let small = resize(&picture(4, 2, &[0, 1, 200, 100, 0, 1, 0, 101]), 2, 1);
        assert_eq!(greys(&small), [1, 100]);
        let wide = resize(&picture(2, 1, &[0, 200]), 4, 1);
        assert_eq!(greys(&wide), [0, 50, 150, 200]);
        let high = resize(&picture(1, 2, &[0, 200]), 1, 4);
        assert_eq!(greys(&high), [0, 50, 150, 200]);
    }

    #[test]
    fn a_single_pixel_fills_any_size() {
        assert_eq!(greys(&resize(&picture(1, 1, &[77]), 3, 2)), [77; 6]);
        assert_eq!(greys(&resize(&picture(3, 2, &[255; 6]), 1, 1)), [255]);
    }
}
