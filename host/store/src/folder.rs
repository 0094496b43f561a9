//! The data folder: where each file stands, who may open it, and which format it has.
//!
//! ```text
//! LOCK                                held by the one host that has the folder open
//! VERSION                             the format of everything here
//! metastore.sqlite3                   with its -wal and -shm, unless the metastore is elsewhere
//! METASTORE                           which metastore names the blobs here (`belonging.rs`)
//! operator-key                        the key with which the operator begins (control writes it)
//! secret.key                          what the secrets in the metastore are encrypted with
//! audit.key                           what signs hashes of changes, unless it is elsewhere
//! artifacts/sha256/<2 hex>/<64 hex>   blobs; with a bucket, those of them that were used here
//! artifacts/incoming                  blobs that have not come whole from the bucket
//! artifacts/BUCKET                    the bucket that all blobs are in, if they are in one
//! artifacts/FOLDER                    what tells this folder from others in the bucket's `OWNER`
//! uploads/<tenant>/<64 hex>.part      blobs that have not arrived whole
//! ```
//!
//! The folder may be one that somebody made and others can enter, so nothing in it relies on its
//! mode: each file and folder directly in it is for the host's own user alone.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use modelet_types::{Digest, TenantName};

use crate::StoreError;

/// How long a folder that is locked is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// The format that this host writes, and the highest that it reads.
const VERSION: u32 = 1;

const METASTORE: &str = "metastore.sqlite3";

/// A data folder that this process alone has open.
pub(crate) struct DataFolder {
    root: PathBuf,
    /// The lock ends with the descriptor, also when the process is killed.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if it is missing, and locks it. Blocks on the file system.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        // Absolute, because paths to artifacts are given to other processes.
        let root = std::path::absolute(root).map_err(StoreError::io("find", root))?;
        create_folder(&root)?;
        let lock = lock(&root)?;
        check_version(&root)?;
        let folder = Self { root, _lock: lock };
        let artifacts = folder.root.join("artifacts");
        let blobs = ["sha256", "incoming"].map(|name| artifacts.join(name));
        for private in [artifacts].into_iter().chain(blobs).chain([folder.uploads()]) {
            create_folder(&private)?;
            keep_private(&private)?;
        }
        Ok(folder)
    }

    /// Makes the metastore's file, empty, because SQLite would let others read it. The files that
    /// SQLite makes beside it get its mode.
    pub(crate) fn create_metastore(&self) -> Result<(), StoreError> {
        Self::create_metastore_in(&self.root)
    }

    pub(crate) fn create_metastore_in(root: &Path) -> Result<(), StoreError> {
        let file = metastore_in(root);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(StoreError::io("open", &file))?;
        for suffix in ["", "-wal", "-shm"] {
            keep_private(&root.join(format!("{METASTORE}{suffix}")))?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn metastore(&self) -> PathBuf {
        metastore_in(&self.root)
    }

    pub(crate) fn sealing_key(&self) -> PathBuf {
        self.root.join("secret.key")
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// A tenant's name is a DNS label, so that it cannot lead out of the folder.
    pub(crate) fn part(&self, tenant: &TenantName, digest: Digest) -> PathBuf {
        self.uploads().join(tenant.as_str()).join(format!("{}.part", digest.to_hex()))
    }
}

/// Where the metastore is in a data folder.
pub(crate) fn metastore_in(root: &Path) -> PathBuf {
    root.join(METASTORE)
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A process that the last host was about to start has a copy of its descriptor until it runs
            // its own program.
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(root.to_owned())),
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path)(source)),
        }
    }
}

fn check_version(root: &Path) -> Result<(), StoreError> {
    let path = root.join("VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found: u32 = text.trim().parse().map_err(StoreError::damaged(path.display().to_string()))?;
            if found > VERSION {
                return Err(StoreError::Version { path: root.to_owned(), found, known: VERSION });
            }
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => write_durably(&path, &format!("{VERSION}\n")),
        Err(e) => Err(StoreError::io("read", &path)(e)),
    }
}

/// Writes a small file, durably.
pub(crate) fn write_durably(path: &Path, text: &str) -> Result<(), StoreError> {
    // Renamed into place, so that a host killed here leaves no empty file that no host can read.
    let new = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(StoreError::io("write", path))?;
    sync_parent(path)
}

/// Makes a folder that only this user can read, with those above it, durably.
pub(crate) fn create_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::io("make the folder", path))?;
    sync_parent(path)
}

/// Takes from others what they were allowed to do with a file or folder, if it is there. One that
/// belongs to another user is left as it is.
pub(crate) fn keep_private(path: &Path) -> Result<(), StoreError> {
    let mut permissions = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StoreError::io("read", path)(e)),
    };
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(permissions.mode() & !0o077);
        if let Err(error) = fs::set_permissions(path, permissions) {
            tracing::warn!(path = %path.display(), %error, "other users may read what this host stores");
        }
    }
    Ok(())
}

/// Makes the entry of `path` in its folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(StoreError::io("sync", parent))
}
