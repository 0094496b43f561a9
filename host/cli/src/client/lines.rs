//! An answer of one JSON object a line, read as it arrives.

use std::marker::PhantomData;

use bytes::{Buf as _, BytesMut};
use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The longest line that is read; a host that sends more is not one of ours.
const MAX_LINE_BYTES: usize = 64 << 20;

/// The lines of an answer.
pub struct Lines<T> {
    response: Response,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no end of a line.
    searched: usize,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The lines of `response`.
    pub fn new(response: Response) -> Self {
        Self { response, buffer: BytesMut::new(), searched: 0, of: PhantomData }
    }

    /// The next line, or `None` after the last.
    ///
    /// # Errors
    /// If the connection breaks, or a line is not what it should be.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(line) = take_line(&mut self.buffer, &mut self.searched) {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return read(&line).map(Some);
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(Error::Protocol(format!("the host sent a line of over {MAX_LINE_BYTES} bytes")));
            }
            let chunk = self.response.chunk().await;
            match chunk
                .map_err(|error| Error::Protocol(format!("the connection to the host broke: {error}")))?
            {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => {
                    self.searched = 0;
                    return read(&self.buffer.split()).map(Some);
                }
            }
        }
    }
}

/// Takes the first whole line out of `buffer`, without its end.
fn take_line(buffer: &mut BytesMut, searched: &mut usize) -> Option<BytesMut> {
    let Some(end) = buffer[*searched..].iter().position(|&byte| byte == b'\n') else {
        *searched = buffer.len();
        return None;
    };
    let line = buffer.split_to(*searched + end);
    buffer.advance(1);
    *searched = 0;
    Some(line)
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(line).map_err(|error| {
        let start: String = String::from_utf8_lossy(line).chars().take(120).collect();
        Error::Protocol(format!("the host's answer is not understood: {error}, in `{start}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&'static str]) -> Lines<u32> {
        let pieces: Vec<Result<&str, std::io::Error>> = pieces.iter().map(|piece| Ok(*piece)).collect();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
        Lines::new(http::Response::new(body).into())
    }

    #[tokio::test]
    async fn reads_lines_however_they_are_cut() {
        let mut lines = lines(&["1\n2", "3\n", "\n", "4"]);
        let mut read = Vec::new();
        while let Some(number) = lines.next().await.unwrap() {
            read.push(number);
        }
        assert_eq!(read, [1, 23, 4]);
    }

    #[tokio::test]
    async fn shows_a_line_that_is_not_understood() {
        let error = lines(&["true\n"]).next().await.unwrap_err();
        assert!(error.to_string().contains("in `true`"), "{error}");
    }
}
