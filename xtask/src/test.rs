//! `cargo xtask test`: everything that must hold before a change is merged.

use std::process::Command;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::languages;
use crate::lint;
use crate::machine::{self, Need};
use crate::shell::{command, run as sh};
use crate::workspace::{self, GUEST_TARGET};

/// What to run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this step; may be given several times. What it builds on must be there.
    #[arg(long, value_enum)]
    only: Vec<Step>,
    /// Only tests whose names contain one of these.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Fetch the models of others, the ONNX Runtime library, and others' clients.
    Fetch,
    /// Compile the guests.
    Guests,
    /// Check the format and the lints.
    Lint,
    /// Build the components that cargo does not make: in Python and in JavaScript.
    Languages,
    /// Run the tests of each crate, and the end-to-end suite.
    Test,
}

impl Step {
    fn run(self, filter: &[String]) -> anyhow::Result<()> {
        match self {
            Self::Fetch => fetch(),
            Self::Guests => build_guests(),
            Self::Lint => lint::check(),
            Self::Languages => build_languages(),
            Self::Test => test(filter),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs the steps, and says how long each took.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    machine::check(&[Need::CCompiler, Need::Python, Need::Node, Need::PostgreSql])?;
    machine::ensure_guest_target()?;
    let all = Step::value_variants();
    let chosen = all.iter().filter(|step| arguments.only.is_empty() || arguments.only.contains(step));
    let begin = Instant::now();
    let mut times = Vec::new();
    for step in chosen {
        eprintln!("\n== {} ==", step.name());
        let start = Instant::now();
        let done = step.run(&arguments.filter);
        times.push((step.name(), start.elapsed(), done.is_ok()));
        if let Err(error) = done {
            summarise(&times, begin.elapsed());
            let again = format!("cargo xtask test --only {}", step.name());
            return Err(error.context(format!("step `{}` failed; run it alone with `{again}`", step.name())));
        }
    }
    summarise(&times, begin.elapsed());
    Ok(())
}

fn summarise(times: &[(String, Duration, bool)], total: Duration) {
    eprintln!();
    for (name, time, passed) in times {
        let result = if *passed { "ok" } else { "FAILED" };
        eprintln!("{name:<9} {:>7.1} s  {result}", time.as_secs_f64());
    }
    eprintln!("{:<9} {:>7.1} s", "total", total.as_secs_f64());
}

fn fetch() -> anyhow::Result<()> {
    sh(&mut command("python3", ["examples/fetch.py", "all"]))?;
    let root = workspace::root();
    machine::make_environment(&root.join("tests/clients/requirements.txt"), &root.join(".cache/clients"))
}

fn build_guests() -> anyhow::Result<()> {
    let guests = workspace::guests()?;
    let mut cargo = command("cargo", ["build", "--release", "--target", GUEST_TARGET]);
    for package in guests.examples.iter().chain(&guests.tests) {
        cargo.args(["-p", package]);
    }
    sh(&mut cargo)
}

/// The program that builds them is the one that the tests use, so that cargo compiles it once.
fn build_languages() -> anyhow::Result<()> {
    sh(native_tests()?.arg("--no-run"))?;
    languages::build()
}

fn test(filter: &[String]) -> anyhow::Result<()> {
    sh(native_tests()?.arg("--").args(filter))
}

/// Every native test in one go: another choice of packages is another choice of their dependencies'
/// features, and cargo would build wasmtime once for each.
///
/// The tests of the suite's guests are the suite itself: some of them import functions that only a
/// host has, and do not link natively.
fn native_tests() -> anyhow::Result<Command> {
    let mut cargo = command("cargo", ["test", "--workspace", "--no-fail-fast"]);
    for guest in workspace::guests()?.tests {
        cargo.args(["--exclude", &guest]);
    }
    Ok(cargo)
}
