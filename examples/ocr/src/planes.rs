//! From the bytes of pixels to the numbers that the models take: -1 for 0, 1 for 255, a plane for each
//! channel.

use crate::picture::{CHANNELS, Picture};

/// The number for each byte.
pub struct Scale([f32; 256]);

impl Scale {
    /// As the detection model's numbers are rounded: times a rounded 1/255, the rest in `f64`.
    pub fn of_detection() -> Self {
        Self::new(|byte| ((f64::from(byte * (1.0 / 255.0) as f32) - 0.5) / 0.5) as f32)
    }

    /// As the others' are.
    pub fn of_lines() -> Self {
        Self::new(|byte| (byte / 255.0 - 0.5) / 0.5)
    }

    fn new(number: impl Fn(f32) -> f32) -> Self {
        Self(std::array::from_fn(|byte| number(byte as f32)))
    }

    /// Appends the three planes of a picture, each row filled up to `width` with 0.
    pub fn append(&self, picture: &Picture, width: usize, numbers: &mut Vec<f32>) {
        for channel in 0..CHANNELS {
            for y in 0..picture.height() {
                let row = picture.row(y)[channel..].iter().step_by(CHANNELS);
                numbers.extend(row.map(|&byte| self.0[usize::from(byte)]));
                numbers.resize(numbers.len() + width - picture.width(), 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plane_after_another_filled_up_at_the_right() {
        let picture = Picture::new(1, 2, vec![0, 255, 0, 0, 255, 255]);
        let mut numbers = Vec::new();
        Scale::of_lines().append(&picture, 2, &mut numbers);
        assert_eq!(numbers, [-1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0]);
    }
}
