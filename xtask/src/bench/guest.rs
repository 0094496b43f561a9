//! Guests of the end-to-end tests that are measured too, in the release build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::shell::{command, run as sh};
use crate::workspace::GUEST_TARGET;

/// Builds the guest `name` of `tests/guests`, and says where its component is.
pub fn build(name: &str) -> anyhow::Result<PathBuf> {
    sh(&mut command("cargo", ["build", "--release", "--target", GUEST_TARGET, "-p", name]))?;
    Ok(super::target()?.join(GUEST_TARGET).join("release").join(name).with_extension("wasm"))
}

/// A folder that can be deployed: a manifest with `component`, and with what else is `more`.
pub fn project(component: &Path, more: &str) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    // A path between quotation marks is the same in Rust and in TOML.
    let manifest = format!("name = \"guest\"\ncomponent = {component:?}\n{more}\n");
    fs::write(folder.path().join("modelet.toml"), manifest).context("cannot write a manifest")?;
    Ok(folder)
}
