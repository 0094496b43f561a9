//! `modelet test`: runs a handler's tests on this machine, without a host.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::project::Project;

const EXAMPLES: &str = "\
Examples:
  modelet test                        the project in this folder
  modelet test examples/digits
  modelet test . -- refuses           what follows `--` is given to what runs the tests

The tests run natively, without a host and without WebAssembly:

  Cargo.toml        cargo test
  package.json      npm test
  requirements.txt  python -m unittest, in the project's virtual environment";

/// Run the handler's tests.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of the project.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Arguments for what runs the tests.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the tests; what runs them prints.
///
/// # Errors
/// If there is no project, its tools are missing, or a test fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    Project::open(&arguments.path)?.test(&arguments.arguments)
}
