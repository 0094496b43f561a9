//! `cargo xtask`: what a developer does with this repository beyond `cargo build`.
//!
//! Each task is a module. They run cargo and the built `modelet`, and link none of its crates, so
//! that a task starts quickly and sees what a user sees.

mod bench;
mod demo;
mod fuzz;
mod languages;
mod lint;
mod machine;
mod shell;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of this repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start a host, deploy a function that reads digits, call it, and watch it sleep and wake.
    Demo(demo::Arguments),
    /// Run everything: lints, unit tests, guests, and the end-to-end suite.
    Test(test::Arguments),
    /// Measure the host beside a bare server and beside FastAPI.
    Bench(bench::Arguments),
    /// Look for bytes that a decoder does not stand.
    Fuzz(fuzz::Arguments),
    /// Check the format and the lints.
    Lint,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Lint => lint::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
