//! The host that is measured: `modelet serve` with its defaults and ONNX Runtime, in the `dist`
//! build.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::server::Server;
use super::{keys, library, program};
use crate::workspace;

/// Each function has lines of its own in the metrics.
const MAX_METRICS_BYTES: u64 = 1 << 30;

/// Starts a host on an empty data folder.
pub fn start() -> anyhow::Result<Server> {
    let modelet = program("modelet")?;
    let server = Server::start("modelet", |address, folder| {
        Ok(serve(&modelet, address, &folder.path().join("data")))
    })?;
    keys::learn(server.origin(), &server.folder().join("data"))?;
    Ok(server)
}

/// Starts a host with a configuration file of this text.
pub fn start_with(text: &str) -> anyhow::Result<Server> {
    let modelet = program("modelet")?;
    let server = Server::start("modelet", |address, folder| {
        let config = folder.path().join("host.toml");
        fs::write(&config, text)?;
        let mut command = serve(&modelet, address, &folder.path().join("data"));
        command.arg("--config").arg(config);
        Ok(command)
    })?;
    let data = server.folder().join("data");
    // One that asks for no key has made none.
    if data.join("operator-key").exists() {
        keys::learn(server.origin(), &data)?;
    }
    Ok(server)
}

/// A figure of a host's metrics, by its name and its labels.
pub fn metric(host: &Server, series: &str) -> anyhow::Result<f64> {
    let answer = keys::get(host.origin(), "/metrics").call()?.into_body();
    let metrics = answer.into_with_config().limit(MAX_METRICS_BYTES).read_to_string()?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.with_context(|| format!("the metrics have no `{series}`"))?.parse().context("a figure is no number")
}

/// Starts a host on a data folder that outlives it.
pub fn start_on(data: &Path) -> anyhow::Result<Server> {
    let modelet = program("modelet")?;
    let server = Server::start("modelet", |address, _| Ok(serve(&modelet, address, data)))?;
    keys::learn(server.origin(), data)?;
    Ok(server)
}

fn serve(modelet: &Path, address: SocketAddr, data: &Path) -> Command {
    let mut command = Command::new(modelet);
    command.args(["serve", "--log", "warn", "--listen", &address.to_string(), "--onnxruntime"]);
    // It would write down where its key is, for a person.
    command.arg(library()).arg("--data-dir").arg(data).env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    command
}

/// Deploys an example, or another project, as `function`, with `settings` put over its manifest, and returns
/// the path at which it answers.
pub fn deploy(
    host: &Server,
    project: impl AsRef<Path>,
    function: &str,
    settings: &[&str],
) -> anyhow::Result<String> {
    let mut command = Command::new(program("modelet")?);
    command.arg("deploy").arg(project.as_ref()).args(["--name", function]).current_dir(workspace::root());
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
        .env("MODELET_HOST", host.origin())
        .env("MODELET_KEY", keys::of(host.origin()).unwrap_or_default());
    let output = command.output().context("cannot run `modelet deploy`")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot deploy `{function}`: {reason}");
    Ok(format!("/f/default/{function}"))
}
