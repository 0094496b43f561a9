//! `modelet test`: runs a handler's tests on this machine, without a host.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::project::Project;

const EXAMPLES: &str = "\
Examples:
  modelet test                        the project in this folder
  modelet test examples/digits
  modelet test . -- refuses -- --nocapture
                                      what follows the first `--` is given to `cargo test`

The tests run natively, against recorded or real models: no host, no WebAssembly.";

/// Run the handler's tests.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of the project.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Arguments for `cargo test`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the tests; cargo prints.
///
/// # Errors
/// If there is no project, cargo is missing, or a test fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    Project::open(&arguments.path)?.test(&arguments.arguments)
}
