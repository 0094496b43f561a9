//! `modelet restore`: brings back what `modelet backup` has copied.

use std::path::PathBuf;

use clap::Args;
use modelet_store::{Source, StoreConfig};

use super::store;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  modelet restore --from /backup/monday --data-dir /var/lib/modelet
  modelet restore --from /backup/monday --metastore-url postgres://modelet@db.example/modelet

The folder and the database have to be empty: move away what they have.";

/// Copy a backup to where a host is to start.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    #[command(flatten)]
    place: store::Place,
}

/// Copies.
///
/// # Errors
/// If there is no backup, the place is not empty, or either fails.
pub fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let to = arguments.place.store();
    store::copy(&StoreConfig::embedded(arguments.from), &to, Source::Stopped, output)
}
