//! The commands, a file each. A command has `Arguments` and `run`; it prints through `Output`.

pub mod activate;
pub mod approve;
pub mod audit;
pub mod backend;
pub mod backup;
pub mod build;
pub mod completions;
pub mod delete;
pub mod deploy;
pub mod function;
pub mod functions;
pub mod invoke;
pub mod key;
pub mod keys;
pub mod login;
pub mod logs;
pub mod new;
pub mod quotas;
pub mod restore;
pub mod revisions;
pub mod rollback;
pub mod secret;
pub mod secrets;
pub mod serve;
pub mod state;
pub mod statement;
pub mod store;
pub mod tenant;
pub mod tenants;
pub mod test;
pub mod usage;

use anyhow::Context as _;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::credentials::{self, Credential};
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
        Command::Backend(arguments) => return backend::run(arguments, output),
        Command::Store(arguments) => return store::run(arguments, output),
        Command::Backup(arguments) => return backup::run(arguments, output),
        Command::Restore(arguments) => return restore::run(arguments, output),
        Command::Completions(arguments) => return completions::run(&arguments),
        Command::Audit(audit::Arguments { action: audit::Action::Check(arguments) }) => {
            return audit::check::run(&arguments, cli.global.tenant.as_ref(), output);
        }
        command => command,
    };
    let client = Client::new(&cli.global.host, cli.global.ca_file.as_deref())?;
    let client = match &cli.global.tenant {
        Some(tenant) => client.for_tenant(tenant.clone()),
        None => client,
    };
    let given = cli.global.credential();
    let client = match &command {
        // It brings a key, or does away with one.
        Command::Login(_) | Command::Logout(_) => client,
        _ => match given
            .clone()
            .map_or_else(|| credentials::find(&client.origin()), |given| Ok(Some(given)))?
        {
            Some(credential) => client.with_key(credential.key()?),
            None => client,
        },
    };
    // One thread is enough: a client waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the event loop")?.block_on(call(command, client, given, output))
}

async fn call(
    command: Command,
    client: Client,
    given: Option<Credential>,
    output: Output,
) -> anyhow::Result<()> {
    let command = match command {
        Command::Login(_) => return login::run(client, given, output).await,
        Command::Logout(_) => return login::forget(&client, output),
        command => command,
    };
    let client = &client;
    match command {
        Command::Deploy(arguments) => deploy::run(&arguments, client, output).await,
        Command::Invoke(arguments) => invoke::run(&arguments, client, output).await,
        Command::Functions(arguments) => functions::run(&arguments, client, output).await,
        Command::Revisions(arguments) => revisions::run(&arguments, client, output).await,
        Command::Logs(arguments) => logs::run(&arguments, client, output).await,
        Command::Activate(arguments) => activate::run(&arguments, client, output).await,
        Command::Approve(arguments) => approve::run(&arguments, client, output).await,
        Command::Reject(arguments) => approve::reject(&arguments, client, output).await,
        Command::Rollback(arguments) => rollback::run(&arguments, client, output).await,
        Command::Delete(arguments) => delete::run(&arguments, client, output).await,
        Command::Function(arguments) => function::run(&arguments, client, output).await,
        Command::State(arguments) => state::run(&arguments, client, output).await,
        Command::Secret(arguments) => secret::run(&arguments, client, output).await,
        Command::Secrets(arguments) => secrets::run(&arguments, client, output).await,
        Command::Key(arguments) => key::run(&arguments, client, output).await,
        Command::Keys(_) => keys::run(client, output).await,
        Command::Tenant(arguments) => tenant::run(&arguments, client, output).await,
        Command::Usage(arguments) => usage::run(&arguments, client, output).await,
        Command::Audit(arguments) => audit::run(&arguments, client, output).await,
        Command::Quotas(arguments) => quotas::run(&arguments, client, output).await,
        Command::Statement(arguments) => statement::run(&arguments, client, output).await,
        Command::Tenants(_) => tenants::run(client, output).await,
        Command::Login(_) | Command::Logout(_) => unreachable!("ran above"),
        Command::Serve(_)
        | Command::New(_)
        | Command::Build(_)
        | Command::Test(_)
        | Command::Backend(_)
        | Command::Store(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Completions(_) => unreachable!("ran without a host"),
    }
}
