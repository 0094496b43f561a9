//! The head of a WAV file, read from a stream that may be cut at any byte.
//!
//! Owns RIFF's chunks and the `fmt ` chunk (Microsoft's "Multimedia Programming Interface and Data
//! Specifications 1.0" and `WAVEFORMATEXTENSIBLE`). What comes after the head is read by [`samples`].

pub mod samples;
#[cfg(test)]
mod tests;

use modelet_sdk::Problem;

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    /// Whole numbers of 16 bits.
    Pcm16,
    /// IEEE floats of 32 bits, 1 for full scale.
    Float32,
}

impl Encoding {
    /// Bytes of one sample.
    pub fn bytes(self) -> usize {
        match self {
            Self::Pcm16 => 2,
            Self::Float32 => 4,
        }
    }
}

/// What the head says about the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    pub encoding: Encoding,
    /// 1 or 2.
    pub channels: usize,
    /// Samples of a channel in a second. Any number: who resamples says which it takes.
    pub sample_rate: u32,
}

impl Format {
    /// Bytes of one sample of every channel.
    pub fn frame_bytes(&self) -> usize {
        self.encoding.bytes() * self.channels
    }
}

/// All that has to be known before the first sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    pub format: Format,
    /// Bytes of samples; `None` if the file goes on to the body's end.
    pub data_bytes: Option<u64>,
}

/// No body is larger. Programs that write to a pipe do not know the length, and put a number there
/// that no body can have: `ffmpeg` 0xFFFFFFFF, others about 2 GiB.
const LARGEST_BODY: u64 = 1 << 30;
/// Of the `fmt ` chunk, as much as its longest form has.
const FMT_BYTES: usize = 40;
/// The end of the identifiers that `WAVEFORMATEXTENSIBLE` has in place of the old format numbers.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// Reads the head, piece by piece.
pub struct HeadReader {
    next: Part,
    /// The beginning of the next part.
    held: Vec<u8>,
    /// Bytes to leave out before it.
    skip: u64,
    format: Option<Format>,
}

enum Part {
    Riff,
    ChunkHead,
    /// The `fmt ` chunk of this many bytes.
    Fmt(usize),
}

impl HeadReader {
    /// At the first byte of the body.
    pub fn new() -> Self {
        Self { next: Part::Riff, held: Vec::with_capacity(FMT_BYTES), skip: 0, format: None }
    }

    /// Takes from the front of `bytes` what belongs to the head. Gives the head when it is complete;
    /// what is left in `bytes` are samples then, and nothing is left otherwise.
    ///
    /// # Errors
    /// 422 with the field at fault, if this is no WAV file, or one of a kind that is not read here.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, Problem> {
        loop {
            let skipped = self.skip.min(bytes.len() as u64);
            *bytes = &bytes[skipped as usize..];
            self.skip -= skipped;
            let needed = match self.next {
                Part::Riff => 12,
                Part::ChunkHead => 8,
                Part::Fmt(size) => size.min(FMT_BYTES),
            };
            let (taken, rest) = bytes.split_at((needed - self.held.len()).min(bytes.len()));
            self.held.extend_from_slice(taken);
            *bytes = rest;
            if self.skip > 0 || self.held.len() < needed {
                return Ok(None);
            }
            let part = std::mem::take(&mut self.held);
            match self.next {
                Part::Riff => self.riff(&part)?,
                Part::Fmt(size) => self.fmt(&part, size)?,
                Part::ChunkHead => {
                    if let Some(head) = self.chunk(&part)? {
                        return Ok(Some(head));
                    }
                }
            }
        }
    }

    /// What a body is told that ends here.
    pub fn ended(&self) -> Problem {
        let missing = match (&self.next, self.format) {
            (Part::Riff, _) => "the 12 bytes that a WAV file begins with",
            (_, None) => "the `fmt ` chunk, which says what the samples are",
            (_, Some(_)) => "the `data` chunk, which has the samples",
        };
        Problem::invalid("body", format!("it ends before {missing}"))
    }

    fn riff(&mut self, part: &[u8]) -> Result<(), Problem> {
        if !part.starts_with(b"RIFF") || !part.ends_with(b"WAVE") {
            let reason = "it does not begin as a WAV file does, with `RIFF`, a size and `WAVE`";
            return Err(Problem::invalid("body", reason));
        }
        self.next = Part::ChunkHead;
        Ok(())
    }

    fn chunk(&mut self, part: &[u8]) -> Result<Option<Head>, Problem> {
        let size = u32_at(part, 4);
        match (&part[..4], self.format) {
            (b"fmt ", None) if size < 16 => {
                Err(Problem::invalid("fmt", format!("the chunk has {size} bytes where at least 16 must be")))
            }
            (b"fmt ", None) => {
                self.next = Part::Fmt(size as usize);
                Ok(None)
            }
            (b"fmt ", Some(_)) => Err(Problem::invalid("fmt", "there is a second one")),
            (b"data", None) => Err(Problem::invalid("fmt", "the chunk must come before `data`")),
            (b"data", Some(format)) => data(format, u64::from(size)).map(Some),
            _ => {
                self.skip = padded(u64::from(size));
                Ok(None)
            }
        }
    }

    fn fmt(&mut self, part: &[u8], size: usize) -> Result<(), Problem> {
        self.format = Some(format(part)?);
        self.skip = padded(size as u64) - part.len() as u64;
        self.next = Part::ChunkHead;
        Ok(())
    }
}

/// Chunks begin at even places.
fn padded(size: u64) -> u64 {
    size.next_multiple_of(2)
}

fn data(format: Format, size: u64) -> Result<Head, Problem> {
    let data_bytes = Some(size).filter(|size| (1..=LARGEST_BODY).contains(size));
    let frame = format.frame_bytes() as u64;
    match data_bytes {
        Some(size) if !size.is_multiple_of(frame) => {
            let reason = format!("{size} bytes are no whole number of frames of {frame} bytes");
            Err(Problem::invalid("data.size", reason))
        }
        _ => Ok(Head { format, data_bytes }),
    }
}

fn format(part: &[u8]) -> Result<Format, Problem> {
    let (channels, sample_rate) = (u16_at(part, 2), u32_at(part, 4));
    let (block_align, bits) = (u16_at(part, 12), u16_at(part, 14));
    let mut tag = u16_at(part, 0);
    if tag == 0xfffe && part.len() == FMT_BYTES && part[26..] == GUID_TAIL {
        tag = u16_at(part, 24);
    }
    let encoding = match (tag, bits) {
        (1, 16) => Encoding::Pcm16,
        (3, 32) => Encoding::Float32,
        (1 | 3, _) => {
            let (kind, only) = if tag == 1 { ("PCM", 16) } else { ("floats", 32) };
            let reason = format!("must be {only} for {kind}, got {bits}");
            return Err(Problem::invalid("fmt.bits_per_sample", reason));
        }
        _ => {
            let reason = format!("must be 1 (PCM of 16 bits) or 3 (floats of 32 bits), got {tag}");
            return Err(Problem::invalid("fmt.format", reason));
        }
    };
    if !(1..=2).contains(&channels) {
        return Err(Problem::invalid("fmt.channels", format!("must be 1 or 2, got {channels}")));
    }
    let format = Format { encoding, channels: channels.into(), sample_rate };
    if usize::from(block_align) != format.frame_bytes() {
        let reason = format!("must be {} for these samples, got {block_align}", format.frame_bytes());
        return Err(Problem::invalid("fmt.block_align", reason));
    }
    Ok(format)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}
