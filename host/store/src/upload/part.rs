//! The file of an upload that has not arrived whole, and the claim that keeps it to one request.
//! Everything here blocks. Knows nothing of rows.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use modelet_types::{Digest, TenantName};

use crate::StoreError;
use crate::folder::{create_folder, sync_parent};

type Key = (TenantName, Digest);

/// Which uploads a request is at.
#[derive(Default)]
pub(crate) struct Claims(Arc<Mutex<HashSet<Key>>>);

impl Claims {
    /// The right to change one upload's part, unless somebody has it.
    pub(crate) fn claim(&self, tenant: &TenantName, digest: Digest) -> Option<Claim> {
        let key = (tenant.clone(), digest);
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.insert(key.clone()).then(|| Claim { claimed: Arc::clone(&self.0), key })
    }
}

/// The right to change one upload's part, until it is dropped.
pub(crate) struct Claim {
    claimed: Arc<Mutex<HashSet<Key>>>,
    key: Key,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// The bytes of an upload that arrived so far.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    claim: Claim,
}

impl Part {
    /// Opens the part at its end, making it if it is missing. What is longer than the artifact
    /// cannot become it, and is discarded.
    pub(super) fn open(path: PathBuf, claim: Claim, total_bytes: u64) -> Result<Self, StoreError> {
        create_folder(path.parent().expect("a part is in its tenant's folder"))?;
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            if file.metadata()?.len() > total_bytes {
                file.set_len(0)?;
            }
            let len = file.seek(SeekFrom::End(0))?;
            Ok((file, len))
        };
        let (file, len) = open().map_err(StoreError::io("open", &path))?;
        Ok(Self { path, file, len, claim })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds bytes at the end.
    pub(super) fn write(mut self, chunks: &[Bytes]) -> Result<Self, StoreError> {
        for chunk in chunks {
            self.file.write_all(chunk).map_err(StoreError::io("write", &self.path))?;
            self.len += chunk.len() as u64;
        }
        fail::fail_point!("store::upload::written");
        Ok(self)
    }

    /// Makes what was written durable.
    pub(super) fn sync(self) -> Result<Self, StoreError> {
        self.file.sync_all().map_err(StoreError::io("sync", &self.path))?;
        sync_parent(&self.path)?;
        fail::fail_point!("store::upload::synced");
        Ok(self)
    }

    /// Reads everything back and discards it if it is not what was announced.
    pub(super) fn verify(mut self, expected: Digest) -> Result<Self, StoreError> {
        let actual = self.digest().map_err(StoreError::io("read", &self.path))?;
        if actual != expected {
            std::fs::remove_file(&self.path).map_err(StoreError::io("remove", &self.path))?;
            return Err(StoreError::DigestMismatch { expected, actual });
        }
        fail::fail_point!("store::upload::verified");
        Ok(self)
    }

    fn digest(&mut self) -> io::Result<Digest> {
        self.file.seek(SeekFrom::Start(0))?;
        Digest::of_reader(&mut self.file)
    }

    /// Makes the part the blob, durably. A blob that is there already has the same bytes and is
    /// replaced, which also mends one that was damaged; who has it open keeps the old file.
    ///
    /// Gives back the claim, which must outlive the row's commit.
    pub(super) fn publish(self, blob: &Path) -> Result<Claim, StoreError> {
        create_folder(blob.parent().expect("a blob is in a folder"))?;
        std::fs::rename(&self.path, blob).map_err(StoreError::io("rename", &self.path))?;
        fail::fail_point!("store::upload::renamed");
        sync_parent(blob)?;
        fail::fail_point!("store::upload::published");
        Ok(self.claim)
    }
}

/// Bytes of the other parts in the folder of this one. Blocks.
pub(super) fn bytes_beside(part: &Path) -> Result<u64, StoreError> {
    let Some(folder) = part.parent() else { return Ok(0) };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(StoreError::io("read", folder)(error)),
    };
    let lengths = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        // One that is finished meanwhile is no part any more.
        (entry.path() != part).then(|| entry.metadata().ok())?.map(|metadata| metadata.len())
    });
    Ok(lengths.fold(0, u64::saturating_add))
}

/// How long a part is, if it is there.
pub(super) fn length(path: &Path) -> Result<Option<u64>, StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}
