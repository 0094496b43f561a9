//! `modelet deploy`: from a folder to a revision that answers calls.

mod steps;

use std::path::PathBuf;

use clap::Args;
use modelet_types::{FunctionName, TenantName};

use crate::client::Client;
use crate::client::answers::Revision;
use crate::manifest::setting::Setting;
use crate::output::{BOLD, DIM, GREEN, Output, in_one_line};

const EXAMPLES: &str = "\
Examples:
  modelet deploy                         build and deploy the project in this folder
  modelet deploy examples/digits
  modelet deploy --no-activate           deploy, and let the active revision answer on
  modelet deploy --name digits-canary    under another name than modelet.toml's
  modelet deploy --set limits.memory_bytes=33554432 --set config.mode=strict
  modelet deploy --no-build              the component that modelet.toml names, as it is

Only files that the host does not have are sent, and an upload that breaks off is taken up where it
was. The host compiles the handler, loads the models and runs their golden inputs before it accepts
the revision; what it refuses is shown with its line in modelet.toml.";

/// Build a function and deploy it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder with modelet.toml.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Deploy the component that modelet.toml names without building it.
    #[arg(long)]
    no_build: bool,
    /// Leave the calls with the revision that has them.
    #[arg(long)]
    no_activate: bool,
    /// Deploy to this function instead of modelet.toml's.
    #[arg(long)]
    name: Option<FunctionName>,
    /// Change an entry of modelet.toml for this deploy; may be given several times.
    #[arg(long, value_name = "ENTRY=VALUE")]
    set: Vec<Setting>,
}

/// Builds, uploads, creates the revision, and says how to call it.
///
/// # Errors
/// If the manifest or a file is wrong or missing, the project does not build, the host cannot be
/// reached or refuses, or standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let (mut raw, revision) = steps::deploy(arguments, client, output).await?;
    let path = format!("/f/{}/{}", TenantName::default_tenant(), revision.function);
    let url = client.url(&path)?;
    raw["url"] = url.as_str().into();
    output.answer(&raw, || summary(&revision, url.as_str()))?;
    Ok(())
}

fn summary(revision: &Revision, url: &str) -> String {
    let Revision { revision: number, active, .. } = revision;
    let function = in_one_line(&revision.function);
    if !active {
        return format!(
            "{GREEN}deployed{GREEN:#} {BOLD}{function}{BOLD:#} revision {number}, not active\n\
             {DIM}next:{DIM:#} modelet activate {function} {number}\n"
        );
    }
    format!(
        "{GREEN}deployed{GREEN:#} {BOLD}{function}{BOLD:#} revision {number}\n\
         {BOLD}{url}{BOLD:#}\n\
         {DIM}next:{DIM:#} curl --data @request.json {url}\n"
    )
}
