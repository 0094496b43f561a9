//! Content addresses: the SHA-256 (FIPS 180-4) of an artifact's bytes.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256:";
/// What is read and hashed at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The SHA-256 of an artifact, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of all that is left in `reader`. Blocks as it does.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of_reader(reader: &mut impl Read) -> io::Result<Self> {
        let mut digester = Digester::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(digester.finish()),
                count => digester.update(&buffer[..count]),
            }
        }
    }

    /// A digest computed elsewhere.
    pub const fn from_raw(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The 64 hexadecimal digits, without the algorithm's name.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The digest that [`Digest::to_hex`] writes like this; `None` if it writes none so.
    pub fn from_hex(digits: &str) -> Option<Self> {
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let mut raw = [0; 32];
        hex::decode_to_slice(digits, &mut raw).ok()?;
        Some(Self(raw))
    }
}

/// Computes a digest over bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// A text that is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest: write `sha256:` and 64 lower-case hexadecimal digits")]
pub struct InvalidDigest(String);

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = text.strip_prefix(PREFIX).and_then(Self::from_hex);
        digest.ok_or_else(|| InvalidDigest(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_sha256_of_the_bytes() {
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), text);
        let mut pieces = Digester::default();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!(pieces.finish(), text.parse().unwrap());
        // More than one buffer.
        let bytes = vec![7_u8; BUFFER_BYTES + 1];
        assert_eq!(Digest::of_reader(&mut bytes.as_slice()).unwrap(), Digest::of(&bytes));
    }

    #[test]
    fn is_read_as_it_is_written() {
        let digest = Digest::of(b"abc");
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        for text in [digest.to_string(), digest.to_hex().to_uppercase(), digest.to_hex()[2..].to_owned()] {
            assert_eq!(Digest::from_hex(&text), None, "{text}");
        }
    }

    #[test]
    fn rejects_other_writings() {
        let hex = Digest::of(b"abc").to_hex();
        for text in [hex.clone(), format!("sha256:{}", hex.to_uppercase()), "sha256:abc".into()] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
