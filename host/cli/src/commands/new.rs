//! `modelet new`: makes the folder of a function.

use std::path::PathBuf;

use clap::Args;
use modelet_types::FunctionName;
use serde_json::json;

use crate::error::Error;
use crate::output::{BOLD, DIM, GREEN, Output};
use crate::template;

const EXAMPLES: &str = "\
Examples:
  modelet new iris                 makes ./iris
  modelet new iris --path work/a   makes work/a

What it makes builds (`modelet build`), passes its own tests (`modelet test`) and can be deployed
(`modelet deploy`) as it is: a handler in Rust around a small model. Change it from there.";

/// Make a function that builds and passes its tests at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the function: a-z, 0-9 and `-`, beginning with a letter.
    name: FunctionName,
    /// Folder to make; by default the name, in this folder.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Writes the template and the SDK.
///
/// # Errors
/// If the folder is there and not empty, or a file or standard output cannot be written.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<()> {
    let folder = arguments.path.clone().unwrap_or_else(|| arguments.name.as_str().into());
    let is_empty = folder.read_dir().map_or(true, |mut entries| entries.next().is_none());
    if folder.exists() && !is_empty {
        return Err(Error::Usage(format!(
            "`{}` exists and is not empty: choose another with --path",
            folder.display()
        ))
        .into());
    }
    let written = template::write(&arguments.name, &folder)?;
    output.answer(&json!({ "name": arguments.name, "path": folder, "files": written }), || {
        let mut text = format!("{GREEN}made{GREEN:#} {BOLD}{}{BOLD:#}\n", folder.display());
        for file in &written {
            text.push_str(&format!("  {}\n", file.display()));
        }
        text.push_str(&format!(
            "{DIM}next:{DIM:#} cd {} && modelet test && modelet deploy\n",
            folder.display()
        ));
        text
    })?;
    Ok(())
}
