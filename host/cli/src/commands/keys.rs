//! `modelet keys`: which keys a tenant has.

use clap::Args;

use crate::client::Client;
use crate::client::answers::Key;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet keys
  modelet keys --json | jq -r '.keys[] | select(.last_used_at == null) | .id'

The keys themselves are shown to nobody: only the ids by which `modelet key` rotates and revokes them.";

/// List the tenant's API keys: what each is for, when it ends and when it was last used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Prints a row for each key.
///
/// # Errors
/// As for [`Client::keys`], or if standard output cannot be written.
pub async fn run(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.keys().await?;
    output.answer(&answer.raw, || {
        let keys = &answer.value.keys;
        if keys.is_empty() {
            return "no keys yet: `modelet key create --role ROLE` makes one\n".into();
        }
        let row = |key: &Key| {
            let functions = key.functions.as_ref().map_or_else(|| "all".into(), |names| names.join(","));
            let or_never = |time: &Option<String>| time.clone().unwrap_or_else(|| "never".into());
            [
                key.id.clone(),
                key.role.clone(),
                functions,
                or_never(&key.expires_at),
                or_never(&key.last_used_at),
                key.description.clone(),
            ]
        };
        let header = ["KEY", "ROLE", "FUNCTIONS", "ENDS", "LAST USED", "DESCRIPTION"];
        table(header, &keys.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(())
}
