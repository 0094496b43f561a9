//! Uploads of artifacts: only what the host does not have, and from where it was broken off.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use modelet_types::Digest;
use modelet_types::digest::Digester;
use reqwest::{Method, Response, StatusCode, header};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{Client, problem::HostProblem};
use crate::error::Error;

/// How often an upload is taken up again before the command gives up.
const MAX_ATTEMPTS: u32 = 5;
/// The wait before the second attempt; each later one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// What is read and sent at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of the artifact that the host has (in an answer), or that come before the body.
const UPLOAD_OFFSET: &str = "upload-offset";
/// Bytes of the whole artifact.
const UPLOAD_LENGTH: &str = "upload-length";

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// The host had it.
    AlreadyThere,
    /// It was sent, from this byte on.
    From(u64),
}

/// The digest and size of a file.
///
/// # Errors
/// If it cannot be read.
pub async fn digest_of(path: &Path) -> anyhow::Result<(Digest, u64)> {
    let mut file = File::open(path).await.with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut digester = Digester::default();
    let mut size = 0;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read =
            file.read(&mut buffer).await.with_context(|| format!("cannot read `{}`", path.display()))?;
        if read == 0 {
            return Ok((digester.finish(), size));
        }
        digester.update(&buffer[..read]);
        size += read as u64;
    }
}

impl Client {
    /// Uploads the file at `path` unless the host has it. `progress` is told how many bytes the
    /// host has or is being sent.
    ///
    /// # Errors
    /// If the host refuses it, or the connection breaks too often.
    pub async fn upload(
        &self,
        path: &Path,
        digest: Digest,
        size: u64,
        progress: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<Uploaded> {
        let mut attempt = 1;
        let mut offset = match self.artifact_offset(digest).await? {
            None => return Ok(Uploaded::AlreadyThere),
            Some(offset) => offset,
        };
        let first_offset = offset;
        loop {
            progress(offset);
            let answer = self.send_from(path, digest, offset, size, progress.clone()).await;
            let next = match answer {
                Ok(response) if response.status() == StatusCode::CREATED => {
                    return Ok(Uploaded::From(first_offset));
                }
                // 204: the host has taken some. 409: it has another number of bytes than we thought.
                Ok(response)
                    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::CONFLICT) =>
                {
                    match offset_in(&response) {
                        Some(next) if next <= size => next,
                        _ => return Err(HostProblem::read(response).await.into_error().into()),
                    }
                }
                Ok(response) => return Err(HostProblem::read(response).await.into_error().into()),
                Err(error @ (Error::Unreachable { .. } | Error::Protocol(_))) if attempt < MAX_ATTEMPTS => {
                    tracing::debug!(%error, attempt, "upload broke off");
                    tokio::time::sleep(FIRST_DELAY * 2_u32.pow(attempt - 1)).await;
                    match self.artifact_offset(digest).await {
                        Ok(None) => return Ok(Uploaded::From(first_offset)),
                        Ok(Some(next)) => next,
                        Err(_) => offset,
                    }
                }
                Err(error) => return Err(error.into()),
            };
            // Only attempts without progress count, so that a poor line ends a large upload at last.
            attempt = if next > offset { 1 } else { attempt + 1 };
            if attempt > MAX_ATTEMPTS {
                let detail = format!("the upload of `{}` does not get past byte {next}", path.display());
                return Err(Error::Protocol(detail).into());
            }
            offset = next;
        }
    }

    /// How many bytes of the artifact the host has; `None` if all.
    async fn artifact_offset(&self, digest: Digest) -> Result<Option<u64>, Error> {
        let response = self.send_raw(self.request(Method::HEAD, &address(digest))?).await?;
        match response.status() {
            StatusCode::OK => Ok(None),
            StatusCode::NOT_FOUND => Ok(Some(offset_in(&response).unwrap_or(0))),
            _ => Err(HostProblem::read(response).await.into()),
        }
    }

    async fn send_from(
        &self,
        path: &Path,
        digest: Digest,
        offset: u64,
        size: u64,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Response, Error> {
        let unreadable = |error| Error::Invalid(format!("cannot read `{}`: {error}", path.display()));
        let mut file = File::open(path).await.map_err(unreadable)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(unreadable)?;
        let mut sent = offset;
        // The file may have grown since it was hashed: what was promised is sent, and no more.
        let body = ReaderStream::with_capacity(file.take(size - offset), CHUNK_BYTES).inspect_ok(
            move |chunk: &Bytes| {
                sent += chunk.len() as u64;
                progress(sent);
            },
        );
        let request = self
            .request(Method::PATCH, &address(digest))?
            .header(UPLOAD_OFFSET, offset)
            .header(UPLOAD_LENGTH, size)
            .header(header::CONTENT_LENGTH, size - offset)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(body));
        self.send_raw(request).await
    }
}

fn address(digest: Digest) -> String {
    format!("/api/v1/artifacts/{digest}")
}

fn offset_in(response: &Response) -> Option<u64> {
    response.headers().get(UPLOAD_OFFSET)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
