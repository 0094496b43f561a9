//! The files of a data folder that a copy brings along.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use modelet_types::Digest;
use modelet_types::digest::Digester;
use sqlx::any::AnyConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Copied, CopyProgress};
use crate::StoreError;
use crate::database::{Connection, parsed, sqlite_options, unsigned};
use crate::folder::{blob_in, create_folder, sync_parent};
use crate::store::blocking;

const HEADS: &str = "audit-heads.jsonl";
const SEALING_KEY: &str = "secret.key";
const LEDGER: &str = "ledger";
const KEY_VALUE: &str = "key-value";

/// Locks are of the process that holds them.
const LEDGER_LOCK: &str = "lock";

const BUFFER_BYTES: usize = 1 << 20;

/// Copies the heads of the record of changes, if they are in the folder. Blocks.
pub(super) fn copy_heads(from: &Path, to: &Path) -> Result<(), StoreError> {
    copy_file(&from.join(HEADS), &to.join(HEADS)).map(drop)
}

/// Copies the bytes of every artifact that has a row, each checked against its digest.
pub(super) async fn copy_artifacts(
    snapshot: &mut Connection,
    from: &Path,
    to: &Path,
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
        let (source, target) = (blob_in(from, digest), blob_in(to, digest));
        if blocking(move || copy_blob(&source, &target, digest)).await? {
            copied.artifacts += 1;
            copied.artifact_bytes += size;
        } else if is_needed {
            let what = format!("artifact {digest}");
            return Err(StoreError::damaged(what)(
                "its bytes are lost, and a revision needs them".to_owned(),
            ));
        } else {
            copied.missing += 1;
        }
        progress(CopyProgress::Artifacts { bytes: copied.artifact_bytes, total_bytes });
    }
    Ok(())
}

/// Copies what is left: the key of the secrets, the ledger, and what functions keep.
pub(super) async fn copy_others(from: &Path, to: &Path) -> Result<(), StoreError> {
    let (source, target) = (from.to_owned(), to.to_owned());
    let kept = move || {
        copy_key(&source.join(SEALING_KEY), &target.join(SEALING_KEY))?;
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

/// A target that has another key has secrets of its own, or had.
fn copy_key(from: &Path, to: &Path) -> Result<(), StoreError> {
    let differs = |there: &Vec<u8>| fs::read(from).is_ok_and(|key| key != *there);
    if fs::read(to).as_ref().is_ok_and(differs) {
        return Err(StoreError::OtherSealingKey(to.to_owned()));
    }
    copy_file(from, to).map(drop)
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

/// Copies a blob, unless it is there, and says whether it is. Blocks.
fn copy_blob(from: &Path, to: &Path, digest: Digest) -> Result<bool, StoreError> {
    let there = File::open(to).and_then(|mut file| Digest::of_reader(&mut file));
    if there.is_ok_and(|there| there == digest) {
        return Ok(true);
    }
    let actual = match copy_file(from, to)? {
        Some(actual) => actual,
        None => return Ok(false),
    };
    if actual != digest {
        fs::remove_file(to).map_err(StoreError::io("remove", to))?;
        let detail = format!("its bytes have digest {actual}");
        return Err(StoreError::damaged(format!("artifact {digest}"))(detail));
    }
    Ok(true)
}

/// Copies a file that is there, durably and for this user alone, and gives the digest of what it copied.
/// Blocks.
fn copy_file(from: &Path, to: &Path) -> Result<Option<Digest>, StoreError> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", from)(error)),
    };
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    // Renamed into place, so that a copy that is broken off leaves no half of a file.
    let new = to.with_extension("copy");
    let mut write = || {
        let mut target = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        let mut digester = Digester::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match source.read(&mut buffer)? {
                0 => break,
                count => {
                    digester.update(&buffer[..count]);
                    target.write_all(&buffer[..count])?;
                }
            }
        }
        target.sync_all()?;
        fs::rename(&new, to)?;
        Ok(digester.finish())
    };
    let digest = write().map_err(StoreError::io("write", to))?;
    sync_parent(to)?;
    Ok(Some(digest))
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
