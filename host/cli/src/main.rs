//! `modelet`: the host, and the command line that talks to one.
//!
//! `commands` has a file a command; they use `client` (the host's API), `manifest` (`modelet.toml`),
//! `project` (the tools of each language) and `output`. Only `serve` knows the server, `backend` where it looks for a library,
//! and `main` the one thing that is no command; the others know its API alone.

mod cli;
mod client;
mod commands;
mod credentials;
mod diagnostic;
mod error;
mod manifest;
mod output;
mod progress;
mod project;
mod template;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use output::Output;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // What a host starts this program for is no command for people, and comes before everything that
    // makes one, since it is to start fast and have one thread.
    modelet_server::compile_worker_if_asked();
    modelet_server::model_worker_if_asked();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version are for people, whatever stands beside them.
        Err(error) if error.use_stderr() && cli::asks_for_json(std::env::args_os().skip(1)) => {
            let error = cli::refusal(&error).into();
            Output::new(true).error(&error);
            return error::exit_of(&error).into();
        }
        Err(error) => error.exit(),
    };
    let output = Output::new(cli.global.json);
    match commands::run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has enough of it, as `head` has after ten lines.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            error::exit_of(&error).into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
