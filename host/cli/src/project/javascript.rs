//! Projects in JavaScript: what their `package.json` calls `build` makes the component, and what it calls
//! `test` tests the handler. npm runs both, with packages in the project's own `node_modules`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use super::tool;
use crate::error::Error;

/// npm's own note in `node_modules` of what is installed.
const INSTALLED: &str = "node_modules/.package-lock.json";
const LOCK: &str = "package-lock.json";

/// Runs the script `build`.
///
/// # Errors
/// If npm is missing, or the packages cannot be installed, or the script fails.
pub fn build(folder: &Path) -> anyhow::Result<()> {
    set_up(folder)?;
    tool::run(npm(folder).args(["run", "build"]), no_npm)
}

/// Runs the script `test`, with `arguments` for it.
///
/// # Errors
/// If npm is missing, the packages cannot be installed, or a test fails.
pub fn test(folder: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    set_up(folder)?;
    tool::run_for_person(npm(folder).args(["test", "--"]).args(arguments), no_npm)
}

/// Installs the packages, unless those that the lock file names are there.
fn set_up(folder: &Path) -> anyhow::Result<()> {
    let changed =
        |file: &str| -> Option<SystemTime> { fs::metadata(folder.join(file)).ok()?.modified().ok() };
    let (locked, installed) = (changed(LOCK), changed(INSTALLED));
    if installed.is_some() && installed >= locked {
        return Ok(());
    }
    // `ci` installs exactly what is locked; where nothing is yet, `install` chooses and locks it.
    let install = if locked.is_some() { "ci" } else { "install" };
    tool::run(npm(folder).args([install, "--no-audit", "--no-fund"]), no_npm)
}

fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder);
    npm
}

fn no_npm() -> Error {
    let what = "npm, which builds handlers in JavaScript, is not installed".into();
    Error::Missing { what, install: tool::install("nodejs npm", "node") }
}
