//! The folder of compiled code.
//!
//! wasmtime runs a compiled file as it is, so only files that this host wrote may be loaded: each
//! is written with its SHA-256 beside it, checked once per start of the host, and remembered by its
//! inode. Nobody else writes in the folder; what the check finds is damage. The folder's name has the
//! engine's compatibility hash, so another version or other settings never see each other's code.
#![expect(unsafe_code, reason = "wasmtime runs what it maps: that the file is ours is checked here")]

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use modelet_types::digest::Digester;
use modelet_types::{Code as ErrorCode, Digest, Problem};
use tempfile::NamedTempFile;
use tokio::sync::Notify;
use wasmtime::component::Component;

use crate::compile::Contracts;

const CODE: &str = "cwasm";
const SUM: &str = "sum";
/// How the name of a file begins that is not written to its end.
const DRAFT: &str = "draft-";

/// Compiled code, mapped from its file.
#[derive(Clone)]
pub struct Code {
    pub(crate) component: Component,
    size_bytes: u64,
    contracts: Arc<OnceLock<Contracts>>,
}

impl Code {
    /// Bytes of its file, all of which can be in memory.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Which contracts the handler fulfils: found out once per start of the host, not with each wake.
    ///
    /// # Errors
    /// If it fulfils none.
    pub(crate) fn contracts(&self) -> Result<Contracts, Problem> {
        if let Some(contracts) = self.contracts.get() {
            return Ok(*contracts);
        }
        let contracts = Contracts::of(self.component.engine(), &self.component)?;
        Ok(*self.contracts.get_or_init(|| contracts))
    }
}

/// The compiled code of this host, by the digest of the component.
pub struct CodeCache {
    dir: PathBuf,
    wasmtime: wasmtime::Engine,
    /// Files whose content was checked.
    checked: Mutex<HashMap<Digest, Checked>>,
    missing: Notify,
}

#[derive(Clone)]
struct Checked {
    identity: Identity,
    contracts: Arc<OnceLock<Contracts>>,
}

/// The file that a descriptor is of, in the state in which it was checked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(meta: &fs::Metadata) -> Self {
        let changed = (meta.ctime(), meta.ctime_nsec());
        Self { device: meta.dev(), inode: meta.ino(), size: meta.len(), changed }
    }
}

impl CodeCache {
    pub(crate) fn open(dir: &Path, wasmtime: &wasmtime::Engine) -> io::Result<Self> {
        // The hasher has fixed keys, so the name is the same at every start of the same binary.
        #[expect(deprecated, reason = "the replacement is seeded anew in every process")]
        let mut hasher = std::hash::SipHasher::new();
        wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        remove_others(dir, &name)?;
        let dir = dir.join(name);
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let cache =
            Self { dir, wasmtime: wasmtime.clone(), checked: Mutex::default(), missing: Notify::new() };
        // Nobody else writes here, so these are of a host that was killed.
        for draft in cache.files()?.into_iter().filter(|name| name.starts_with(DRAFT)) {
            fs::remove_file(cache.dir.join(draft))?;
        }
        Ok(cache)
    }

