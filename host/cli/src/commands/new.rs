//! `modelet new`: makes the folder of a function.

use std::path::PathBuf;

use clap::Args;
use modelet_types::FunctionName;
use serde_json::json;

use crate::error::Error;
use crate::output::{BOLD, DIM, GREEN, Output};
use crate::project::Language;
use crate::template;

const EXAMPLES: &str = "\
Examples:
  modelet new iris                 a handler in Rust, in ./iris
  modelet new iris --lang python   in Python
  modelet new iris --lang js       in JavaScript
  modelet new iris --path work/a   makes work/a

What it makes builds (`modelet build`), passes its own tests (`modelet test`) and can be deployed
(`modelet deploy`) as it is: a handler around a small model, the same in every language. Change it from
there. Rust starts fastest and has the SDK with a double of the host for its tests; docs/languages.md
has the differences with figures.

What the build needs on this machine, once:

  rust     rustup, with the target: rustup target add wasm32-wasip2
  python   Python 3.9 or newer with venv
  js       Node.js 20.19 or newer with npm";

/// Make a function that builds and passes its tests at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Name of the function: a-z, 0-9 and `-`, beginning with a letter.
    name: FunctionName,
    /// Language of the handler.
    #[arg(long, value_enum, default_value_t, value_name = "LANGUAGE")]
    lang: Language,
    /// Folder to make; by default the name, in this folder.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Writes the template, and the SDK or the contract that it builds with.
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
    let written = template::write(&arguments.name, arguments.lang, &folder)?;
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
