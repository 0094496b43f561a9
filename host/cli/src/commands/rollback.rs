//! `modelet rollback`: undoes the last activation.

use clap::Args;
use modelet_types::FunctionName;

use super::functions::traffic;
use crate::client::Client;
use crate::output::{GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet rollback digits

The revision that answered before the last change answers again. `modelet revisions` shows which.";

/// Give a function's calls back to the revision that had them before.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
}

/// Rolls back.
///
/// # Errors
/// As for [`Client::roll_back`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let function = &arguments.function;
    let before = client.function(function).await?.value.traffic;
    let answer = client.roll_back(function.as_str()).await?;
    // What waits may be something else, which was asked for before.
    let pending = answer.value.pending.as_ref().filter(|_| answer.value.traffic == before);
    output.answer(&answer.raw, || match pending {
        Some(pending) => {
            super::approve::waits(function.as_str(), traffic(&pending.traffic), pending.activation)
        }
        None => {
            let active = traffic(&answer.value.traffic);
            format!("{GREEN}{function}{GREEN:#} is answered by revision {active} again\n")
        }
    })?;
    Ok(())
}
