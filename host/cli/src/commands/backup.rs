//! `modelet backup`: copies what a host keeps to a folder, while it runs.

use std::path::PathBuf;

use clap::Args;
use modelet_store::{Source, StoreConfig};

use super::store;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  modelet backup --to /backup/monday
  modelet backup --data-dir /var/lib/modelet --to /backup/monday

The backup is a data folder, with the key of the secrets: who has it has everything. docs/operating.md says
what is in it, and how PostgreSQL goes back to any moment. `modelet restore` brings it back.";

/// Copy everything that a host keeps to a new folder, also while it runs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The new folder.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    place: store::Place,
}

/// Copies.
///
/// # Errors
/// If there is no host's data, the new folder has a metastore, or either fails.
pub fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let from = arguments.place.store();
    store::copy(&from, &StoreConfig::embedded(arguments.to), Source::Live, output)
}
