//! `modelet build`: compiles a handler into a component.

use std::path::PathBuf;

use clap::Args;

use crate::output::{BOLD, Output, bytes};
use crate::project::Project;

const EXAMPLES: &str = "\
Examples:
  modelet build                    the project in this folder
  modelet build examples/digits

The file in the folder says what builds it:

  Cargo.toml        cargo build --release --target wasm32-wasip2
  package.json      npm run build, after npm ci where package-lock.json has changed
  requirements.txt  componentize-py, for the module `app` and the world `function` of the folder `wit`,
                    in a virtual environment `.venv` that is made where requirements.txt has changed

Nothing is installed outside of the project's folder. In Python and JavaScript the component is the file
that modelet.toml names. What is built in any other way is deployed with `modelet deploy --no-build`.";

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
