//! A model's bytes, mapped from its file: read at most once, and shared with the page cache.
#![expect(unsafe_code, reason = "mapping a file is unsafe: whoever changes the file changes the bytes")]

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use crate::InferenceError;

/// The bytes of a model file.
///
/// The file must not change while it is mapped. Artifacts do not: they are written once, under
/// their digest, into a folder that only the host writes.
pub struct ModelFile {
    map: Mmap,
    /// Where it is, if it was opened here.
    path: Option<PathBuf>,
}

impl ModelFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// `Host` if it cannot be opened or mapped, `InvalidModel` if it is empty.
    pub fn open(path: &Path) -> Result<Self, InferenceError> {
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            return Err(InferenceError::InvalidModel("the model file is empty".into()));
        }
        // SAFETY: the contract of this type: artifacts are immutable and in a folder of the host's.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self { map, path: Some(path.to_owned()) })
    }

    /// Maps a file of `bytes` bytes that the host has opened, in a worker process. What that may do with a file
    /// is to map it as private, not to ask how long it is.
    ///
    /// # Errors
    /// `Host` if it cannot be mapped.
    pub(crate) fn of_host(file: &File, bytes: u64) -> Result<Self, InferenceError> {
        let bytes = usize::try_from(bytes).map_err(|error| failed(std::io::Error::other(error)))?;
        // SAFETY: the contract of this type, which the host keeps.
        let map = unsafe { MmapOptions::new().len(bytes).map_copy_read_only(file) }.map_err(failed)?;
        Ok(Self { map, path: None })
    }

    /// The file once more, for a worker process to map.
    ///
    /// # Errors
    /// `Host` if it is gone.
    pub(crate) fn reopen(&self) -> Result<File, InferenceError> {
        let path = self.path.as_ref().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        File::open(path).map_err(failed)
    }

    /// A file that is in memory only.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_bytes(bytes: &[u8]) -> std::io::Result<Self> {
        let mut map = memmap2::MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        map.make_read_only().map(|map| Self { map, path: None })
    }
}

fn failed(error: std::io::Error) -> InferenceError {
    InferenceError::Host { context: "model file", reason: error.to_string() }
}

impl Deref for ModelFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
