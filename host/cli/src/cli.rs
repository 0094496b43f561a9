//! The command line: names, help, and what is common to all commands.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use crate::client::DEFAULT_HOST;
use crate::commands;
use crate::error::Error;

const ABOUT: &str = "\
Exit codes:
  0  done
  1  the operation failed
  2  the command line is wrong
  3  there is no such function, revision, secret or file
  4  the host cannot be reached
  5  a manifest, configuration, component, model or input is not valid
  6  the project does not build, or its tests fail
  7  the host has too much to do; try again later

Examples:
  modelet serve                          start a host on this machine
  modelet new my-fn && cd my-fn          make a function
  modelet deploy                         build it and deploy it
  modelet invoke my-fn --data @request.json
  modelet logs my-fn -f                  see what it says

`modelet COMMAND --help` shows examples of each.";

/// Run models as serverless functions.
#[derive(Debug, Parser)]
#[command(version, after_help = ABOUT, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Common to all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Common to all commands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Global {
    /// Address of the host.
    #[arg(long, global = true, env = "MODELET_HOST", default_value = DEFAULT_HOST, value_name = "URL")]
    pub host: String,
    /// Print JSON for a program, errors too.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands, in the order in which a new user needs them.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(commands::serve::Arguments),
    New(commands::new::Arguments),
    Build(commands::build::Arguments),
    Test(commands::test::Arguments),
    Deploy(commands::deploy::Arguments),
    Invoke(commands::invoke::Arguments),
    Functions(commands::functions::Arguments),
    Revisions(commands::revisions::Arguments),
    Logs(commands::logs::Arguments),
    Activate(commands::activate::Arguments),
    Rollback(commands::rollback::Arguments),
    Delete(commands::delete::Arguments),
    State(commands::state::Arguments),
    Secret(commands::secret::Arguments),
    Secrets(commands::secrets::Arguments),
    Completions(commands::completions::Arguments),
}

/// What clap refuses, when whoever gave the arguments wants JSON: without clap's own layout.
pub fn refusal(error: &clap::Error) -> Error {
    let text = error.render().to_string().replace("\n\n  tip: ", "; ");
    let text = text.trim_start_matches("error: ");
    // The usage and where to find help follow, for a person.
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|part| text.find(part)).min();
    let words: Vec<&str> = text[..end.unwrap_or(text.len())].split_whitespace().collect();
    Error::Usage(words.join(" "))
}

/// Whether `arguments`, which clap refuses, ask for JSON.
pub fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    // What follows `--` is for somebody else.
    arguments.into_iter().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
