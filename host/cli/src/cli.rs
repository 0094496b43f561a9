//! The command line: names, help, and what is common to all commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use modelet_types::TenantName;

use crate::client::DEFAULT_HOST;
use crate::commands;
use crate::credentials::Credential;
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
  8  the key is missing, not valid, or not for this

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
    /// File with the key for the host [default: MODELET_KEY, or what `modelet login` kept].
    #[arg(long, global = true, env = "MODELET_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File of certificates in PEM format whose authorities are trusted beside the public ones.
    #[arg(long, global = true, env = "MODELET_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Act for this tenant, with an operator's key.
    #[arg(long, global = true, env = "MODELET_TENANT", value_name = "TENANT")]
    pub tenant: Option<TenantName>,
    /// Print JSON for a program, errors too.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// The key that this command was given, if it was given one.
    pub fn credential(&self) -> Option<Credential> {
        let variable =
            || std::env::var("MODELET_KEY").ok().filter(|key| !key.is_empty()).map(Credential::Key);
        self.key_file.clone().map(Credential::KeyFile).or_else(variable)
    }
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
    Approve(commands::approve::Arguments),
    Reject(commands::approve::RejectArguments),
    Rollback(commands::rollback::Arguments),
    Delete(commands::delete::Arguments),
    Function(commands::function::Arguments),
    State(commands::state::Arguments),
    Secret(commands::secret::Arguments),
    Secrets(commands::secrets::Arguments),
    Usage(commands::usage::Arguments),
    Statement(commands::statement::Arguments),
    Quotas(commands::quotas::Arguments),
    Audit(commands::audit::Arguments),
    Key(commands::key::Arguments),
    Keys(commands::keys::Arguments),
    Tenant(commands::tenant::Arguments),
    Tenants(commands::tenants::Arguments),
    Login(commands::login::Arguments),
    Logout(commands::login::LogoutArguments),
    Backend(commands::backend::Arguments),
    Store(commands::store::Arguments),
    Backup(commands::backup::Arguments),
    Restore(commands::restore::Arguments),
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
