//! Where things are in this repository, and which of its packages are guests.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::shell;

/// What guests are compiled for.
pub const GUEST_TARGET: &str = "wasm32-wasip2";

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the repository")
}

/// The folder of the programs that cargo builds. This program is one of them.
///
/// # Errors
/// If the system does not say where this program is.
pub fn programs() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program's folder")?;
    Ok(this.parent().expect("a program is in a folder").to_owned())
}

/// The packages that are compiled for [`GUEST_TARGET`]: those of `examples/` and `tests/guests/`.
#[derive(Debug, Default)]
pub struct Guests {
    /// Handlers that people may copy from. They have native tests.
    pub examples: Vec<String>,
    /// Programs of the end-to-end suite, some of which run nowhere else.
    pub tests: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// The folder of a package that the workspace depends on, by its name.
///
/// # Errors
/// If cargo cannot read the workspace, or there is no such package.
pub fn dependency(name: &str) -> anyhow::Result<PathBuf> {
    let found = metadata(&["--locked"])?.packages.into_iter().find(|package| package.name == name);
    let manifest = found.with_context(|| format!("nothing depends on `{name}`"))?.manifest_path;
    Ok(manifest.parent().expect("a manifest is in a folder").to_owned())
}

/// Asks cargo for the guests.
///
/// # Errors
/// If cargo cannot read the workspace.
pub fn guests() -> anyhow::Result<Guests> {
    let mut guests = Guests::default();
    for package in metadata(&["--no-deps"])?.packages {
        if package.manifest_path.starts_with(root().join("examples")) {
            guests.examples.push(package.name);
        } else if package.manifest_path.starts_with(root().join("tests/guests")) {
            guests.tests.push(package.name);
        }
    }
    Ok(guests)
}

fn metadata(arguments: &[&str]) -> anyhow::Result<Metadata> {
    let mut cargo = shell::command("cargo", ["metadata", "--format-version=1"]);
    let output = cargo.args(arguments).output().context("cannot run cargo")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("cannot read cargo's metadata")
}
