//! `modelet revisions`: what was deployed to a function.

use clap::Args;
use modelet_types::FunctionName;

use crate::client::Client;
use crate::client::answers::Revision;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet revisions digits
  modelet revisions digits --json | jq '.revisions[0].spec'";

/// List a function's revisions, newest first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
}

/// Prints a row for each revision.
///
/// # Errors
/// As for [`Client::revisions`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.revisions(arguments.function.as_str()).await?;
    output.answer(&answer.raw, || {
        let rows: Vec<_> = answer.value.revisions.iter().map(row).collect();
        table(["REVISION", "ACTIVE", "CREATED", "BY", "MODELS"], &rows)
    })?;
    Ok(())
}

fn row(revision: &Revision) -> [String; 5] {
    let models = revision.details.models.iter().map(|(name, model)| format!("{name} ({})", model.backend));
    [
        revision.revision.to_string(),
        if revision.active { "yes" } else { "no" }.into(),
        revision.created_at.clone(),
        revision.created_by.clone(),
        models.collect::<Vec<_>>().join(", "),
    ]
}
