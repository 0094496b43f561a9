//! `modelet approve` and `modelet reject`: what a second person says to an activation.

use clap::Args;
use modelet_types::FunctionName;

use super::functions::traffic;
use crate::client::Client;
use crate::output::{DIM, GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet functions                      shows what waits
  modelet revisions digits
  modelet approve digits 12

Whoever asked for it cannot approve it, nor with a key that they have made.";

/// Approve an activation that waits for a second person.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
    /// The activation's number.
    activation: u64,
}

/// Reject an activation that waits for a second person, or take back one's own.
#[derive(Debug, Args)]
pub struct RejectArguments {
    /// The function.
    function: FunctionName,
    /// The activation's number.
    activation: u64,
}

/// That a revision waits for a second person, and what that person does.
pub fn waits(function: &str, revision: impl std::fmt::Display, activation: u64) -> String {
    format!(
        "revision {revision} of {function} waits for a second person\n\
         {DIM}next, with another key:{DIM:#} modelet approve {function} {activation}\n"
    )
}

/// Approves.
///
/// # Errors
/// As for [`Client::approve`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let Arguments { function, activation } = arguments;
    let answer = client.approve(function, *activation).await?;
    let active = traffic(&answer.value.traffic);
    output
        .answer(&answer.raw, || format!("{GREEN}{function}{GREEN:#} is answered by revision {active}\n"))?;
    Ok(())
}

/// Rejects.
///
/// # Errors
/// As for [`Client::reject`], or if standard output cannot be written.
pub async fn reject(arguments: &RejectArguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let RejectArguments { function, activation } = arguments;
    let answer = client.reject(function, *activation).await?;
    output.answer(&answer.raw, || format!("rejected activation {activation} of {function}\n"))?;
    Ok(())
}
