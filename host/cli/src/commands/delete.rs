//! `modelet delete`: removes a function or one of its revisions.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use modelet_types::{FunctionName, RevisionNumber};
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::output::{GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet delete digits                  asks first
  modelet delete digits --revision 2
  modelet delete digits --yes            for scripts

A revision that answers calls cannot be deleted; activate another one first.";

/// Delete a function with all its revisions, its secrets and what it keeps, or one revision.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
    /// Only this revision.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<RevisionNumber>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Asks, and deletes.
///
/// # Errors
/// If nobody can be asked or the answer is no, the host cannot be reached or refuses, or standard
/// output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let function = arguments.function.as_str();
    let what = match arguments.revision {
        Some(revision) => format!("revision {revision} of {function}"),
        None => format!("{function} with all its revisions, its secrets and what it keeps"),
    };
    if !arguments.yes && !confirmed(&what)? {
        anyhow::bail!("nothing was deleted");
    }
    match arguments.revision {
        Some(revision) => client.delete_revision(function, revision.0).await?,
        None => client.delete_function(function).await?,
    }
    let answer = json!({ "function": function, "revision": arguments.revision, "deleted": true });
    output.answer(&answer, || format!("{GREEN}deleted{GREEN:#} {what}\n"))?;
    Ok(())
}

fn confirmed(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || ask(what).is_err() {
        return Err(Error::Usage(format!("deleting {what} needs --yes where nobody can be asked")).into());
    }
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn ask(what: &str) -> std::io::Result<()> {
    let mut err = anstream::stderr().lock();
    write!(err, "delete {what}? [y/N] ")?;
    err.flush()
}
