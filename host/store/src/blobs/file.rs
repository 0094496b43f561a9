//! Blobs as files: what is in the folder, and bytes that come and must be those of a digest.
//!
//! Except for [`receive`], everything here blocks.

use std::fs::{DirEntry, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use modelet_types::Digest;
use modelet_types::digest::Digester;

use crate::StoreError;
use crate::folder::{create_folder, sync_parent};
use crate::store::blocking;

/// Bytes that are gathered before a thread is asked to write them.
const WRITE_BYTES: usize = 1 << 20;

/// How long a file is, if it is there.
pub(super) fn length(path: &Path) -> Result<Option<u64>, StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Removes a file, if it is there, and says how long it was.
pub(super) fn remove(path: &Path) -> Result<Option<u64>, StoreError> {
    let removed = || -> io::Result<u64> {
        let bytes = std::fs::symlink_metadata(path)?.len();
        std::fs::remove_file(path)?;
        Ok(bytes)
    };
    match removed() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("remove", path)(e)),
    }
}

/// Takes a blob's file from its place, if it is there, and says where it is then.
pub(super) fn set_aside(blob: &Path, incoming: &Path) -> Result<PathBuf, StoreError> {
    let aside = own_name(incoming, "gone");
    match std::fs::rename(blob, &aside) {
        Ok(()) => Ok(aside),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(aside),
        Err(e) => Err(StoreError::io("rename", blob)(e)),
    }
}

/// A name that nothing else has, so that two who bring one blob do not write to one file.
fn own_name(incoming: &Path, stem: &str) -> PathBuf {
    static LAST: AtomicU64 = AtomicU64::new(0);
    incoming.join(format!("{stem}.{}", LAST.fetch_add(1, Ordering::Relaxed)))
}

/// Every blob in the folder with its length, the one first that was written or read the longest ago; files that
/// are named otherwise are not ours.
pub(super) fn stored(folder: &Path) -> Result<Vec<(Digest, u64)>, StoreError> {
    let mut blobs = Vec::new();
    for shelf in entries(folder)? {
        if !shelf.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        for entry in entries(&shelf.path())? {
            if let Some(digest) = entry.file_name().to_str().and_then(Digest::from_hex) {
                // One that is let go meanwhile is there no more.
                let Ok(metadata) = entry.metadata() else { continue };
                let used = metadata.modified().ok().max(metadata.accessed().ok());
                blobs.push((used, digest, metadata.len()));
            }
        }
    }
    blobs.sort_unstable();
    Ok(blobs.into_iter().map(|(_, digest, len)| (digest, len)).collect())
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    std::fs::read_dir(folder).and_then(Iterator::collect).map_err(StoreError::io("list", folder))
}

/// Removes what a killed host was fetching, or letting go.
pub(super) fn clear(incoming: &Path) -> Result<(), StoreError> {
    entries(incoming)?.iter().try_for_each(|entry| remove(&entry.path()).map(drop))
}

/// The bucket that a folder's artifacts are in.
pub(super) fn read_marker(file: &Path) -> Result<Option<String>, StoreError> {
    match std::fs::read_to_string(file) {
        Ok(url) => Ok(Some(url.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", file)(e)),
    }
}

/// The digest of a file.
pub(super) fn digest(path: &Path) -> Result<Digest, StoreError> {
    let read = || Digest::of_reader(&mut File::open(path)?);
    read().map_err(StoreError::io("read", path))
}

/// Writes the bytes of a blob to a file of their own in `incoming`, and has it take the place of `target` once
/// they are all there, are those of the digest, and are durable.
///
/// # Errors
/// [`StoreError::BlobDamaged`] if they are others, and whatever `bytes` fails with.
pub(super) async fn receive(
    bytes: impl Stream<Item = Result<Bytes, StoreError>> + Send,
    digest: Digest,
    len: u64,
    incoming: &Path,
    target: &Path,
) -> Result<(), StoreError> {
    let (folder, hex) = (incoming.to_owned(), digest.to_hex());
    let mut file = blocking(move || Incoming::create(&folder, &hex)).await?;
    let mut bytes = pin!(bytes);
    let (mut gathered, mut gathered_bytes, mut received) = (Vec::new(), 0, 0);
    while let Some(chunk) = bytes.try_next().await? {
        received += chunk.len() as u64;
        // Not read to its end, which might be far.
        if received > len {
            return Err(StoreError::BlobDamaged { digest, found: format!("more than {len} bytes") });
        }
        gathered_bytes += chunk.len();
        gathered.push(chunk);
        if gathered_bytes >= WRITE_BYTES {
            let chunks = std::mem::take(&mut gathered);
            gathered_bytes = 0;
            file = blocking(move || file.write(&chunks)).await?;
        }
    }
    let target = target.to_owned();
    blocking(move || file.write(&gathered)?.publish(digest, &target)).await
}

/// A file that goes with this, unless it has become a blob.
struct Incoming {
    path: PathBuf,
    file: File,
    digester: Digester,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // It is there only if something failed, which has been told; the next start tries again.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Incoming {
    fn create(folder: &Path, hex: &str) -> Result<Self, StoreError> {
        let path = own_name(folder, hex);
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        Ok(Self { path, file, digester: Digester::default() })
    }

    fn write(mut self, chunks: &[Bytes]) -> Result<Self, StoreError> {
        for chunk in chunks {
            self.file.write_all(chunk).map_err(StoreError::io("write", &self.path))?;
            self.digester.update(chunk);
        }
        Ok(self)
    }

    fn publish(self, digest: Digest, target: &Path) -> Result<(), StoreError> {
        let actual = self.digester.clone().finish();
        if actual != digest {
            return Err(StoreError::BlobDamaged { digest, found: format!("bytes of {actual}") });
        }
        self.file.sync_all().map_err(StoreError::io("sync", &self.path))?;
        create_folder(target.parent().expect("a blob is in a folder"))?;
        std::fs::rename(&self.path, target).map_err(StoreError::io("rename", &self.path))?;
        sync_parent(target)
    }
}

/// The bytes of a file, read as they are asked for on a thread for it.
pub(super) fn chunks(
    path: &Path,
) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send + use<>, StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    Ok(futures::stream::try_unfold((file, path.to_owned()), |(mut file, path)| async move {
        blocking(move || {
            let mut chunk = vec![0; WRITE_BYTES];
            let read = file.read(&mut chunk).map_err(StoreError::io("read", &path))?;
            chunk.truncate(read);
            Ok((read > 0).then(|| (Bytes::from(chunk), (file, path))))
        })
        .await
    }))
}
