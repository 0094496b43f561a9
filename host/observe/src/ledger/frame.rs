//! Frames: the length and the CRC-32 of an entry before its bytes, and finding them again.
//!
//! A frame is `length: u32 LE`, `crc: u32 LE` (CRC-32/ISO-HDLC over the length's bytes and the
//! payload, so that a run of zeros is no frame), then the payload. Does not know what is in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::codec::Buffer;

/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 8;

/// No entry comes near; a longer length is damage.
const MAX_PAYLOAD_BYTES: usize = 4 << 10;

/// How much is read from a file at once.
const WINDOW_BYTES: usize = 256 << 10;

/// Puts the frame's head before the payload that `fill` writes.
pub(super) fn encode(fill: impl FnOnce(&mut Buffer)) -> Buffer {
    let mut frame = Buffer::from_slice(&[0; HEAD_BYTES]);
    fill(&mut frame);
    let length = ((frame.len() - HEAD_BYTES) as u32).to_le_bytes();
    let crc = checksum(length, &frame[HEAD_BYTES..]);
    frame[..4].copy_from_slice(&length);
    frame[4..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    frame
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// The payload of the frame that begins at the front of `bytes`.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let crc = u32::from_le_bytes(bytes.get(4..HEAD_BYTES)?.try_into().ok()?);
    let size = u32::from_le_bytes(length) as usize;
    if size == 0 || size > MAX_PAYLOAD_BYTES {
        return None;
    }
    let payload = bytes.get(HEAD_BYTES..HEAD_BYTES + size)?;
    (checksum(length, payload) == crc).then_some(payload)
}

/// What stands next in a file.
#[derive(PartialEq, Debug)]
pub(super) enum Found<'a> {
    /// A frame's payload.
    Payload(&'a [u8]),
    /// So many bytes that are no frame, with a frame or the end behind them.
    Damage(u64),
}

/// Reads the frames of a part of a file, one window at a time.
pub(super) struct FrameReader {
    file: File,
    window: Vec<u8>,
    /// Where in the file the window begins.
    base: u64,
    /// What of the window has been given out.
    used: usize,
    /// Where in the file to stop.
    end: u64,
}

impl FrameReader {
    /// Reads `file` from `start` to `end`.
    pub(super) fn new(file: File, start: u64, end: u64) -> Self {
        Self { file, window: Vec::new(), base: start, used: 0, end }
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.used as u64
    }

    /// The next frame or run of damage; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        self.fill()?;
        if self.used == self.window.len() {
            return Ok(None);
        }
        if let Some(size) = payload(&self.window[self.used..]).map(<[u8]>::len) {
            let start = self.used + HEAD_BYTES;
            self.used = start + size;
            return Ok(Some(Found::Payload(&self.window[start..self.used])));
        }
        let mut damage = 0;
        while self.used < self.window.len() && payload(&self.window[self.used..]).is_none() {
            self.used += 1;
            damage += 1;
            self.fill()?;
        }
        Ok(Some(Found::Damage(damage)))
    }

    /// Makes sure that the longest frame, or all that is left, is in the window.
    fn fill(&mut self) -> io::Result<()> {
        let ahead = self.window.len() - self.used;
        let left = self.end.saturating_sub(self.base + self.window.len() as u64);
        if ahead >= HEAD_BYTES + MAX_PAYLOAD_BYTES || left == 0 {
            return Ok(());
        }
        self.base = self.offset();
        self.window.drain(..self.used);
        self.used = 0;
        let more = left.min(WINDOW_BYTES as u64) as usize;
        self.window.resize(ahead + more, 0);
        self.file.read_exact_at(&mut self.window[ahead..], self.base + ahead as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn reader(bytes: &[u8]) -> FrameReader {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        FrameReader::new(file, 0, bytes.len() as u64)
    }

    fn numbered(number: u32) -> Buffer {
        encode(|out| out.extend_from_slice(&number.to_le_bytes()))
    }

    #[test]
    fn reads_across_windows() {
        let count = 3 * WINDOW_BYTES as u32 / 12;
        let bytes: Vec<u8> = (0..count).flat_map(numbered).collect();
        let mut reader = reader(&bytes);
        for number in 0..count {
            assert_eq!(reader.next().unwrap(), Some(Found::Payload(&number.to_le_bytes())));
        }
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn goes_on_behind_damage() {
        let mut bytes = numbered(1).to_vec();
        let hole = WINDOW_BYTES + 77;
        bytes.resize(bytes.len() + hole, 0);
        bytes.extend(numbered(2));
        bytes.extend(&numbered(3)[..9]);
        let mut reader = reader(&bytes);
        assert_eq!(reader.next().unwrap(), Some(Found::Payload(&1u32.to_le_bytes())));
        assert_eq!(reader.next().unwrap(), Some(Found::Damage(hole as u64)));
        assert_eq!(reader.next().unwrap(), Some(Found::Payload(&2u32.to_le_bytes())));
        assert_eq!(reader.next().unwrap(), Some(Found::Damage(9)));
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_flipped_bit_is_damage() {
        let frame = numbered(9);
        for bit in 0..frame.len() * 8 {
            let mut bytes = frame.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(reader(&bytes).next().unwrap(), Some(Found::Damage(frame.len() as u64)), "bit {bit}");
        }
    }
}
