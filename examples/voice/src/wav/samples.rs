//! The samples of a WAV file, from bytes that may be cut anywhere to one channel of floats.

use modelet_sdk::Problem;

use super::{Encoding, Format, Head};

/// A float sample beyond this, 60 dB over full scale, is no sound, and could make the model overflow.
const LOUDEST: f32 = 1000.0;
/// Bytes of the largest frame: two floats.
const LARGEST_FRAME: usize = 8;

/// Decodes samples, and mixes two channels into one by their mean.
pub struct Samples {
    format: Format,
    /// Bytes of samples that are still to come, where the head says how many there are.
    left: Option<u64>,
    /// The beginning of a frame that the last piece was cut in.
    partial: [u8; LARGEST_FRAME],
    held: usize,
    /// Frames decoded so far.
    frames: u64,
}

impl Samples {
    /// At the first sample.
    pub fn new(head: Head) -> Self {
        Self { format: head.format, left: head.data_bytes, partial: [0; LARGEST_FRAME], held: 0, frames: 0 }
    }

    /// Adds the samples in `bytes` to `mono`, from -1 to 1. What follows the last one is left out.
    ///
    /// # Errors
    /// 422 if a float is no sound. The samples before it are in `mono` then.
    pub fn decode(&mut self, mut bytes: &[u8], mono: &mut Vec<f32>) -> Result<(), Problem> {
        if let Some(left) = &mut self.left {
            let taken = (bytes.len() as u64).min(*left);
            *left -= taken;
            bytes = &bytes[..taken as usize];
        }
        let frame = self.format.frame_bytes();
        if self.held > 0 {
            let taken = (frame - self.held).min(bytes.len());
            self.partial[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held < frame {
                return Ok(());
            }
            self.held = 0;
            let whole = self.partial;
            mono.push(self.mix(&whole[..frame])?);
        }
        let frames = bytes.chunks_exact(frame);
        let rest = frames.remainder();
        mono.reserve(frames.len());
        for frame in frames {
            mono.push(self.mix(frame)?);
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.held = rest.len();
        Ok(())
    }

    /// # Errors
    /// 422 if the body ended before all samples were there.
    pub fn finish(&self) -> Result<(), Problem> {
        let reason = match self.left {
            Some(left @ 1..) => format!("{left} bytes of the samples that its head promises are missing"),
            _ if self.held > 0 => format!(
                "it ends within a frame, {} bytes after the last whole one of {} bytes",
                self.held,
                self.format.frame_bytes()
            ),
            _ => return Ok(()),
        };
        Err(Problem::invalid("data", reason))
    }

    fn mix(&mut self, frame: &[u8]) -> Result<f32, Problem> {
        let mut sum = 0.0;
        for bytes in frame.chunks_exact(self.format.encoding.bytes()) {
            sum += match (self.format.encoding, bytes) {
                (Encoding::Float32, &[a, b, c, d]) => self.audible(f32::from_le_bytes([a, b, c, d]))?,
                (_, bytes) => f32::from(super::u16_at(bytes, 0).cast_signed()) / 32768.0,
            };
        }
        self.frames += 1;
        Ok(sum / self.format.channels as f32)
    }

    fn audible(&self, sample: f32) -> Result<f32, Problem> {
        // Not a number is in no range either.
        if (-LOUDEST..=LOUDEST).contains(&sample) {
            return Ok(sample);
        }
        let reason = format!("frame {} has a sample of {sample}, where full scale is 1", self.frames);
        Err(Problem::invalid("data", reason))
    }
}
