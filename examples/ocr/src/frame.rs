//! The form in which an image is looked at, and the way back from places in it to the image as it came.
//!
//! Very large images are made smaller, very small ones larger, and long low ones get margins, so that a
//! line does not touch the border. Sizes and rounding are those of the Python package.

use crate::geometry::{Point, Quad};
use crate::picture::Picture;
use crate::resize::resize;

/// The longest side that is looked at.
const LONGEST_SIDE: usize = 2000;
/// The shortest side, and the height below which there are margins.
const SHORTEST_SIDE: usize = 30;
/// An image that is wider than this many of its heights gets margins.
const WIDEST: f64 = 8.0;
/// The models halve an image five times, so sides are multiples of this.
const STEP: f64 = 32.0;

/// An image as it is looked at.
pub struct Frame {
    pub picture: Picture,
    /// Pixels of the original for one of the picture.
    scale: Point,
    /// Rows of the picture above the image.
    margin: usize,
    /// Width and height of the original.
    original: Point,
}

impl Frame {
    pub fn new(image: Picture) -> Self {
        let (width, height) = (image.width(), image.height());
        let (longer, shorter) = (width.max(height), width.min(height));
        let ratio = if longer > LONGEST_SIDE {
            Some(LONGEST_SIDE as f64 / longer as f64)
        } else if shorter < SHORTEST_SIDE {
            Some(SHORTEST_SIDE as f64 / shorter as f64)
        } else {
            None
        };
        let image = match ratio {
            Some(ratio) => resize(&image, stepped(width, ratio), stepped(height, ratio)),
            None => image,
        };
        let scale = Point {
            x: (width as f64 / image.width() as f64) as f32,
            y: (height as f64 / image.height() as f64) as f32,
        };
        let margin = margin(image.width(), image.height());
        let picture = if margin > 0 { image.with_margins(margin) } else { image };
        Self { picture, scale, margin, original: Point { x: width as f32, y: height as f32 } }
    }

    /// The place in the original of a place in the picture.
    pub fn place(&self, quad: &Quad) -> Quad {
        quad.map(|point| Point {
            x: (point.x * self.scale.x).clamp(0.0, self.original.x),
            y: ((point.y - self.margin as f32) * self.scale.y).clamp(0.0, self.original.y),
        })
    }
}

/// A side times the ratio, in steps that the models take; at least one.
pub fn stepped(side: usize, ratio: f64) -> usize {
    let steps = ((side as f64 * ratio).floor() / STEP).round_ties_even();
    (steps.max(1.0) * STEP) as usize
}

/// The black rows above a picture and below it.
fn margin(width: usize, height: usize) -> usize {
    let (wide, high) = (width as f64, height as f64);
    if height > SHORTEST_SIDE && wide / high <= WIDEST {
        return 0;
    }
    let wanted = 2 * SHORTEST_SIDE.max((wide / WIDEST) as usize);
    wanted.abs_diff(height) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: usize, height: usize) -> Frame {
        Frame::new(Picture::new(width, height, vec![255; 3 * width * height]))
    }

    fn size(frame: &Frame) -> (usize, usize) {
        (frame.picture.width(), frame.picture.height())
    }

    #[test]
    fn usual_images_stay_as_they_are() {
        assert_eq!(size(&frame(640, 480)), (640, 480));
        assert_eq!(size(&frame(2000, 300)), (2000, 300));
    }

    #[test]
    fn others_are_brought_to_a_size_that_can_be_looked_at() {
        assert_eq!(size(&frame(4000, 3000)), (1984, 1504));
        assert_eq!(size(&frame(20, 100)), (32, 160));
        // Ten times as wide as high: margins make up the height of a quarter of the width.
        assert_eq!(size(&frame(1000, 100)), (1000, 250));
        assert_eq!(size(&frame(100, 30)), (100, 60));
    }

    #[test]
    fn places_are_given_in_the_original() {
        let square = [(0.0, 0.0), (16.0, 0.0), (16.0, 80.0), (0.0, 80.0)].map(|(x, y)| Point { x, y });
        let placed = frame(20, 100).place(&square);
        assert_eq!((placed[2].x, placed[2].y), (10.0, 50.0));
        let placed = frame(1000, 100).place(&square);
        assert_eq!((placed[0].y, placed[2].y), (0.0, 5.0));
    }
}
