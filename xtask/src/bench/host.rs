//! The host that is measured: `modelet serve` with its defaults and ONNX Runtime, in the release
//! build.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::server::Server;
use super::{library, program};
use crate::workspace;

const EXAMPLE: &str = "examples/digits";

/// Starts a host on an empty data folder.
pub fn start() -> anyhow::Result<Server> {
    let modelet = program("modelet")?;
    Server::start("modelet", |address, folder| {
        let mut command = Command::new(&modelet);
        command.args(["serve", "--log", "warn", "--listen", &address.to_string(), "--onnxruntime"]);
        command.arg(library()).arg("--data-dir").arg(folder.path().join("data"));
        Ok(command)
    })
}

/// Deploys the digits example as `function`, with `settings` put over its manifest, and returns
/// the path at which it answers.
pub fn deploy(host: &Server, function: &str, settings: &[&str]) -> anyhow::Result<String> {
    deploy_example(host, EXAMPLE, function, settings)
}

/// As [`deploy`], for the example in another folder.
pub fn deploy_example(
    host: &Server,
    example: &str,
    function: &str,
    settings: &[&str],
) -> anyhow::Result<String> {
    let mut command = Command::new(program("modelet")?);
    command.args(["deploy", example, "--name", function]).current_dir(workspace::root());
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output =
        command.env("MODELET_HOST", host.origin()).output().context("cannot run `modelet deploy`")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot deploy `{function}`: {reason}");
    Ok(format!("/f/default/{function}"))
}
