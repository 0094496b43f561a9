//! Running the programs that build and test projects.

use std::io;
use std::process::{Command, ExitStatus, Output};

use anyhow::Context as _;

use crate::error::Error;

/// The command that installs `debian` and `homebrew` packages on this system.
pub fn install(debian: &str, homebrew: &str) -> String {
    if cfg!(target_os = "macos") {
        format!("brew install {homebrew}")
    } else {
        format!("sudo apt-get install {debian}")
    }
}

/// Runs `command` to its end, and says which it is. Its standard output goes to standard error: what this
/// program answers is for other programs too.
///
/// # Errors
/// `missing` if there is no such program, and an error with the command if it fails.
pub fn run(command: &mut Command, missing: impl FnOnce() -> Error) -> anyhow::Result<()> {
    let started = command.stdout(io::stderr()).spawn();
    let mut child = started.map_err(|error| not_started(command, error, missing))?;
    eprintln!("  $ {}", line(command));
    ended(child.wait(), command)
}

/// As [`run`], but what the program prints is the answer.
///
/// # Errors
/// As [`run`].
pub fn run_for_person(command: &mut Command, missing: impl FnOnce() -> Error) -> anyhow::Result<()> {
    let mut child = command.spawn().map_err(|error| not_started(command, error, missing))?;
    ended(child.wait(), command)
}

fn ended(status: io::Result<ExitStatus>, command: &Command) -> anyhow::Result<()> {
    let line = line(command);
    if !status.with_context(|| format!("cannot wait for `{line}`"))?.success() {
        return Err(Error::Tool(line).into());
    }
    Ok(())
}

/// What `command` prints, whether it succeeds or not.
///
/// # Errors
/// `missing` if there is no such program.
pub fn ask(command: &mut Command, missing: impl FnOnce() -> Error) -> anyhow::Result<Output> {
    command.output().map_err(|error| not_started(command, error, missing))
}

/// Why a program could not be started.
pub fn not_started(command: &Command, error: io::Error, missing: impl FnOnce() -> Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound {
        return missing().into();
    }
    anyhow::Error::from(error).context(format!("cannot run {}", command.get_program().to_string_lossy()))
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