    /// The components of which anything is there. Reads the folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn components(&self) -> io::Result<BTreeSet<Digest>> {
        let digest = |name: String| {
            let (hex, kind) = name.split_once('.')?;
            [CODE, SUM].contains(&kind).then(|| Digest::from_hex(hex))?
        };
        Ok(self.files()?.into_iter().filter_map(digest).collect())
    }

    fn files(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(&self.dir)?.map(name).collect()
    }

    /// Whether code for `component` is there.
    pub fn contains(&self, component: &Digest) -> bool {
        self.code_path(component).exists() && self.sum_path(component).exists()
    }

    /// Whether the code of `component` was checked since the start, so that loading it only maps it.
    pub fn is_checked(&self, component: &Digest) -> bool {
        self.checked().contains_key(component)
    }

    /// A file for code that is not known to be good yet.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn draft(&self) -> io::Result<Draft> {
        let file = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.dir)?;
        Ok(Draft { file, digester: Digester::default() })
    }

    /// Keeps what was written to `draft` as the code of `component`. Blocks on the disk.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub(crate) fn keep(&self, component: &Digest, draft: Draft) -> io::Result<()> {
        let Draft { file, digester } = draft;
        file.as_file().sync_all()?;
        let mut sum = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.dir)?;
        sum.write_all(digester.finish().to_string().as_bytes())?;
        sum.as_file().sync_all()?;
        // The sum last: without it the code does not count as there.
        file.persist(self.code_path(component))?;
        sum.persist(self.sum_path(component))?;
        File::open(&self.dir)?.sync_all()
    }

    /// Says that a call needs code that is not there.
    pub fn report_missing(&self) {
        self.missing.notify_one();
    }

    /// Waits until code was reported missing.
    pub async fn missing(&self) {
        self.missing.notified().await;
    }

    /// Maps the code of `component`; `None` if there is none and it has to be compiled anew. What is
    /// there but damaged is removed. Takes tens of microseconds, but for the first time after a start.
    ///
    /// # Errors
    /// If the file cannot be read, or wasmtime refuses a file that is intact.
    pub fn load(&self, component: &Digest) -> Result<Option<Code>, Problem> {
        let internal = |error: &dyn std::fmt::Display| {
            Problem::new(ErrorCode::Internal, format!("cannot load compiled code: {error}"))
        };
        let path = self.code_path(component);
        let Checked { identity, contracts } = match self.check(component, &path) {
            Ok(Some(checked)) => checked,
            Ok(None) => {
                tracing::warn!(%component, "compiled code is damaged or incomplete and is removed");
                self.remove(component).map_err(|error| internal(&error))?;
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(internal(&error)),
        };
        // SAFETY: the file was written by `keep` from the output of this same engine's
        // compatible version (the folder's name has its hash; `apart.rs` says what may be thought of a
        // process that compiled), its content was checked against the sum written with it, and the
        // folder is writable by this host alone, which never writes to a file that has this name: what
        // `keep` may have put in its place since is as good.
        let loaded = unsafe { Component::deserialize_file(&self.wasmtime, &path) };
        let component = loaded.map_err(|error| internal(&format!("{error:#}")))?;
        Ok(Some(Code { component, size_bytes: identity.size, contracts }))
    }

    /// Removes the code of `component`. Handlers that use it go on.
    ///
    /// # Errors
    /// If a file is there but cannot be removed.
    pub fn remove(&self, component: &Digest) -> io::Result<()> {
        self.checked().remove(component);
        for path in [self.sum_path(component), self.code_path(component)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// What is known of the code at `path` if it fits its sum; `None` if it does not.
    fn check(&self, component: &Digest, path: &Path) -> io::Result<Option<Checked>> {
        let identity = Identity::of(&fs::metadata(path)?);
        if let Some(checked) = self.checked().get(component).filter(|checked| checked.identity == identity) {
            return Ok(Some(checked.clone()));
        }
        let mut file = File::open(path)?;
        let identity = Identity::of(&file.metadata()?);
        let wanted = match fs::read_to_string(self.sum_path(component)) {
            Ok(wanted) => wanted,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {
                return Ok(None);
            }
            // Such as no descriptor being left, which is nothing against the code.
            Err(error) => return Err(error),
        };
        if wanted != Digest::of_reader(&mut file)?.to_string() {
            return Ok(None);
        }
        let checked = Checked { identity, contracts: Arc::default() };
        self.checked().insert(*component, checked.clone());
        Ok(Some(checked))
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<Digest, Checked>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn code_path(&self, component: &Digest) -> PathBuf {
        self.dir.join(format!("{}.{CODE}", component.to_hex()))
    }

    fn sum_path(&self, component: &Digest) -> PathBuf {
        self.dir.join(format!("{}.{SUM}", component.to_hex()))
    }
}

/// Code that is being written: whole or not at all, and never into a file that may be mapped. What is
/// not kept is removed.
pub(crate) struct Draft {
    file: NamedTempFile,
    digester: Digester,
}

impl Draft {
    /// Whether it looks like compiled code. Whether it can be run shows when it is loaded.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn is_code(&self) -> io::Result<bool> {
        // Through its name, which nobody else can give to another file.
        match wasmtime::Engine::detect_precompiled_file(self.file.path()) {
            Ok(found) => Ok(found == Some(wasmtime::Precompiled::Component)),
            Err(error) => error.downcast::<io::Error>().map_or(Ok(false), Err),
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digester.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes the code of other versions and settings of the engine, which nobody will ask for again.
fn remove_others(dir: &Path, name: &str) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let other = entry.file_name();
        if other != *name && other.len() == name.len() && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, wasmtime::Engine, CodeCache) {
        let folder = tempfile::tempdir().unwrap();
        let wasmtime = wasmtime::Engine::default();
        let cache = CodeCache::open(folder.path(), &wasmtime).unwrap();
        (folder, wasmtime, cache)
    }

    fn insert(wasmtime: &wasmtime::Engine, cache: &CodeCache) -> Digest {
        let wasm = b"(component)";
        let digest = Digest::of(wasm);
        #[expect(clippy::disallowed_methods, reason = "what is compiled is written above")]
        let code = wasmtime.precompile_component(&wat::parse_bytes(wasm).unwrap()).unwrap();
        let mut draft = cache.draft().unwrap();
        draft.write_all(&code).unwrap();
        cache.keep(&digest, draft).unwrap();
        digest
    }

    /// Changes one byte without changing the length.
    fn damage(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn damaged_code_is_removed_and_not_run() {
        for after_a_load in [false, true] {
            for damaged in [CodeCache::code_path, CodeCache::sum_path] {
                let (folder, wasmtime, cache) = cache();
                let digest = insert(&wasmtime, &cache);
                if after_a_load {
                    assert!(cache.load(&digest).unwrap().is_some());
                }
                damage(&damaged(&cache, &digest));
                // What was checked is known by its inode, whose sum is not read again.
                let cache = CodeCache::open(folder.path(), &wasmtime).unwrap();
                assert!(cache.load(&digest).unwrap().is_none());
                assert!(!cache.contains(&digest));
                insert(&wasmtime, &cache);
                assert!(cache.load(&digest).unwrap().is_some());
            }
        }
    }

    #[test]
    fn a_draft_that_is_not_kept_leaves_nothing() {
        let (_folder, wasmtime, cache) = cache();
        let mut draft = cache.draft().unwrap();
        draft.write_all(b"half of it").unwrap();
        assert!(cache.components().unwrap().is_empty());
        drop(draft);
        assert!(cache.files().unwrap().is_empty());
        insert(&wasmtime, &cache);
        assert_eq!(cache.files().unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_was_replaced_after_its_check_is_checked_again() {
        let (_folder, wasmtime, cache) = cache();
        let digest = insert(&wasmtime, &cache);
        assert!(!cache.is_checked(&digest));
        assert!(cache.load(&digest).unwrap().is_some());
        assert!(cache.is_checked(&digest));
        let path = cache.code_path(&digest);
        let other = path.with_extension("other");
        fs::copy(&path, &other).unwrap();
        damage(&other);
        fs::rename(&other, &path).unwrap();
        assert!(cache.load(&digest).unwrap().is_none());
    }

    #[test]
    fn code_of_another_engine_is_removed() {
        let (folder, wasmtime, cache) = cache();
        let digest = insert(&wasmtime, &cache);
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let other = CodeCache::open(folder.path(), &wasmtime::Engine::new(&config).unwrap()).unwrap();
        assert!(!other.contains(&digest));
        assert!(!cache.contains(&digest));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
