//! `modelet deploy`: from a folder to a revision that answers calls.

mod steps;

use std::path::PathBuf;

use clap::Args;
use modelet_types::{FunctionName, Signature, TensorInfo};

use crate::client::Client;
use crate::client::answers::Revision;
use crate::manifest::setting::Setting;
use crate::output::{BOLD, DIM, GREEN, Output, in_one_line};

const EXAMPLES: &str = "\
Examples:
  modelet deploy                         build and deploy the project in this folder
  modelet deploy examples/digits
  modelet deploy iris.onnx               a model alone, without a handler
  modelet deploy --no-activate           deploy, and let the active revision answer on
  modelet deploy --name digits-canary    under another name than modelet.toml's
  modelet deploy --set limits.memory_bytes=33554432 --set config.mode=strict
  modelet deploy --no-build              the component that modelet.toml names, as it is

Only files that the host does not have are sent, and an upload that breaks off is taken up where it
was. The host compiles the handler, loads the models and runs their golden inputs before it accepts
the revision; what it refuses is shown with its line in modelet.toml.";

/// Build a function and deploy it, or deploy a model alone.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder with modelet.toml, or a model in ONNX format.
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
    let path = format!("/f/{}/{}", client.tenant().await?, revision.function);
    let url = client.url(&path)?;
    raw["url"] = url.as_str().into();
    output.answer(&raw, || summary(&revision, url.as_str()))?;
    Ok(())
}

fn summary(revision: &Revision, url: &str) -> String {
    let Revision { revision: number, active, .. } = revision;
    let function = in_one_line(&revision.function);
    if let Some(activation) = revision.pending {
        let waits = super::approve::waits(&function, number, activation);
        return format!("{GREEN}deployed{GREEN:#} {BOLD}{function}{BOLD:#} revision {number}\n{waits}");
    }
    if !active {
        return format!(
            "{GREEN}deployed{GREEN:#} {BOLD}{function}{BOLD:#} revision {number}, not active\n\
             {DIM}next:{DIM:#} modelet activate {function} {number}\n"
        );
    }
    let tensors = match (&revision.spec.signature, &revision.details.kind) {
        (Some(declared), None) => signature(&declared.signature()),
        // Beside a handler of HTTP, which has the function's own address.
        (Some(declared), Some(_)) => {
            let tensors = signature(&declared.signature());
            format!("{DIM}in tensors at{DIM:#} /v2/models/{function}\n{tensors}")
        }
        (None, None) => revision.details.models.values().map(|model| signature(&model.signature)).collect(),
        (None, Some(_)) => String::new(),
    };
    format!(
        "{GREEN}deployed{GREEN:#} {BOLD}{function}{BOLD:#} revision {number}\n\
         {BOLD}{url}{BOLD:#}\n{tensors}\
         {DIM}next:{DIM:#} curl -H \"authorization: Bearer $MODELET_KEY\" --data @request.json {url}\n"
    )
}

/// What a function takes and gives, if that is tensors: then that is what its callers have to know.
fn signature(Signature { inputs, outputs }: &Signature) -> String {
    let inputs = inputs.iter().map(|info| ("takes", info));
    let sides = inputs.chain(outputs.iter().map(|info| ("gives", info)));
    let line = |(side, info): (&str, &TensorInfo)| {
        let dim = |dim: &Option<usize>| dim.map_or_else(|| "any".to_owned(), |dim| dim.to_string());
        let shape: Vec<_> = info.shape.iter().map(dim).collect();
        let (name, element_type) = (in_one_line(&info.name), info.element_type);
        format!("{DIM}{side}{DIM:#} {name}: {element_type} [{}]\n", shape.join(", "))
    };
    sides.map(line).collect()
}
