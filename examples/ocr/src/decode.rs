//! From the bytes of a PNG or JPEG file to pixels.
//!
//! A file of a few kilobytes can claim any size, so that its header is looked at before anything is
//! decoded, and what the decoder may allocate is bounded.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use modelet_sdk::Problem;

use crate::picture::Picture;

/// What the problems name: the body is the image.
pub const FIELD: &str = "image";
/// The most pixels. With 16 bits for each of four channels, and a second copy in 8 bits, they stay within
/// the memory that the manifest gives.
const MAX_PIXELS: u64 = 16_000_000;
/// The most times that one side may be as long as the other.
const MAX_ASPECT: u64 = 100;
/// What the decoder may allocate beside the pixels: for a profile of colours, which can be a bomb of its own.
const MAX_DECODER_BYTES: u64 = 8 << 20;

/// Reads a file.
///
/// # Errors
/// 422 at `image` if it is not a whole PNG or JPEG file, or its sides are beyond what is looked at.
pub fn decode(file: &[u8]) -> Result<Picture, Problem> {
    if file.is_empty() {
        return Err(Problem::invalid(FIELD, "the body is empty; send the bytes of a PNG or JPEG file"));
    }
    let mut reader = ImageReader::new(Cursor::new(file));
    match image::guess_format(file) {
        Ok(ImageFormat::Jpeg) if !has_end(file) => {
            return Err(Problem::invalid(FIELD, "the JPEG file breaks off; send all of it"));
        }
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => reader.set_format(format),
        _ => return Err(Problem::invalid(FIELD, "the body is neither a PNG nor a JPEG file")),
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?;
    Ok(to_picture(image))
}

/// Whether a JPEG file's last scan is followed by the mark of its end. The decoder makes up for what is
/// missing with grey, and grey has no text.
fn has_end(file: &[u8]) -> bool {
    let last = |mark: [u8; 2]| file.windows(2).rposition(|bytes| bytes == mark);
    last([0xFF, 0xD9]) > last([0xFF, 0xDA])
}

fn unreadable(error: &ImageError) -> Problem {
    Problem::invalid(FIELD, format!("the file cannot be decoded: {error}"))
}

fn check_size(width: u32, height: u32) -> Result<(), Problem> {
    let (longer, shorter) = (u64::from(width.max(height)), u64::from(width.min(height)));
    let wanted = if shorter == 0 {
        "send one with something in it".to_owned()
    } else if longer * shorter > MAX_PIXELS {
        format!("send one of at most {MAX_PIXELS} in all")
    } else if longer > MAX_ASPECT * shorter {
        format!("send one whose longer side is at most {MAX_ASPECT} times the other")
    } else {
        return Ok(());
    };
    Err(Problem::invalid(FIELD, format!("is {width} by {height} pixels; {wanted}")))
}

/// What each pixel is without its transparency.
fn to_picture(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = match image.color().has_alpha() {
        true if image.color().has_color() => without_alpha(&image.into_rgba8().into_raw()),
        true => without_alpha_of_grey(&image.into_luma_alpha8().into_raw()),
        false => blue_first(image.into_rgb8().into_raw()),
    };
    Picture::new(width, height, pixels)
}

fn blue_first(mut pixels: Vec<u8>) -> Vec<u8> {
    pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
    pixels
}

/// Colours with transparency, by the Python package's rule: what cannot be seen is black, and then the
/// colours are inverted, so that light text on nothing becomes dark text on white. An image that is
/// black wherever it can be seen gets a white ground instead.
fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    let seen = |pixel: &[u8]| if pixel[3] == 0 { [0; 3] } else { [pixel[2], pixel[1], pixel[0]] };
    let is_black = rgba.chunks_exact(4).all(|pixel| seen(pixel) == [0; 3]);
    let mut pixels = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        pixels.extend(if is_black { [255 - pixel[3]; 3] } else { seen(pixel).map(|value| 255 - value) });
    }
    pixels
}

