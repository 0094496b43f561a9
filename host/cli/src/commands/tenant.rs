//! `modelet tenant`: makes and deletes tenants, and says how far one is trusted.

use clap::{Args, Subcommand};
use modelet_types::{Quotas, TenantName, Trust};
use serde_json::json;

use super::quotas::{InvocationQuotaArguments, check_given};
use crate::client::Client;
use crate::output::{DIM, GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet tenant create acme && modelet key create --tenant acme --role owner
  modelet tenant trust acme trusted
  modelet tenant plan acme standard
  modelet tenant quotas acme --invocations-per-second 100 --spend-per-month 500
  modelet tenant delete acme

These need an operator's key. `modelet tenants` lists the tenants there are; docs/tenants.md says what
tenants share and what they do not.";

/// Make or delete a tenant, or set its quotas, its plan and how far it is trusted.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a tenant. A name is never given twice.
    Create {
        /// Its name.
        #[arg(value_name = "TENANT")]
        name: TenantName,
        /// How far it is trusted: `trusted` or `untrusted`.
        #[arg(long, default_value = "untrusted", value_name = "LEVEL")]
        trust: Trust,
    },
    /// Say how far a tenant is trusted.
    Trust {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        name: TenantName,
        /// `trusted` or `untrusted`.
        #[arg(value_name = "LEVEL")]
        trust: Trust,
    },
    /// Give a tenant a plan, whose prices are in the host's configuration.
    Plan {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        name: TenantName,
        /// The name of the plan.
        plan: String,
    },
    /// Set a tenant's quotas, in place of all that it has: what is left out has no bound.
    Quotas {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        name: TenantName,
        #[command(flatten)]
        quotas: QuotaArguments,
    },
    /// Delete a tenant that has no functions, with its keys.
    Delete {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        name: TenantName,
    },
}

/// What a tenant may use.
#[derive(Debug, Args)]
struct QuotaArguments {
    /// None at all: takes away those that the tenant has.
    #[arg(long, conflicts_with_all = ["InvocationQuotaArguments", "functions", "artifact_bytes", "cpu_weight"])]
    none: bool,
    #[command(flatten)]
    invocations: InvocationQuotaArguments,
    /// Functions.
    #[arg(long, value_name = "COUNT")]
    functions: Option<u32>,
    /// Bytes of components and models.
    #[arg(long, value_name = "BYTES")]
    artifact_bytes: Option<u64>,
    /// Its part of the processors while others want them too, 1 to 100; 1 if it is not set.
    #[arg(long, value_name = "WEIGHT")]
    cpu_weight: Option<u32>,
}

impl QuotaArguments {
    fn quotas(&self) -> Quotas {
        let Self { none: _, invocations, functions, artifact_bytes, cpu_weight } = self;
        Quotas {
            functions: *functions,
            artifact_bytes: *artifact_bytes,
            cpu_weight: *cpu_weight,
            ..invocations.quotas().into()
        }
    }
}

/// Makes, trusts or deletes.
///
/// # Errors
/// If the host cannot be reached or refuses, or standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Create { name, trust } => {
            let answer = client.create_tenant(name, *trust).await?;
            output.answer(&answer.raw, || {
                format!(
                    "{GREEN}made{GREEN:#} tenant {name}, {}\n{DIM}next{DIM:#}  modelet key create --tenant {name} \
                     --role owner\n",
                    trust.as_str()
                )
            })?;
        }
        Action::Trust { name, trust } => {
            let answer = client.set_trust(name, *trust).await?;
            output.answer(&answer.raw, || format!("tenant {name} is {}\n", trust.as_str()))?;
        }
        Action::Plan { name, plan } => {
            let answer = client.set_plan(name, plan).await?;
            output.answer(&answer.raw, || format!("tenant {name} has plan {plan}\n"))?;
        }
        Action::Quotas { name, quotas } => {
            let (none, quotas) = (quotas.none, quotas.quotas());
            check_given(none || quotas != Quotas::default())?;
            let answer = client.set_quotas(name, &quotas).await?;
            let shown = serde_json::to_string(&answer.raw["quotas"])?;
            output.answer(&answer.raw, || format!("tenant {name} has quotas {shown}\n"))?;
        }
        Action::Delete { name } => {
            client.delete_tenant(name).await?;
            let answer = json!({ "tenant": name, "deleted": true });
            output.answer(&answer, || format!("{GREEN}deleted{GREEN:#} tenant {name}\n"))?;
        }
    }
    Ok(())
}
