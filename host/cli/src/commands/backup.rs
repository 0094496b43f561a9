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
    /// The host's data folder.
    #[arg(long, env = "MODELET_DATA_DIR", default_value = "modelet-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// The database with its metastore [default: a file in the folder].
    #[arg(long, env = "MODELET_METASTORE_URL", hide_env_values = true, value_name = "URL")]
    metastore_url: Option<String>,
}

/// Copies.
///
/// # Errors
/// If there is no host's data, the new folder has a metastore, or either fails.
pub fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let from = store::place(arguments.data_dir, arguments.metastore_url);
    store::copy(&from, &StoreConfig::embedded(arguments.to), Source::Live, output)
}
