//! The folder: `<tenant>/<function>.<id>.sqlite3`, for the host's own user alone. Everything here blocks.
//!
//! The id tells a function from one of the same name that was there before, so that nothing of the old
//! one can come to the new one, whatever is still running.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::Owner;

const SUFFIX: &str = ".sqlite3";

/// Where an owner's file is.
pub(crate) fn path(folder: &Path, owner: &Owner) -> PathBuf {
    folder.join(owner.tenant.as_str()).join(format!("{}.{}{SUFFIX}", owner.function, owner.id))
}

/// Makes the folder if it is missing, and closes it to others.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    let is_new = !folder.is_dir();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if is_new {
        return sync_parent(folder);
    }
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(mode & !0o077))?;
    }
    Ok(())
}

/// Makes an empty file, durably, which SQLite then takes for a new database. SQLite itself would let
/// others read it; the files that it makes beside it get this one's mode.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    make_folder(path.parent().expect("a file is in its tenant's folder"))?;
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    sync_parent(path)
}

/// Removes an owner's file and what SQLite has made beside it, durably. They may be gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // The file itself last: as long as it is there, somebody knows that there is something to remove.
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match sync_parent(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

/// Whose files are there. What is named otherwise is not ours.
pub(crate) fn owners(folder: &Path) -> io::Result<Vec<Owner>> {
    let mut owners = Vec::new();
    for tenant in fs::read_dir(folder)? {
        let tenant = tenant?;
        let name = tenant.file_name();
        let Some(name) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if !tenant.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(tenant.path())? {
            if let Some((function, id)) = parse(&file?.file_name()) {
                owners.push(Owner { tenant: modelet_types::TenantName::clone(&name), function, id });
            }
        }
    }
    Ok(owners)
}

fn parse(file_name: &OsStr) -> Option<(modelet_types::FunctionName, u64)> {
    let (function, id) = file_name.to_str()?.strip_suffix(SUFFIX)?.split_once('.')?;
    Some((function.parse().ok()?, id.parse().ok()?))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
