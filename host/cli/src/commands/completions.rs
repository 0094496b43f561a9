//! `modelet completions`: a script that completes this command line in a shell.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;

const EXAMPLES: &str = "\
Examples:
  modelet completions bash > ~/.local/share/bash-completion/completions/modelet
  modelet completions fish > ~/.config/fish/completions/modelet.fish
  modelet completions zsh  > \"${fpath[1]}/_modelet\"";

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Through memory, since the generator panics where a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "modelet", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
