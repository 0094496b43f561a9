//! Projects in Rust: cargo builds and tests them.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use cargo_metadata::Message;

use super::tool;
use crate::error::Error;

/// What handlers are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// Builds the project, and returns the component's path, which cargo knows. Cargo's own progress and
/// errors go to standard error.
///
/// # Errors
/// If something is missing on the machine, or the project does not build or is not a handler's.
pub fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    check_target(folder)?;
    let arguments = ["build", "--release", "--target", TARGET];
    let mut cargo = cargo(folder, &arguments);
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| tool::not_started(&cargo, error, no_cargo))?;
    let stdout = child.stdout.take().expect("standard output is piped");
    let own_manifest =
        folder.join("Cargo.toml").canonicalize().context("cannot resolve the project's folder")?;
    let mut component = None;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        // A project inside a workspace builds other packages too; only its own files count.
        if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
            && artifact.manifest_path.as_std_path() == own_manifest
        {
            let wasm = artifact.filenames.into_iter().find(|file| file.extension() == Some("wasm"));
            component = wasm.map(PathBuf::from).or(component);
        }
    }
    if !child.wait().context("cannot wait for cargo")?.success() {
        return Err(Error::Tool(format!("cargo {}", arguments.join(" "))).into());
    }
    component.ok_or_else(|| {
        Error::Invalid(
            "the project made no component: its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`"
                .into(),
        )
        .into()
    })
}

/// Runs the handler's tests on this machine, with `arguments` for `cargo test`.
///
/// # Errors
/// If cargo is missing, or a test fails.
pub fn test(folder: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    let mut cargo = cargo(folder, &["test"]);
    let status = cargo.args(arguments).status();
    if !status.map_err(|error| tool::not_started(&cargo, error, no_cargo))?.success() {
        return Err(Error::Tool("cargo test".into()).into());
    }
    Ok(())
}

fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    // Cargo sets the variable for what it runs, such as this command in a build script.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(folder);
    cargo
}

/// Asks the compiler that the project uses whether it has the target's standard library.
fn check_target(folder: &Path) -> anyhow::Result<()> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder);
    let output = tool::ask(&mut rustc, no_cargo)?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    let what = format!("the compiler cannot build for {TARGET}");
    Err(Error::Missing { what, install: format!("rustup target add {TARGET}") }.into())
}

fn no_cargo() -> Error {
    let install = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh".into();
    Error::Missing { what: "cargo, which builds handlers in Rust, is not installed".into(), install }
}