/// Grey with transparency stands on a white ground.
fn without_alpha_of_grey(greys: &[u8]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(greys.len() / 2 * 3);
    for pixel in greys.chunks_exact(2) {
        let seen = if pixel[1] == 0 { 0 } else { pixel[0] };
        pixels.extend([seen.saturating_add(255 - pixel[1]); 3]);
    }
    pixels
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    fn png(width: u32, height: u32, color: ExtendedColorType, pixels: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        image::codecs::png::PngEncoder::new(&mut file).write_image(pixels, width, height, color).unwrap();
        file
    }

    fn white(width: u32, height: u32) -> Vec<u8> {
        png(width, height, ExtendedColorType::L8, &vec![255; (width * height) as usize])
    }

    /// A small file whose header claims another size, with a checksum that is right.
    fn claiming(width: u32, height: u32) -> Vec<u8> {
        let mut file = white(8, 8);
        file[16..20].copy_from_slice(&width.to_be_bytes());
        file[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32fast::hash(&file[12..29]);
        file[29..33].copy_from_slice(&checksum.to_be_bytes());
        file
    }

    fn jpeg() -> Vec<u8> {
        let mut file = Vec::new();
        let pixels: Vec<u8> = (0..64 * 64 * 3).map(|at| (at * 7 % 251) as u8).collect();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 90);
        encoder.write_image(&pixels, 64, 64, ExtendedColorType::Rgb8).unwrap();
        file
    }

    /// What is said about a file that is not taken.
    fn refused(file: &[u8]) -> String {
        let problem = decode(file).err().expect("the file is not taken");
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some("image")), "{problem}");
        problem.detail
    }

    #[test]
    fn refuses_a_size_before_it_decodes() {
        assert!(refused(&claiming(60_000, 60_000)).contains("is 60000 by 60000 pixels"));
        assert!(refused(&claiming(8, 2_000_001)).contains("is 8 by 2000001 pixels"));
        refused(&claiming(u32::MAX / 2, 40));
        refused(&claiming(0, 8));
    }

    #[test]
    fn refuses_sides_that_are_too_unlike() {
        assert!(refused(&white(1, 101)).contains("at most 100 times the other"));
        assert!(refused(&white(2050, 20)).contains("at most 100 times the other"));
        decode(&white(2000, 20)).unwrap();
        decode(&white(1, 1)).unwrap();
    }

    #[test]
    fn refuses_what_is_no_image_or_not_all_of_it() {
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"hello").contains("neither a PNG nor a JPEG"));
        assert!(refused(b"GIF89a______________").contains("neither a PNG nor a JPEG"));
        for file in [white(64, 64), jpeg()] {
            for length in [4, 9, 20, 33, file.len() / 2] {
                refused(&file[..length]);
            }
        }
        refused(&claiming(900, 900));
        assert!(refused(&jpeg()[..jpeg().len() - 1]).contains("breaks off"));
        decode(&jpeg()).unwrap();
    }

    #[test]
    fn passes_over_a_profile_of_colours_that_is_a_bomb() {
        let mut encoder = ZlibEncoder::new(b"iCCPx\0\0".to_vec(), Compression::fast());
        encoder.write_all(&vec![0; 2 * MAX_DECODER_BYTES as usize]).unwrap();
        let chunk = encoder.finish().unwrap();
        let length = (chunk.len() - 4) as u32;
        let checksum = crc32fast::hash(&chunk);
        let mut file = white(64, 64);
        file.splice(33..33, [&length.to_be_bytes()[..], &chunk, &checksum.to_be_bytes()].concat());
        assert_eq!(decode(&file).unwrap().pixels(), decode(&white(64, 64)).unwrap().pixels());
    }

    #[test]
    fn damaged_files_are_refused_or_read_but_do_no_harm() {
        for file in [white(64, 64), jpeg()] {
            for at in 0..file.len() {
                let mut damaged = file.clone();
                damaged[at] ^= 0x5A;
                if let Err(problem) = decode(&damaged) {
                    assert_eq!(problem.status, 422);
                }
            }
        }
    }

    #[test]
    fn every_form_of_colour_comes_blue_first() {
        let pixels = |color, pixels: &[u8]| decode(&png(1, 1, color, pixels)).unwrap().pixels().to_vec();
        assert_eq!(pixels(ExtendedColorType::Rgb8, &[1, 2, 3]), [3, 2, 1]);
        assert_eq!(pixels(ExtendedColorType::L8, &[9]), [9, 9, 9]);
        assert_eq!(pixels(ExtendedColorType::Rgb16, &[1, 1, 2, 2, 3, 3]), [3, 2, 1]);
    }

    #[test]
    fn what_is_transparent_gets_a_ground_that_text_stands_out_from() {
        let two = |color, pixels: &[u8]| decode(&png(2, 1, color, pixels)).unwrap().pixels().to_vec();
        let light_on_nothing = two(ExtendedColorType::Rgba8, &[255, 255, 250, 255, 255, 255, 255, 0]);
        assert_eq!(light_on_nothing, [5, 0, 0, 255, 255, 255]);
        let black_on_nothing = two(ExtendedColorType::Rgba8, &[0, 0, 0, 255, 0, 0, 0, 0]);
        assert_eq!(black_on_nothing, [0, 0, 0, 255, 255, 255]);
        assert_eq!(two(ExtendedColorType::La8, &[40, 255, 40, 0]), [40, 40, 40, 255, 255, 255]);
    }
}
