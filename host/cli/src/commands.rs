//! The commands, a file each. A command has `Arguments` and `run`; it prints through `Output`.

pub mod activate;
pub mod build;
pub mod completions;
pub mod delete;
pub mod deploy;
pub mod functions;
pub mod invoke;
pub mod logs;
pub mod new;
pub mod revisions;
pub mod rollback;
pub mod secret;
pub mod secrets;
pub mod serve;
pub mod state;
pub mod test;

use anyhow::Context as _;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::output::Output;

/// Runs what the command line asks for.
///
/// # Errors
/// With an [`Error`](crate::error::Error) in the chain where the failure was foreseen.
pub fn run(cli: Cli, output: Output) -> anyhow::Result<()> {
    let command = match cli.command {
        // These need no host.
        Command::Serve(arguments) => return serve::run(arguments, output),
        Command::New(arguments) => return new::run(&arguments, output),
        Command::Build(arguments) => return build::run(&arguments, output),
        Command::Test(arguments) => return test::run(&arguments),
        Command::Completions(arguments) => return completions::run(&arguments),
        command => command,
    };
    let client = Client::new(&cli.global.host)?;
    // One thread is enough: a client waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the event loop")?.block_on(call(command, &client, output))
}

async fn call(command: Command, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Deploy(arguments) => deploy::run(&arguments, client, output).await,
        Command::Invoke(arguments) => invoke::run(&arguments, client, output).await,
        Command::Functions(arguments) => functions::run(&arguments, client, output).await,
        Command::Revisions(arguments) => revisions::run(&arguments, client, output).await,
        Command::Logs(arguments) => logs::run(&arguments, client, output).await,
        Command::Activate(arguments) => activate::run(&arguments, client, output).await,
        Command::Rollback(arguments) => rollback::run(&arguments, client, output).await,
        Command::Delete(arguments) => delete::run(&arguments, client, output).await,
        Command::State(arguments) => state::run(&arguments, client, output).await,
        Command::Secret(arguments) => secret::run(&arguments, client, output).await,
        Command::Secrets(arguments) => secrets::run(&arguments, client, output).await,
        Command::Serve(_)
        | Command::New(_)
        | Command::Build(_)
        | Command::Test(_)
        | Command::Completions(_) => unreachable!("ran without a host"),
    }
}
