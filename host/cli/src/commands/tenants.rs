//! `modelet tenants`: which tenants a host has.

use clap::Args;

use crate::client::Client;
use crate::client::answers::Tenant;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet tenants
  modelet tenants --json | jq -r '.tenants[].tenant'

This needs an operator's key. `modelet tenant create` makes one.";

/// List the host's tenants.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Prints a row for each tenant.
///
/// # Errors
/// As for [`Client::tenants`], or if standard output cannot be written.
pub async fn run(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.tenants().await?;
    output.answer(&answer.raw, || {
        let row = |tenant: &Tenant| {
            [tenant.name.clone(), tenant.trust.clone(), tenant.created_at.clone(), tenant.created_by.clone()]
        };
        table(["TENANT", "TRUST", "MADE", "BY"], &answer.value.tenants.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(())
}
