//! The files of a data folder that a copy brings along.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use modelet_types::Digest;
use sqlx::any::AnyConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Copied, CopyProgress};
use crate::StoreError;
use crate::blobs::Blobs;
use crate::database::{Connection, parsed, sqlite_options, unsigned};
use crate::folder::{create_folder, sync_parent, write_durably};
use crate::store::blocking;

const HEADS: &str = "audit-heads.jsonl";
const SEALING_KEY: &str = "secret.key";
const AUDIT_KEY: &str = "audit.key";
const LEDGER: &str = "ledger";
const KEY_VALUE: &str = "key-value";

/// In a folder that is being filled, with the store that it is filled from.
const MARKER: &str = "COPYING";

/// Locks are of the process that holds them.
const LEDGER_LOCK: &str = "lock";

/// Reads the heads of the record of changes, if they are in the folder. Blocks.
pub(super) fn read_heads(from: &Path) -> Result<Option<String>, StoreError> {
    let path = from.join(HEADS);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", &path)(error)),
    }
}

/// Begins to fill a folder, which has nothing that would be lost by it: nothing at all, or what a copy of the same
/// store has brought that was broken off. Blocks.
pub(super) fn begin(to: &Path, store: Digest, heads: Option<String>) -> Result<(), StoreError> {
    let (marker, text) = (to.join(MARKER), format!("{}\n", store.to_hex()));
    if fs::read_to_string(&marker).is_ok_and(|begun| begun == text) {
        return Ok(());
    }
    for name in [HEADS, LEDGER, KEY_VALUE] {
        let path = to.join(name);
        let is_empty = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        if path.exists() && !is_empty {
            return Err(StoreError::FolderNotEmpty(path));
        }
    }
    write_durably(&marker, &text)?;
    heads.map_or(Ok(()), |heads| write_durably(&to.join(HEADS), &heads))
}

/// Says that the folder is filled. Blocks.
pub(super) fn end(to: &Path) -> Result<(), StoreError> {
    let marker = to.join(MARKER);
    match fs::remove_file(&marker) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", &marker)(error))
        }
        _ => sync_parent(&marker),
    }
}

/// Copies the bytes of every artifact that has a row, each checked against its digest.
pub(super) async fn copy_artifacts(
    snapshot: &mut Connection,
    from: &Blobs,
    to: &Blobs,
    copied: &mut Copied,
    progress: &mut (impl FnMut(CopyProgress) + Send),
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "SELECT a.digest, MAX(a.size_bytes) AS size_bytes,
             (SELECT COUNT(*) FROM revision_artifacts r WHERE r.digest = a.digest) AS needed
         FROM artifacts a GROUP BY a.digest ORDER BY a.digest",
    )
    .fetch_all(snapshot)
    .await?;
    let mut sizes = Vec::with_capacity(rows.len());
    for row in &rows {
        let digest: Digest = parsed(row, "digest")?;
        sizes.push((digest, unsigned(row, "size_bytes")?, unsigned(row, "needed")? > 0));
    }
    let total_bytes = sizes.iter().map(|(_, size, _)| size).sum();
    for (digest, size, is_needed) in sizes {
        match from.copy_to(to, digest, size).await {
            Ok(()) => {
                copied.artifacts += 1;
                copied.artifact_bytes += size;
            }
            Err(StoreError::BlobLost(_)) if !is_needed => copied.missing += 1,
            Err(error) => return Err(error),
        }
        progress(CopyProgress::Artifacts { bytes: copied.artifact_bytes, total_bytes });
    }
    Ok(())
}

/// Copies what is left: the keys of secrets and of the record of changes, the ledger, and what functions keep.
pub(super) async fn copy_others(from: &Path, to: &Path) -> Result<(), StoreError> {
    let (source, target) = (from.to_owned(), to.to_owned());
    let kept = move || {
        for key in [SEALING_KEY, AUDIT_KEY] {
            copy_key(&source.join(key), &target.join(key))?;
        }
        for file in files(&source.join(LEDGER))? {
            let Some(name) = file.file_name().filter(|name| *name != LEDGER_LOCK) else { continue };
            copy_file(&file, &target.join(LEDGER).join(name))?;
        }
        let mut kept = Vec::new();
        for folder in folders(&source.join(KEY_VALUE))? {
            let databases = files(&folder)?.into_iter();
            let is_database =
                |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sqlite3");
            for file in databases.filter(is_database) {
                let relative = file.strip_prefix(&source).map_err(StoreError::damaged("a path"))?.to_owned();
                kept.push((file, target.join(relative)));
            }
        }
        Ok(kept)
    };
    for (source, target) in blocking(kept).await? {
        copy_database(&source, &target).await?;
    }
    Ok(())
}

/// A target that has another key has secrets or changes of its own, or had.
fn copy_key(from: &Path, to: &Path) -> Result<(), StoreError> {
    let differs = |there: &Vec<u8>| fs::read(from).is_ok_and(|key| key != *there);
    if fs::read(to).as_ref().is_ok_and(differs) {
        return Err(StoreError::OtherSealingKey(to.to_owned()));
    }
    copy_file(from, to)
}

/// Copies a file of SQLite that somebody may be writing to. One that is gone meanwhile is left out.
async fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    let (folder, stale) = (to.parent().map(Path::to_owned), to.to_owned());
    blocking(move || {
        folder.as_deref().map(create_folder).transpose()?;
        match fs::remove_file(&stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &stale)(error))
            }
            _ => Ok(()),
        }
    })
    .await?;
    let options: AnyConnectOptions = sqlite_options(from, "rw")?;
    let mut connection = match options.connect().await {
        Ok(connection) => connection,
        Err(_) if !from.exists() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let name = to.to_str().unwrap_or_default().to_owned();
    sqlx::query("VACUUM INTO $1").bind(name).execute(&mut connection).await?;
    connection.close().await?;
    let copy = to.to_owned();
    blocking(move || {
        crate::folder::keep_private(&copy)?;
        File::open(&copy).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", &copy))?;
        sync_parent(&copy)
    })
    .await
}

/// Copies a file that is there, durably and for this user alone. Blocks.
fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("open", from)(error)),
    };
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    // Renamed into place, so that a copy that is broken off leaves no half of a file.
    let new = to.with_extension("copy");
    let mut write = || {
        let mut target = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()?;
        fs::rename(&new, to)
    };
    write().map_err(StoreError::io("write", to))?;
    sync_parent(to)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    entries(folder, fs::FileType::is_file)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    entries(folder, fs::FileType::is_dir)
}

/// What is in a folder, of one kind; nothing if it is not there.
fn entries(folder: &Path, kind: fn(&fs::FileType) -> bool) -> Result<Vec<PathBuf>, StoreError> {
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    match listed {
        Ok(entries) => {
            let of_kind = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|found| kind(&found));
            Ok(entries.into_iter().filter(of_kind).map(|entry| entry.path()).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("list", folder)(error)),
    }
}
