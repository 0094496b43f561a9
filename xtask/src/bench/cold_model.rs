//! What preparing a large model at its deploy is worth: its load in ONNX Runtime as it was prepared, over its
//! load as it is. rten prepares nothing: it maps the model's own file.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::report::Report;
use super::{Effort, example_program, library};
use crate::workspace;

/// Loads both ways in turn, in a process that does nothing else.
pub const PROGRAM: &str = "prepared_time";
const MODEL: &str = "examples/embed/model/.fetched/minilm.onnx";

/// Measures.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let samples = effort.rounds * 2 + 1;
    eprintln!("cold model: {samples} samples");
    let mut program = Command::new(example_program(PROGRAM)?);
    program.arg(library()).arg(workspace::root().join(MODEL));
    // The runs after each load are of no interest here, and as short as can be.
    let output = program.args(["1".to_owned(), samples.to_string()]).output();
    let output = output.with_context(|| format!("cannot run {PROGRAM}"))?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{PROGRAM} failed: {reason}");
    let measured: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("cannot read what {PROGRAM} says"))?;
    let figures = [
        ("cold_model_plain_ms", "plain_ms"),
        ("cold_model_prepared_ms", "prepared_ms"),
        ("cold_model_prepared_ratio", "ratio"),
    ];
    for (key, name) in figures {
        let figure = measured[name].as_f64();
        report.add(key, figure.with_context(|| format!("{PROGRAM} does not say `{name}`"))?);
    }
    Ok(())
}
