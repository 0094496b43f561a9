//! `modelet key`: makes, rotates and revokes keys.

use clap::{Args, Subcommand};
use modelet_types::{FunctionName, KeyId, Role};
use serde_json::json;

use crate::client::Client;
use crate::client::answers::MadeKey;
use crate::output::{BOLD, DIM, GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet key create --role deployer --description ci
  modelet key create --role invoker --function digits --expires-in-days 90
  modelet key create --tenant acme --role owner         as an operator, for a new tenant
  modelet key rotate 3f9a0c21d4e5 --overlap-hours 2
  modelet key revoke 3f9a0c21d4e5
  modelet key create --role invoker --json | jq -r .key

What each role may do is in docs/tenants.md. `modelet keys` lists the keys there are.";

/// Make, rotate or revoke an API key.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key. It is shown once: the host keeps only its digest.
    Create {
        /// What it is for: operator, owner, deployer, invoker or auditor.
        #[arg(long)]
        role: Role,
        /// Only for this function; may be given several times.
        #[arg(long = "function", value_name = "FUNCTION")]
        functions: Vec<FunctionName>,
        /// What it is used for.
        #[arg(long, default_value = "", value_name = "TEXT")]
        description: String,
        /// In how many days it ends [default: never].
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        expires_in_days: Option<u32>,
    },
    /// Make the successor of a key, while the old one goes on for some hours.
    Rotate {
        /// The id of the key.
        key: KeyId,
        /// For how many hours the old key goes on; 0 ends it at once.
        #[arg(long, default_value_t = 24, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(..=720))]
        overlap_hours: u32,
    },
    /// Revoke a key at once.
    Revoke {
        /// The id of the key.
        key: KeyId,
    },
}

/// Makes, rotates or revokes.
///
/// # Errors
/// If the host cannot be reached or refuses, or standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Create { role, functions, description, expires_in_days } => {
            let mut body = json!({ "role": role, "description": description });
            if !functions.is_empty() {
                body["functions"] = json!(functions);
            }
            if let Some(days) = expires_in_days {
                body["expires_in_s"] = json!(u64::from(*days) * 24 * 3_600);
            }
            let answer = client.create_key(&body).await?;
            output.answer(&answer.raw, || shown(&answer.value))?;
        }
        Action::Rotate { key, overlap_hours } => {
            let answer = client.rotate_key(key, u64::from(*overlap_hours) * 3_600).await?;
            let ends = format!("{DIM}{key} goes on for {overlap_hours} h{DIM:#}\n");
            output.answer(&answer.raw, || shown(&answer.value) + &ends)?;
        }
        Action::Revoke { key } => {
            client.revoke_key(key).await?;
            let answer = json!({ "id": key, "revoked": true });
            output.answer(&answer, || format!("{GREEN}revoked{GREEN:#} key {key}\n"))?;
        }
    }
    Ok(())
}

fn shown(made: &MadeKey) -> String {
    let MadeKey { about, key } = made;
    format!(
        "{GREEN}made{GREEN:#} key {} of role {} for {}\n{BOLD}{key}{BOLD:#}\n{DIM}It is not shown again. \
         Use it as MODELET_KEY, with `modelet login`, or as `authorization: Bearer KEY`.{DIM:#}\n",
        about.id, about.role, about.tenant
    )
}
