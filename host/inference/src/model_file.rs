//! A model's bytes, mapped from its file: read at most once, and shared with the page cache.
#![expect(unsafe_code, reason = "mapping a file is unsafe: whoever changes the file changes the bytes")]

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::InferenceError;

/// The bytes of a model file.
///
/// The file must not change while it is mapped. Artifacts do not: they are written once, under
/// their digest, into a folder that only the host writes.
pub struct ModelFile(Mmap);

impl ModelFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// `Host` if it cannot be opened or mapped, `InvalidModel` if it is empty.
    pub fn open(path: &Path) -> Result<Self, InferenceError> {
        let failed =
            |error: std::io::Error| InferenceError::Host { context: "model file", reason: error.to_string() };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            return Err(InferenceError::InvalidModel("the model file is empty".into()));
        }
        // SAFETY: the contract of this type: artifacts are immutable and in a folder of the host's.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self(map))
    }

    /// A file that is in memory only.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_bytes(bytes: &[u8]) -> std::io::Result<Self> {
        let mut map = memmap2::MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        map.make_read_only().map(Self)
    }
}

impl Deref for ModelFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
