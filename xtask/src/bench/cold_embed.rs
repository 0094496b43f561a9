//! The first answer of a function with a large model that has gone cold, over what its backend needs for a
//! plain load and run of that model.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::client::Client;
use super::report::Report;
use super::stats::median;
use super::{Effort, check_interrupted, host, library, program};
use crate::workspace;

/// A text of 32 tokens.
const TEXT: &str = "xtask/src/bench/text.json";
const MODEL: &str = "examples/embed/model/.fetched/minilm.onnx";
/// The longest that going cold may take.
const PATIENCE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(5);

/// Measures both in turn, so that what else the machine does hits them alike.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let host = host::start()?;
    let scale = ["handler", "instance", "session"].map(|layer| format!("scale.{layer}_idle_timeout_ms=1"));
    let settings: Vec<&str> =
        scale.iter().map(String::as_str).chain(["models.minilm.backend=onnxruntime"]).collect();
    let path = host::deploy(&host, "examples/embed", "embed", &settings)?;
    let url = format!("{}{path}", host.origin());
    let state_url = format!("{}/api/v1/functions/embed/state", host.origin());
    let text = std::fs::read(workspace::root().join(TEXT)).context("cannot read the text")?;
    let mut client = Client::new();
    let samples = effort.rounds * 3;
    eprintln!("cold embed: {samples} samples");
    let (mut cold, mut plain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..samples {
        check_interrupted()?;
        wait_until_cold(&mut client, &state_url)?;
        let ours = client.post(&url, &text)?.took.as_secs_f64() * 1e3;
        let theirs = plain_ms()?;
        cold.push(ours);
        plain.push(theirs);
        ratios.push(ours / theirs);
    }
    report.add("cold_embed_ms", median(&cold).context("there are no samples")?);
    report.add("cold_embed_plain_ms", median(&plain).context("there are no samples")?);
    report.add("cold_embed_ratio", median(&ratios).context("there are no samples")?);
    Ok(())
}

/// What a program that does nothing else needs for loading the model and running it once.
fn plain_ms() -> anyhow::Result<f64> {
    let mut command = Command::new(program("floor")?);
    command.arg("--library").arg(library()).arg("--model").arg(workspace::root().join(MODEL));
    let output = command.arg("--once").output().context("cannot run the floor")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the floor failed: {reason}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("the floor says `{text}`"))
}

fn wait_until_cold(client: &mut Client, state_url: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let state = client.get(state_url)?;
        if is_cold(&state["revisions"][0]) {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            bail!("the function did not go cold within {} s: {state}", PATIENCE.as_secs());
        }
        thread::sleep(INTERVAL);
    }
}

fn is_cold(revision: &Value) -> bool {
    revision["code"] == "cold" && revision["handler"] == "cold" && revision["sessions"][0]["state"] == "cold"
}
