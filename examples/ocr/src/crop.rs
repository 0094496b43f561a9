//! Cutting boxes out of a picture and laying them straight.
//!
//! Knows boxes and pixels, and nothing of what stands in them.

mod cubic;

use modelet_sdk::Problem;

use crate::decode::FIELD;
use crate::geometry::Quad;
use crate::picture::{CHANNELS, Picture};

/// The most pixels of all crops: four times those of the largest picture. Boxes of lines hardly overlap,
/// so only an image that is made to deceive the detection has more.
const MAX_PIXELS: u64 = 16_000_000;
/// A crop that is this many times as high as wide is taken for a line that was turned by a quarter.
const UPRIGHT: f64 = 1.5;

/// The content of each box as a picture of its own.
///
/// # Errors
/// 422 at `image` if there are more pixels in the boxes than a page of text has.
pub fn all(picture: &Picture, boxes: &[Quad]) -> Result<Vec<Picture>, Problem> {
    let pixels: u64 = boxes.iter().map(size).map(|(width, height)| width as u64 * height as u64).sum();
    if pixels > MAX_PIXELS {
        let reason = format!("the {} boxes found in it overlap too much to be lines of text", boxes.len());
        return Err(Problem::invalid(FIELD, reason));
    }
    let crops = boxes.iter().map(|corners| {
        let crop = straighten(picture, corners);
        let is_upright = crop.height() as f64 / crop.width() as f64 >= UPRIGHT;
        if is_upright { crop.turned_left() } else { crop }
    });
    Ok(crops.collect())
}

/// Width and height of the crop: the longer of each two sides.
fn size(corners: &Quad) -> (usize, usize) {
    let [a, b, c, d] = *corners;
    let width = a.distance(b).max(c.distance(d));
    let height = a.distance(d).max(b.distance(c));
    ((width as usize).max(1), (height as usize).max(1))
}

fn straighten(picture: &Picture, corners: &Quad) -> Picture {
    let (width, height) = size(corners);
    let projection = Projection::new(corners, width, height);
    let mut pixels = Vec::with_capacity(width * height * CHANNELS);
    for y in 0..height {
        for x in 0..width {
            pixels.extend(cubic::sample(picture, projection.place(x, y)));
        }
    }
    Picture::new(width, height, pixels)
}

/// From places in a crop to places in the picture.
struct Projection([[f64; 3]; 3]);

impl Projection {
    /// The projection that takes the corners of a square to those of the box (Heckbert, Fundamentals of
    /// Texture Mapping, 1989), with the crop as the square.
    fn new(corners: &Quad, width: usize, height: usize) -> Self {
        let [a, b, c, d] = corners.map(|corner| (f64::from(corner.x), f64::from(corner.y)));
        let (right, below) = ((b.0 - c.0, b.1 - c.1), (d.0 - c.0, d.1 - c.1));
        let bend = (a.0 - b.0 + c.0 - d.0, a.1 - b.1 + c.1 - d.1);
        let denominator = cross(right, below);
        let (g, h) = if denominator == 0.0 {
            // Three corners in line have no projection; this treats the box as a parallelogram.
            (0.0, 0.0)
        } else {
            (cross(bend, below) / denominator, cross(right, bend) / denominator)
        };
        let (w, v) = (width as f64, height as f64);
        Self([
            [(b.0 - a.0 + g * b.0) / w, (d.0 - a.0 + h * d.0) / v, a.0],
            [(b.1 - a.1 + g * b.1) / w, (d.1 - a.1 + h * d.1) / v, a.1],
            [g / w, h / v, 1.0],
        ])
    }

    fn place(&self, x: usize, y: usize) -> (f64, f64) {
        let (x, y) = (x as f64, y as f64);
        let [across, down, scale] = self.0.map(|[a, b, c]| a * x + b * y + c);
        if scale == 0.0 { (0.0, 0.0) } else { (across / scale, down / scale) }
    }
}

fn cross(a: (f64, f64), b: (f64, f64)) -> f64 {
    a.0 * b.1 - a.1 * b.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Point;

    fn quad(corners: [(f32, f32); 4]) -> Quad {
        corners.map(|(x, y)| Point { x, y })
    }

    fn slope() -> Picture {
        let pixels = (0..40).flat_map(|y: u8| (0..60).map(move |x: u8| (x, y)));
        Picture::new(60, 40, pixels.flat_map(|(x, y)| [x, y, x + y]).collect())
    }

    #[test]
    fn an_upright_box_is_cut_out_as_it_is() {
        let crop = &all(&slope(), &[quad([(5.0, 7.0), (45.0, 7.0), (45.0, 17.0), (5.0, 17.0)])]).unwrap()[0];
        assert_eq!((crop.width(), crop.height()), (40, 10));
        assert_eq!(crop.pixel(0, 0), [5, 7, 12]);
        assert_eq!(crop.pixel(39, 9), [44, 16, 60]);
    }

    #[test]
    fn a_leaning_box_is_laid_straight() {
        // 30 along and 10 down for each, at right angles: a row goes down the slope by a third.
        let corners = quad([(10.0, 5.0), (40.0, 15.0), (37.0, 24.0), (7.0, 14.0)]);
        let crop = &all(&slope(), &[corners]).unwrap()[0];
        assert_eq!((crop.width(), crop.height()), (31, 9));
        let [x, y, sum] = crop.pixel(15, 0).try_into().unwrap();
        assert!(x.abs_diff(25_u8) <= 1 && y.abs_diff(10_u8) <= 1 && sum.abs_diff(35_u8) <= 1);
    }

    #[test]
    fn a_high_box_is_turned_into_a_line() {
        let crop = &all(&slope(), &[quad([(5.0, 5.0), (15.0, 5.0), (15.0, 35.0), (5.0, 35.0)])]).unwrap()[0];
        assert_eq!((crop.width(), crop.height()), (30, 10));
        assert_eq!(crop.pixel(0, 0), [14, 5, 19]);
    }

    #[test]
    fn corners_in_line_do_no_harm() {
        let crops = all(&slope(), &[quad([(5.0, 5.0), (25.0, 5.0), (30.0, 5.0), (5.0, 25.0)])]).unwrap();
        assert_eq!(crops.len(), 1);
    }

    #[test]
    fn refuses_boxes_that_cover_the_picture_again_and_again() {
        let large = quad([(0.0, 0.0), (1999.0, 0.0), (1999.0, 1999.0), (0.0, 1999.0)]);
        let problem = all(&slope(), &[large; 5]).err().unwrap();
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some("image")));
    }
}
