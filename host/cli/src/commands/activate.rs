//! `modelet activate`: gives a function's calls to a revision.

use clap::Args;
use modelet_types::{FunctionName, RevisionNumber, TrafficSplit};

use crate::client::Client;
use crate::output::{GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet activate digits 2
  modelet deploy --no-activate && modelet activate digits 5";

/// Give a function's calls to one of its revisions.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
    /// The revision's number.
    revision: RevisionNumber,
}

/// Changes the traffic split.
///
/// # Errors
/// As for [`Client::set_traffic`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let split = TrafficSplit::all_to(arguments.revision);
    let answer = client.set_traffic(arguments.function.as_str(), &split).await?;
    let Arguments { function, revision } = arguments;
    // What waits may be something else, that was asked for before.
    let pending = answer.value.pending.as_ref().filter(|pending| pending.traffic == split.shares());
    output.answer(&answer.raw, || match pending {
        None => format!("{GREEN}{function}{GREEN:#} is answered by revision {revision}\n"),
        Some(pending) => super::approve::waits(function.as_str(), revision, pending.activation),
    })?;
    Ok(())
}
