//! One file to one object: in one request if it is small, else in parts.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use modelet_types::Digest;
use object_store::aws::AmazonS3;
use object_store::path::Path as Location;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};

use super::Bucket;
use crate::StoreError;
use crate::store::blocking;

/// Parts of one object that are under way at one time.
pub(super) const PARTS: usize = 2;
/// What is sent in one request: little enough for a slow line to send it before the request times out.
const PART_BYTES: u64 = 8 << 20;
/// An object has at most 10,000 parts, by Amazon's documentation.
const MAX_PARTS: u64 = 10_000;

/// Stores the first `len` bytes of a file.
pub(super) async fn file(
    store: &AmazonS3,
    location: &Location,
    digest: Digest,
    path: &Path,
    len: u64,
) -> Result<(), StoreError> {
    let failed = Bucket::failed("store", digest);
    let opened = path.to_owned();
    let file = blocking(move || File::open(&opened).map_err(StoreError::io("open", &opened))).await?;
    let source = Source { file: Arc::new(file), path: path.to_owned() };
    if len <= PART_BYTES {
        let bytes = source.read(0, len).await?;
        return store.put(location, bytes).await.map(drop).map_err(failed);
    }
    let mut upload = store.put_multipart(location).await.map_err(&failed)?;
    let sent = match parts(&mut *upload, digest, &source, len).await {
        Ok(()) => upload.complete().await.map(drop).map_err(failed),
        Err(error) => Err(error),
    };
    if sent.is_err() {
        // Where this fails too, the bucket's own rule for unfinished uploads takes the parts away.
        if let Err(error) = upload.abort().await {
            tracing::debug!(%digest, %error, "cannot end an upload to the bucket");
        }
    }
    sent
}

async fn parts(
    upload: &mut dyn MultipartUpload,
    digest: Digest,
    source: &Source,
    len: u64,
) -> Result<(), StoreError> {
    let part_bytes = PART_BYTES.max(len.div_ceil(MAX_PARTS));
    let failed = Bucket::failed("store", digest);
    let mut under_way = FuturesUnordered::new();
    let mut offset = 0;
    while offset < len {
        if under_way.len() >= PARTS
            && let Some(sent) = under_way.next().await
        {
            Result::map_err(sent, &failed)?;
            fail::fail_point!("store::bucket::part");
        }
        let bytes = source.read(offset, part_bytes.min(len - offset)).await?;
        offset += bytes.content_length() as u64;
        under_way.push(upload.put_part(bytes));
    }
    while let Some(sent) = under_way.next().await {
        sent.map_err(&failed)?;
        fail::fail_point!("store::bucket::part");
    }
    Ok(())
}

/// A file that is read in pieces.
struct Source {
    file: Arc<File>,
    path: PathBuf,
}

impl Source {
    async fn read(&self, offset: u64, len: u64) -> Result<PutPayload, StoreError> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        blocking(move || {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, offset).map_err(StoreError::io("read", &path))?;
            Ok(PutPayload::from(bytes))
        })
        .await
    }
}
