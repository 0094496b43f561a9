//! Bodies that a client compresses, or wants compressed (RFC 9110 §8.4). Triton's clients do both.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};
use modelet_types::{Code, Problem};

/// A coding that bodies can have. What HTTP calls `deflate` is zlib's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }

    /// The first that the client takes at all.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        accepted.split(',').find_map(|entry| {
            let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            Self::named(name).filter(|_| weight.is_none_or(|weight| weight > 0.0))
        })
    }

    /// `body`, compressed.
    pub(super) fn compress(self, body: &[u8]) -> io::Result<Vec<u8>> {
        // The fastest: what it saves is sent in less time than a better level would take.
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }
}

/// `body` as it was before the client compressed it, if it did: at most `limit` bytes.
///
/// # Errors
/// If it is more, is not what its header says, or is in a coding that this host does not have.
pub(super) fn plain(headers: &HeaderMap, body: Bytes, limit: u64) -> Result<Bytes, Problem> {
    let Some(named) = headers.get(CONTENT_ENCODING) else { return Ok(body) };
    let name = named.to_str().unwrap_or_default();
    if name.eq_ignore_ascii_case("identity") {
        return Ok(body);
    }
    let at = |code, detail: String| Problem::new(code, detail).at("content-encoding");
    let coding = Coding::named(name).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        at(
            Code::UnsupportedMediaType,
            format!("`{shown}` is not a coding that this host has: use gzip or deflate"),
        )
    })?;
    let mut plain = Vec::new();
    // One byte more shows that there are too many.
    let bounded = limit.saturating_add(1);
    let read = match coding {
        Coding::Gzip => MultiGzDecoder::new(&body[..]).take(bounded).read_to_end(&mut plain),
        Coding::Deflate => ZlibDecoder::new(&body[..]).take(bounded).read_to_end(&mut plain),
    };
    read.map_err(|error| at(Code::InvalidInput, format!("the body cannot be decompressed: {error}")))?;
    if plain.len() as u64 > limit {
        let detail =
            format!("the body has more than {limit} bytes when decompressed (limits.request_body_bytes)");
        return Err(Problem::new(Code::RequestTooLarge, detail).at("body"));
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn reads_what_it_writes_and_no_bombs() {
        let text = vec![7; 10_000];
        for (coding, name) in [(Coding::Gzip, "gzip"), (Coding::Deflate, "deflate")] {
            let body = Bytes::from(coding.compress(&text).unwrap());
            let encoding = headers(CONTENT_ENCODING, name);
            assert_eq!(plain(&encoding, body.clone(), 10_000).unwrap(), text);
            assert_eq!(plain(&encoding, body.clone(), 9_999).unwrap_err().code, Code::RequestTooLarge);
            let cut = body.slice(..body.len() / 2);
            assert_eq!(plain(&encoding, cut, 10_000).unwrap_err().code, Code::InvalidInput);
        }
        let other = headers(CONTENT_ENCODING, "br");
        assert_eq!(plain(&other, Bytes::new(), 1).unwrap_err().code, Code::UnsupportedMediaType);
    }

    #[test]
    fn takes_the_first_coding_that_the_client_takes() {
        let accepted = |value| Coding::accepted(&headers(ACCEPT_ENCODING, value));
        assert_eq!(accepted("br, deflate;q=0.5, gzip"), Some(Coding::Deflate));
        assert_eq!(accepted("gzip;q=0, identity"), None);
        assert_eq!(accepted("identity"), None);
    }
}
