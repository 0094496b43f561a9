//! Projects in Python: componentize-py makes the component out of the module `app` and what it imports.
//!
//! It and all that `requirements.txt` names stand in a virtual environment in the project's folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::tool;
use crate::error::Error;

/// The module that exports the handler.
const MODULE: &str = "app";
/// The folder of the contract in the project, and the world that the handler is written against.
const WIT: &str = "wit";
const WORLD: &str = "function";

const REQUIREMENTS: &str = "requirements.txt";
const ENVIRONMENT: &str = ".venv";
/// In the environment: the requirements that it was made with.
const INSTALLED: &str = "installed-requirements.txt";

/// Builds `component`, a path from the project's folder.
///
/// # Errors
/// If something is missing in the project or on the machine, or the module cannot be imported.
pub fn build(folder: &Path, component: &Path) -> anyhow::Result<()> {
    let source = folder.join(MODULE).with_extension("py");
    if !source.is_file() {
        return Err(Error::FileNotFound { what: "the handler's module".into(), path: source }.into());
    }
    let wit = folder.join(WIT);
    if !wit.is_dir() {
        return Err(Error::FileNotFound { what: "the contract's folder".into(), path: wit }.into());
    }
    let environment = set_up(folder)?;
    let componentize = environment.join("bin/componentize-py");
    if !componentize.is_file() {
        return Err(Error::Invalid(format!(
            "{REQUIREMENTS} does not name componentize-py, which makes the component: add it"
        ))
        .into());
    }
    let output = folder.join(component);
    let parent = output.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
    let mut command = Command::new(componentize);
    command
        .args(["--wit-path", WIT, "--world", WORLD, "componentize", MODULE, "--output"])
        .arg(component)
        .current_dir(folder)
        // It looks there for the packages that the module imports.
        .env("VIRTUAL_ENV", &environment);
    tool::run(&mut command, no_python)
}

/// Runs the tests that `unittest` finds in the project, with `arguments` for it.
///
/// # Errors
/// If something is missing on the machine, or a test fails.
pub fn test(folder: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    let environment = set_up(folder)?;
    let mut python = python(&environment);
    python.args(["-m", "unittest"]).args(arguments).current_dir(folder);
    tool::run_for_person(&mut python, no_python)
}

/// Makes the virtual environment, unless it is there with what the requirements name now.
fn set_up(folder: &Path) -> anyhow::Result<PathBuf> {
    // A relative path to a program would be read from another folder than this process's.
    let folder = folder.canonicalize().context("cannot resolve the project's folder")?;
    let (requirements, environment) = (folder.join(REQUIREMENTS), folder.join(ENVIRONMENT));
    let wanted =
        fs::read(&requirements).with_context(|| format!("cannot read `{}`", requirements.display()))?;
    let installed = environment.join(INSTALLED);
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(environment);
    }
    check_python()?;
    // Anew: what the requirements no longer name goes, and so does a half-made environment.
    tool::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment), no_python)?;
    let mut pip = python(&environment);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
    tool::run(&mut pip, no_python)?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write `{}`", installed.display()))?;
    Ok(environment)
}

fn python(environment: &Path) -> Command {
    let mut python = Command::new(environment.join("bin/python"));
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// Whether there is a Python, and what Debian and others leave out of it.
fn check_python() -> anyhow::Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))"]);
    if tool::ask(&mut python, no_python)?.status.success() {
        return Ok(());
    }
    let what = "python3 is older than 3.9, or has no `venv`".into();
    Err(Error::Missing { what, install: tool::install("python3 python3-venv", "python") }.into())
}

fn no_python() -> Error {
    let what = "python3, which builds handlers in Python, is not installed".into();
    Error::Missing { what, install: tool::install("python3 python3-venv", "python") }
}
