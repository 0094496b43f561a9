//! `modelet store`: copies a store to another one, whichever databases they are on. What `backup` and
//! `restore` share with it stands here.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use modelet_store::{ArtifactsConfig, BucketConfig, Copied, CopyProgress, MetastoreUrl, Source, StoreConfig};

use crate::output::{GREEN, Output};
use crate::progress::{Progress, Step};

const EXAMPLES: &str = "\
Examples:
  modelet store copy --from /var/lib/modelet --to /var/lib/modelet \\
      --to-metastore-url postgres://modelet@db.example/modelet
  modelet store copy --from /var/lib/modelet --to /srv/modelet \\
      --from-metastore-url postgres://modelet@db.example/modelet

No host may run on either. The target has to be empty, and the source is left as it is. In the same folder, the
metastore alone is copied. A bucket is reached by the `AWS_` variables, as by the host. `PGPASSWORD` and the file that `PGPASSFILE` names keep passwords from the command line.";

/// Copy what a host keeps to another folder, database or bucket.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Copy everything to a new place, such as from the data folder's SQLite to PostgreSQL, or back.
    Copy {
        /// The data folder that is copied.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The database with its metastore [default: a file in the folder].
        #[arg(long, value_name = "URL")]
        from_metastore_url: Option<String>,
        /// The bucket with its artifacts [default: in the folder].
        #[arg(long, value_name = "s3://BUCKET/PREFIX")]
        from_artifacts_url: Option<String>,
        /// The data folder of the copy; it may be the same.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// The database for its metastore [default: a file in the folder].
        #[arg(long, value_name = "URL")]
        to_metastore_url: Option<String>,
        /// The bucket for its artifacts [default: in the folder].
        #[arg(long, value_name = "s3://BUCKET/PREFIX")]
        to_artifacts_url: Option<String>,
    },
}

/// Copies.
///
/// # Errors
/// If the source is not there or in use, the target is not empty, or either fails.
pub fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let Action::Copy { from, from_metastore_url, from_artifacts_url, to, to_metastore_url, to_artifacts_url } =
        arguments.action;
    let from = place(from, from_metastore_url, from_artifacts_url);
    let to = place(to, to_metastore_url, to_artifacts_url);
    copy(&from, &to, Source::Stopped, output)
}

/// Where a host's data is, as the host itself is told.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The host's data folder.
    #[arg(long, env = "MODELET_DATA_DIR", default_value = "modelet-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// The database with the metastore [default: a file in the folder].
    #[arg(long, env = "MODELET_METASTORE_URL", hide_env_values = true, value_name = "URL")]
    metastore_url: Option<String>,
    /// The bucket with the artifacts [default: in the folder].
    #[arg(long, env = "MODELET_ARTIFACTS_URL", value_name = "s3://BUCKET/PREFIX")]
    artifacts_url: Option<String>,
}

impl Place {
    pub(super) fn store(self) -> StoreConfig {
        place(self.data_dir, self.metastore_url, self.artifacts_url)
    }
}

/// The store of a folder, and perhaps a database and a bucket.
fn place(data_dir: PathBuf, metastore_url: Option<String>, artifacts_url: Option<String>) -> StoreConfig {
    // A variable may be set to nothing.
    let is_set = |url: &String| !url.is_empty();
    let bucket = artifacts_url.filter(is_set).map(BucketConfig::from_env);
    StoreConfig {
        data_dir,
        metastore_url: metastore_url.filter(is_set).map(MetastoreUrl::new),
        artifacts: ArtifactsConfig { bucket, ..ArtifactsConfig::default() },
    }
}

/// Copies, shows how far it is, and says what was copied.
pub(super) fn copy(
    from: &StoreConfig,
    to: &StoreConfig,
    source: Source,
    output: Output,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop")?;
    let progress = Progress::new(output);
    let mut artifacts: Option<Step> = None;
    let copied = runtime.block_on(modelet_store::copy(from, to, source, |done| {
        if let CopyProgress::Artifacts { bytes, total_bytes } = done {
            let step = artifacts.get_or_insert_with(|| progress.transfer("artifacts", total_bytes));
            step.position()(bytes);
        }
    }))?;
    drop(artifacts);
    output.answer(&copied, || {
        let Copied { rows, artifacts, artifact_bytes, missing } = copied;
        let lost = match missing {
            0 => String::new(),
            _ => format!("{missing} artifacts that no revision needs were not there any more\n"),
        };
        format!("{GREEN}copied{GREEN:#} {rows} rows and {artifacts} artifacts ({artifact_bytes} bytes) to {to}\n{lost}")
    })?;
    Ok(())
}
