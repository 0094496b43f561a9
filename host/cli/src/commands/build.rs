//! `modelet build`: compiles a handler into a component.

use std::path::PathBuf;

use clap::Args;

use crate::output::{BOLD, Output, bytes};
use crate::project::Project;

const EXAMPLES: &str = "\
Examples:
  modelet build                    the project in this folder
  modelet build examples/digits

This is `cargo build --release --target wasm32-wasip2`, with a check that the target is installed.";

/// Compile the handler.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of the project.
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// Builds and prints where the component is.
///
/// # Errors
/// If there is no project, it does not build, or standard output cannot be written.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<()> {
    let component = Project::open(&arguments.path)?.build()?;
    output.answer(&component, || {
        format!("{BOLD}{}{BOLD:#} ({})\n", component.path.display(), bytes(component.bytes))
    })?;
    Ok(())
}
