//! Uploads of artifacts: only what the host does not have, and from where it was broken off.

use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use modelet_types::digest::Digester;
use modelet_types::{Code, Digest};
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

/// What came of sending a piece.
enum Outcome {
    /// The host has the artifact.
    Whole,
    /// The upload goes on at this byte.
    At(u64),
    /// The host had all bytes, and they were not the artifact's. It discarded them.
    SomethingElse(Error),
    /// The connection broke, or another request is at the upload: perhaps our own that broke off.
    Broken(Error),
}

impl Outcome {
    /// # Errors
    /// If the host refuses the piece for good.
    async fn of(response: Response, size: u64) -> Result<Self, Error> {
        let status = response.status();
        match (status, offset_in(&response, size)) {
            (StatusCode::CREATED, _) => return Ok(Self::Whole),
            // It has taken some, has another number of bytes than we thought, or we were too slow.
            (StatusCode::NO_CONTENT | StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT, Some(next)) => {
                return Ok(Self::At(next));
            }
            _ => {}
        }
        let problem = HostProblem::read(response).await;
        match problem.code() {
            Some(Code::DigestMismatch) => Ok(Self::SomethingElse(problem.into_error())),
            Some(Code::Conflict) => Ok(Self::Broken(problem.into_error())),
            _ => Err(problem.into_error()),
        }
    }
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
    /// What the host has may be something else that was sent under the digest. That shows once all
    /// is there: the host discards it, and the upload begins anew, once.
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
        let Some(mut offset) = self.artifact_offset(digest, size).await? else {
            return Ok(Uploaded::AlreadyThere);
        };
        let mut first_offset = offset;
        let mut attempt = 1;
        // After a break, what the host has is asked for with a piece of no bytes: unlike a HEAD it is
        // refused as the whole piece would be, and its answer is not lost in what is still being sent.
        let mut asking = false;
        let mut began_anew = false;
        loop {
            progress(offset);
            let end = if asking { offset } else { size };
            let outcome = match self.send_piece(path, digest, offset..end, size, progress.clone()).await {
                Ok(response) => Outcome::of(response, size).await?,
                Err(error @ (Error::Unreachable { .. } | Error::Protocol(_))) => Outcome::Broken(error),
                Err(error) => return Err(error.into()),
            };
            match outcome {
                Outcome::Whole => return Ok(Uploaded::From(first_offset)),
                Outcome::At(next) => {
                    // Only attempts without progress count, so that a poor line ends a large upload
                    // at last. One that only asked makes none.
                    if next > offset {
                        attempt = 1;
                    } else if !asking {
                        attempt += 1;
                    }
                    if attempt > MAX_ATTEMPTS {
                        let detail =
                            format!("the upload of `{}` does not get past byte {next}", path.display());
                        return Err(Error::Protocol(detail).into());
                    }
                    (offset, asking) = (next, false);
                }
                Outcome::SomethingElse(_) if offset > 0 && !began_anew => {
                    (offset, first_offset, asking, began_anew) = (0, 0, false, true);
                }
                Outcome::Broken(error) if attempt < MAX_ATTEMPTS => {
                    tracing::debug!(%error, attempt, "upload broke off");
                    tokio::time::sleep(FIRST_DELAY * 2_u32.pow(attempt - 1)).await;
                    (attempt, asking) = (attempt + 1, true);
                }
                Outcome::SomethingElse(error) | Outcome::Broken(error) => return Err(error.into()),
            }
        }
    }

    /// How many bytes of the artifact the host has; `None` if all.
    async fn artifact_offset(&self, digest: Digest, size: u64) -> Result<Option<u64>, Error> {
        let response = self.send_raw(self.request(Method::HEAD, &address(digest))?).await?;
        match response.status() {
            StatusCode::OK => Ok(None),
            StatusCode::NOT_FOUND => Ok(Some(offset_in(&response, size).unwrap_or(0))),
            _ => Err(HostProblem::read(response).await.into()),
        }
    }

    /// Sends the bytes `piece` of the file.
    async fn send_piece(
        &self,
        path: &Path,
        digest: Digest,
        piece: Range<u64>,
        size: u64,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Response, Error> {
        let unreadable = |error| Error::Invalid(format!("cannot read `{}`: {error}", path.display()));
        let mut file = File::open(path).await.map_err(unreadable)?;
        file.seek(SeekFrom::Start(piece.start)).await.map_err(unreadable)?;
        let length = piece.end - piece.start;
        let mut sent = piece.start;
        // The file may have grown since it was hashed: what was promised is sent, and no more.
        let body =
            ReaderStream::with_capacity(file.take(length), CHUNK_BYTES).inspect_ok(move |chunk: &Bytes| {
                sent += chunk.len() as u64;
                progress(sent);
            });
        let request = self
            .request(Method::PATCH, &address(digest))?
            .header(UPLOAD_OFFSET, piece.start)
            .header(UPLOAD_LENGTH, size)
            .header(header::CONTENT_LENGTH, length)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(body));
        self.send_raw(request).await
    }
}

fn address(digest: Digest) -> String {
    format!("/api/v1/artifacts/{digest}")
}

/// Where the upload goes on by the host's word. More bytes than the artifact has are not its own:
/// the host discards them when it is sent the first one.
fn offset_in(response: &Response, size: u64) -> Option<u64> {
    let offset = response.headers().get(UPLOAD_OFFSET)?.to_str().ok()?.parse().ok()?;
    Some(if offset > size { 0 } else { offset })
}

#[cfg(test)]
mod tests;
