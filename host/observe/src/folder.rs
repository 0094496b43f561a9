//! Folders for what the host remembers of tenants, which nobody but the host's own user may read.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::Error;

/// Makes a folder that others cannot enter, with those above it. One that was there and that they
/// could enter is closed to them, unless it belongs to another user.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))?;
    let mut permissions = fs::metadata(path).map_err(Error::io("read", path))?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(permissions.mode() & !0o077);
        if let Err(error) = fs::set_permissions(path, permissions) {
            tracing::warn!(path = %path.display(), %error, "other users may read what this host records");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn others_cannot_enter_a_folder_whoever_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let made = dir.path().join("ledger/made");
        create(&made).unwrap();
        assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o700, 0o700));
        fs::set_permissions(&made, Permissions::from_mode(0o755)).unwrap();
        create(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
    }
}
