//! Components of the end-to-end suite that cargo does not make: the examples in Python and JavaScript,
//! built by `modelet build` as a user does it, and guests made by other tools without Modelet.
//!
//! Each takes up to half a minute, so one whose sources have not changed is left as it is.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::shell::{command, run as sh};
use crate::workspace;

/// What builds projects: they are built anew when it changes, as they are when their sources do.
const BUILDER: &str = "host/cli/src/project";
const CONTRACT: &str = "wit";
/// What tools make inside of a project's folder.
const MADE: [&str; 4] = [".venv", "node_modules", "build", "__pycache__"];

/// The examples, whose folders then have the tools that the other components are made with.
const PYTHON: &str = "examples/digits-python";
const JAVASCRIPT: &str = "examples/digits-js";
const HTTP_PYTHON: &str = "tests/guests/http-python";
const FETCH_JS: &str = "tests/guests/fetch-js";

/// Builds what is not there or not up to date, and runs the examples' own tests. The `modelet` program
/// must have been built.
///
/// # Errors
/// If a component cannot be built, or a test fails.
pub fn build() -> anyhow::Result<()> {
    let modelet = workspace::programs()?.join(format!("modelet{}", std::env::consts::EXE_SUFFIX));
    for (example, component) in [(PYTHON, "digits_python.wasm"), (JAVASCRIPT, "digits_js.wasm")] {
        let component = workspace::root().join(example).join("build").join(component);
        unless_up_to_date(&component, &[example, CONTRACT, BUILDER], || {
            Ok(command(&modelet, ["build", example]))
        })?;
        sh(&mut command(&modelet, ["test", example]))?;
    }
    let made = folder()?;
    fs::create_dir_all(&made).with_context(|| format!("cannot make `{}`", made.display()))?;
    let component = made.join("http_python.wasm");
    let requirements = format!("{PYTHON}/requirements.txt");
    unless_up_to_date(&component, &[HTTP_PYTHON, &requirements, "Cargo.lock"], || {
        let environment = workspace::root().join(PYTHON).join(".venv");
        let mut python = command(environment.join("bin/componentize-py"), ["--wit-path"]);
        python
            .arg(standard_wit()?)
            .args(["--world", "wasi:http/proxy", "componentize", "--python-path", HTTP_PYTHON, "app"])
            .arg("--output")
            .arg(&component)
            .env("VIRTUAL_ENV", &environment);
        Ok(python)
    })?;
    let component = made.join("fetch_js.wasm");
    let lock = format!("{JAVASCRIPT}/package-lock.json");
    unless_up_to_date(&component, &[FETCH_JS, &lock], || {
        let source = format!("{FETCH_JS}/fetch.js");
        let wit = format!("{FETCH_JS}/wit");
        let tool = workspace::root().join(JAVASCRIPT).join("node_modules/.bin/componentize-js");
        let mut node = command(tool, [&source, "--wit", &wit, "--world-name", "service", "--out"]);
        node.arg(&component);
        Ok(node)
    })
}

/// Where components are put that are not part of an example.
fn folder() -> anyhow::Result<PathBuf> {
    let programs = workspace::programs()?;
    Ok(programs.parent().context("this program is not in cargo's target folder")?.join("languages"))
}

/// The WIT of `wasi:http` 0.2 that the host itself implements.
fn standard_wit() -> anyhow::Result<PathBuf> {
    Ok(workspace::dependency("wasmtime-wasi-http")?.join("wit"))
}

/// Runs a command that makes `component` out of `sources`, files and folders from the root, unless it has
/// been made out of the same ones.
fn unless_up_to_date(
    component: &Path,
    sources: &[&str],
    build: impl FnOnce() -> anyhow::Result<Command>,
) -> anyhow::Result<()> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        hash(&workspace::root().join(source), &mut hasher)?;
    }
    let sources = format!("{:016x}", hasher.finish());
    let note = component.with_extension("sources");
    let shown = component.strip_prefix(workspace::root()).unwrap_or(component).display();
    if component.is_file() && fs::read_to_string(&note).is_ok_and(|noted| noted == sources) {
        eprintln!("  {shown} is up to date");
        return Ok(());
    }
    sh(&mut build()?)?;
    fs::write(&note, sources).with_context(|| format!("cannot write `{}`", note.display()))
}

/// Hashes a file, or all files below a folder, with their names.
fn hash(path: &Path, hasher: &mut impl Hasher) -> anyhow::Result<()> {
    let cannot_read = || format!("cannot read `{}`", path.display());
    path.file_name().hash(hasher);
    if !path.is_dir() {
        fs::read(path).with_context(cannot_read)?.hash(hasher);
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(cannot_read)?;
    let mut inner = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    inner.retain(|path| path.file_name().is_none_or(|name| MADE.iter().all(|made| name != *made)));
    // Folders are read in no order.
    inner.sort();
    inner.iter().try_for_each(|path| hash(path, hasher))
}
