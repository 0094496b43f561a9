//! The body of a call: where it comes from, and what it is taken for.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;

use crate::error::Error;

/// Reads what `--data` names: a text, `@FILE`, or `@-` for standard input.
pub fn read(data: &str) -> anyhow::Result<Vec<u8>> {
    match data.strip_prefix('@') {
        None => Ok(data.as_bytes().to_vec()),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            Ok(bytes)
        }
        Some(file) => {
            let path = Path::new(file);
            if !path.exists() {
                return Err(
                    Error::FileNotFound { what: "the request's body".into(), path: path.into() }.into()
                );
            }
            std::fs::read(path).with_context(|| format!("cannot read `{file}`"))
        }
    }
}

/// The content type, unless a header says it.
pub fn content_type(body: &[u8]) -> &'static str {
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        "application/json"
    } else if std::str::from_utf8(body).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_bodies_for_what_they_are() {
        assert_eq!(content_type(b"{\"a\": [1]}"), "application/json");
        assert_eq!(content_type("grüß".as_bytes()), "text/plain; charset=utf-8");
        assert_eq!(content_type(b"\x89PNG"), "application/octet-stream");
    }

    #[test]
    fn a_missing_file_is_not_found() {
        let error = read("@no/such/file").unwrap_err();
        assert_eq!(crate::error::exit_of(&error), crate::error::Exit::NotFound);
        assert_eq!(read("plain").unwrap(), b"plain");
    }
}
