//! `modelet function`: what a function's owner says of it.

use clap::{Args, Subcommand, ValueEnum};
use modelet_types::{FunctionName, InvocationQuotas};

use super::quotas::{InvocationQuotaArguments, check_given};
use crate::client::Client;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  modelet function quotas digits --concurrency 20 --invocations-per-month 100000
  modelet function quotas digits --none
  modelet function approval digits second-person

These need an owner's key. `modelet quotas digits` shows what is used; docs/tenants.md says what each quota bounds,
and what a second person's approval protects from.";

/// Set the quotas of a function, or whether its traffic needs a second person.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Set a function's quotas, in place of all that it has: what is left out has no bound but the tenant's.
    Quotas {
        /// The function.
        function: FunctionName,
        /// None at all: takes away those that the function has.
        #[arg(long, conflicts_with = "InvocationQuotaArguments")]
        none: bool,
        #[command(flatten)]
        quotas: InvocationQuotaArguments,
    },
    /// Say whether a change of a function's traffic needs a second person.
    Approval {
        /// The function.
        function: FunctionName,
        /// Who has to approve.
        by: Approval,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Approval {
    /// Somebody with another key than who asks.
    SecondPerson,
    /// Nobody. What waits for a second person is done away with.
    None,
}

/// Sets it.
///
/// # Errors
/// If the host cannot be reached or refuses, or standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Quotas { function, none, quotas } => {
            let quotas = quotas.quotas();
            check_given(*none || quotas != InvocationQuotas::default())?;
            let answer = client.set_function_quotas(function, &quotas).await?;
            let shown = serde_json::to_string(&answer.raw["quotas"])?;
            output.answer(&answer.raw, || format!("{function} has quotas {shown}\n"))?;
        }
        Action::Approval { function, by } => {
            let needed = *by == Approval::SecondPerson;
            let answer = client.set_approval(function, needed).await?;
            output.answer(&answer.raw, || match needed {
                true => format!("changes of the traffic of {function} wait for a second person\n"),
                false => format!("changes of the traffic of {function} are made at once\n"),
            })?;
        }
    }
    Ok(())
}
