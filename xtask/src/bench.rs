//! `cargo xtask bench`: how fast the host wakes and answers, beside what people would use instead.
//!
//! One run measures everything on one machine; figures of different runs do not compare. Nothing
//! here links the host: it is the `dist` build of `modelet serve`, called over HTTP.

mod accounting;
mod attacks;
mod bars;
mod batching;
mod client;
mod cold_embed;
mod cold_model;
mod cpu;
mod density;
mod digits;
mod fresh;
mod guest;
mod hello;
mod host;
mod keys;
mod languages;
mod magika;
mod memory;
mod neighbour;
mod peers;
mod report;
mod residency;
mod rounds;
mod server;
mod siege;
mod stats;
mod usage;
mod verify;
mod wake;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::machine::{self, Need};
use crate::shell::{command, run as sh};
use crate::workspace;
use peers::Peer;
use report::Report;

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these; by default all.
    #[arg(value_enum)]
    names: Vec<Benchmark>,
    /// Write the figures to this file, as one flat object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// End with an error if a figure misses its bar.
    #[arg(long)]
    check: bool,
    /// Too few and too short measurements, to try the benchmarks themselves.
    #[arg(long, conflicts_with = "check")]
    quick: bool,
}

/// The benchmarks, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Benchmark {
    /// The first call of a function that has gone cold.
    Wake,
    /// A call that finds the function awake, in an instance of its own.
    Fresh,
    /// The same calls of handlers in Rust, Python and JavaScript.
    Languages,
    /// Many calls at once, beside the floor and beside FastAPI.
    Digits,
    /// The same component as under `wasmtime serve`.
    Hello,
    /// A model whose run takes milliseconds, beside the floor.
    Magika,
    /// Requests that run together.
    Batching,
    /// The first answer of a large model that has gone cold, over a plain load and run.
    ColdEmbed,
    /// The load of that model as it was prepared, over its load as it is.
    ColdModel,
    /// Twenty models on a host with memory for five.
    Residency,
    /// Keys, quotas and records of usage, over none of them.
    Accounting,
    /// Bills of millions of records.
    Usage,
    /// Ten thousand functions on one host.
    Density,
    /// Calls of a function while others attack the host.
    Neighbour,
    /// Attacks for ten minutes, and what is left of them.
    Siege,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Calls of a cold function.
    pub samples: usize,
    /// Rounds of each server; a ratio is the median of as many pairs.
    pub rounds: usize,
    /// Length of a round.
    pub round: Duration,
    /// Functions of the host that has many.
    pub functions: usize,
    /// Length of the attacks on a host that is watched.
    pub siege: Duration,
}

const FULL: Effort = Effort {
    samples: 200,
    rounds: 7,
    round: Duration::from_secs(3),
    functions: 10_000,
    siege: Duration::from_secs(600),
};
const QUICK: Effort = Effort {
    samples: 20,
    rounds: 3,
    round: Duration::from_secs(1),
    functions: 100,
    siege: Duration::from_secs(20),
};

/// Set by Ctrl-C. The servers get the signal too, so what is measured afterwards means nothing.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends the run after a Ctrl-C, by the way that stops the servers and removes their folders.
fn check_interrupted() -> anyhow::Result<()> {
    if INTERRUPTED.load(Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs the benchmarks.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let effort = if arguments.quick { QUICK } else { FULL };
    let all = Benchmark::value_variants();
    let chosen: Vec<Benchmark> =
        all.iter().copied().filter(|b| arguments.names.is_empty() || arguments.names.contains(b)).collect();
    ctrlc::set_handler(|| INTERRUPTED.store(true, Relaxed)).context("cannot handle Ctrl-C")?;
    prepare(&chosen)?;

    let mut report = Report::new(&effort);
    for benchmark in &chosen {
        match benchmark {
            Benchmark::Wake => wake::run(&effort, &mut report)?,
            Benchmark::Fresh => fresh::run(&effort, &mut report)?,
            Benchmark::Languages => languages::run(&effort, &mut report)?,
            Benchmark::Digits => digits::run(&effort, &mut report)?,
            Benchmark::Hello => hello::run(&effort, &mut report)?,
            Benchmark::Magika => magika::run(&effort, &mut report)?,
            Benchmark::Batching => batching::run(&effort, &mut report)?,
            Benchmark::ColdEmbed => cold_embed::run(&effort, &mut report)?,
            Benchmark::ColdModel => cold_model::run(&effort, &mut report)?,
            Benchmark::Residency => residency::run(&effort, &mut report)?,
            Benchmark::Accounting => accounting::run(&effort, &mut report)?,
            Benchmark::Usage => usage::run(&effort, &mut report)?,
            Benchmark::Density => density::run(&effort, &mut report)?,
            Benchmark::Neighbour => neighbour::run(&effort, &mut report)?,
            Benchmark::Siege => siege::run(&effort, &mut report)?,
        }
        check_interrupted()?;
    }
    report.print(&chosen);
    if let Some(file) = &arguments.json {
        fs::write(file, report.to_json()).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    let missed = bars::missed(&chosen, &report);
    for line in &missed {
        eprintln!("missed: {line}");
    }
    if arguments.check && !missed.is_empty() {
        bail!("{} of the bars were missed", missed.len());
    }
    Ok(())
}

/// Builds and fetches everything first, so that nothing else runs while something is measured.
fn prepare(chosen: &[Benchmark]) -> anyhow::Result<()> {
    let with_fastapi = chosen.contains(&Benchmark::Digits);
    let python = if with_fastapi { Need::PythonForFastApi } else { Need::Python };
    let mut needs = vec![Need::CCompiler, python, Need::Wrk];
    if chosen.contains(&Benchmark::Languages) {
        needs.push(Need::Node);
    }
    machine::check(&needs)?;
    machine::ensure_guest_target()?;
    sh(&mut command("python3", ["examples/fetch.py", "onnxruntime", "filetype", "embed"]))?;
    sh(&mut command("cargo", ["build", "--profile", PROFILE, "-p", "modelet", "-p", "floor"]))?;
    if chosen.contains(&Benchmark::ColdModel) {
        build_example("modelet-inference", cold_model::PROGRAM)?;
    }
    if chosen.contains(&Benchmark::Usage) {
        build_example("modelet-observe", usage::PROGRAM)?;
    }
    if with_fastapi {
        Peer::FastApi.set_up()?;
    }
    if chosen.contains(&Benchmark::Hello) {
        Peer::Wasmtime.set_up()?;
    }
    Ok(())
}

/// The profile of what is measured.
const PROFILE: &str = "dist";

/// A program of that build.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    Ok(target()?.join(PROFILE).join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// Builds an example of a package in that profile.
fn build_example(package: &str, name: &str) -> anyhow::Result<()> {
    sh(&mut command("cargo", ["build", "--profile", PROFILE, "-p", package, "--example", name]))
}

/// An example of that build.
fn example_program(name: &str) -> anyhow::Result<PathBuf> {
    Ok(target()?.join(PROFILE).join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// Cargo's target folder: that of this program's profile is in it.
fn target() -> anyhow::Result<PathBuf> {
    let programs = workspace::programs()?;
    Ok(programs.parent().context("this program is not in cargo's target folder")?.to_owned())
}

/// The ONNX Runtime library that all the servers load.
fn library() -> PathBuf {
    workspace::root().join(".cache/onnxruntime/libonnxruntime.so")
}

/// The model that all the servers run.
fn model() -> PathBuf {
    workspace::root().join("examples/digits/model/digits.onnx")
}

/// What the rounds post: one image.
fn body() -> &'static Path {
    Path::new("examples/digits/requests/one.json")
}
