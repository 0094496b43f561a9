//! Pixels in memory, in the form in which the models were trained to see them.
//!
//! Knows no file format and no model.

/// Bytes of a pixel: blue, green, red, the order of the models' channels.
pub const CHANNELS: usize = 3;

/// An image of at least one pixel, row by row from the top.
#[derive(Clone)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Takes pixels over.
    ///
    /// # Panics
    /// If they are not as many as width and height say, or none.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert!(width > 0 && height > 0, "a picture has at least one pixel");
        assert_eq!(pixels.len(), width * height * CHANNELS, "the pixels are those of the picture");
        Self { width, height, pixels }
    }

    /// Pixels from left to right.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes of all of its pixels.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes of one row.
    pub fn row(&self, y: usize) -> &[u8] {
        let length = self.width * CHANNELS;
        &self.pixels[y * length..][..length]
    }

    /// The bytes of one pixel.
    pub fn pixel(&self, x: usize, y: usize) -> &[u8] {
        &self.pixels[(y * self.width + x) * CHANNELS..][..CHANNELS]
    }

    /// The same with `rows` black rows above it and as many below.
    pub fn with_margins(self, rows: usize) -> Self {
        let margin = rows * self.width * CHANNELS;
        let mut pixels = vec![0; self.pixels.len() + 2 * margin];
        pixels[margin..][..self.pixels.len()].copy_from_slice(&self.pixels);
        Self::new(self.width, self.height + 2 * rows, pixels)
    }

    /// Turned upside down.
    pub fn turned(mut self) -> Self {
        self.pixels.reverse();
        self.pixels.chunks_exact_mut(CHANNELS).for_each(<[u8]>::reverse);
        self
    }

    /// Turned by a quarter against the clock: what was at the right is at the top.
    pub fn turned_left(&self) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for x in (0..self.width).rev() {
            for y in 0..self.height {
                pixels.extend_from_slice(self.pixel(x, y));
            }
        }
        Self::new(self.height, self.width, pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three grey pixels.
    fn numbered() -> Picture {
        let pixels = (1..=6).flat_map(|grey| [grey, 10 * grey, 20 * grey]).collect();
        Picture::new(3, 2, pixels)
    }

    fn blues(picture: &Picture) -> Vec<u8> {
        picture.pixels().iter().step_by(CHANNELS).copied().collect()
    }

    #[test]
    fn turns_by_a_half_and_by_a_quarter() {
        let half = numbered().turned();
        assert_eq!((half.width(), half.height()), (3, 2));
        assert_eq!(blues(&half), [6, 5, 4, 3, 2, 1]);
        assert_eq!(half.pixel(0, 0), [6, 60, 120]);
        let quarter = numbered().turned_left();
        assert_eq!((quarter.width(), quarter.height()), (2, 3));
        assert_eq!(blues(&quarter), [3, 6, 2, 5, 1, 4]);
        assert_eq!(quarter.pixel(0, 0), [3, 30, 60]);
    }

    #[test]
    fn margins_are_black_and_above_and_below() {
        let picture = numbered().with_margins(1);
        assert_eq!((picture.width(), picture.height()), (3, 4));
        assert_eq!(blues(&picture), [0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0]);
    }
}
