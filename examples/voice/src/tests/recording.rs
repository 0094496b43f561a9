//! The recordings, and what the reference said about each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A recording of 16 kHz, PCM, one channel.
#[derive(Deserialize)]
pub struct Recording {
    pub file: String,
    /// In samples.
    pub length: u64,
    /// Of each window.
    pub probabilities: Vec<f32>,
    /// The first is that of the defaults.
    pub answers: Vec<Answer>,
}

/// What the reference finds under some settings.
#[derive(Deserialize)]
pub struct Answer {
    settings: BTreeMap<String, Value>,
    /// Where speech begins and ends, in samples.
    pub segments: Vec<(u64, u64)>,
}

impl Answer {
    /// The path and query that ask for it.
    pub fn target(&self) -> String {
        let pairs: Vec<_> = self.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("/?{}", pairs.join("&"))
    }
}

/// A list of `expected.json`.
pub fn expected<T: DeserializeOwned>(list: &str) -> T {
    let mut expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
    serde_json::from_value(expected[list].take()).unwrap()
}

pub fn recordings() -> Vec<Recording> {
    expected("cases")
}

impl Recording {
    /// The first, in which somebody reads aloud, with pauses.
    pub fn with_speech() -> Self {
        recordings().remove(0)
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        read(&self.file)
    }

    /// Read without the handler's own code.
    pub fn samples(&self) -> Vec<f32> {
        let bytes = self.bytes();
        let start = bytes.windows(4).position(|four| four == b"data").unwrap() + 8;
        let data = &bytes[start..start + 2 * self.length as usize];
        data.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0).collect()
    }
}

fn read(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; make it by `python3 examples/fetch.py voice`", path.display())
    })
}

/// A WAV file of these samples.
pub fn wav(tag: u16, channels: u16, sample_rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let block_align = channels * bits / 8;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    file.extend([tag.to_le_bytes(), channels.to_le_bytes()].concat());
    file.extend([sample_rate, sample_rate * u32::from(block_align)].map(u32::to_le_bytes).concat());
    file.extend([block_align.to_le_bytes(), bits.to_le_bytes()].concat());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}
