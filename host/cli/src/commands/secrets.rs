//! `modelet secrets`: which secrets a function has.

use clap::Args;
use modelet_types::FunctionName;

use crate::client::Client;
use crate::client::answers::Secret;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet secrets digits
  modelet secrets digits --json | jq -r '.secrets[].name'

Their values are shown to nobody. `modelet secret set` sets one.";

/// List a function's secrets: their names, and when each was set.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
}

/// Prints a row for each secret.
///
/// # Errors
/// As for [`Client::secrets`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.secrets(arguments.function.as_str()).await?;
    output.answer(&answer.raw, || {
        let secrets = &answer.value.secrets;
        if secrets.is_empty() {
            return format!("no secrets yet: `modelet secret set {} NAME` sets one\n", arguments.function);
        }
        let row = |secret: &Secret| [secret.name.clone(), secret.set_at.clone(), secret.set_by.clone()];
        table(["SECRET", "SET", "BY"], &secrets.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(())
}
