//! `modelet audit`: who changed what, and whether the record of it is whole.

use std::str::FromStr;

use clap::{Args, Subcommand};
use modelet_types::Digest;
use serde_json::{Value, json};

use crate::client::Client;
use crate::client::answers::Change;
use crate::error::Error;
use crate::output::{GREEN, Output, RED, table};

const EXAMPLES: &str = "\
Examples:
  modelet audit list
  modelet audit export > changes.jsonl           every change, a line of JSON each
  modelet audit verify                           has anything been edited, left out or cut off?
  modelet audit verify --remembered 118:sha256:9f86…

Whoever remembers the last id and hash that `verify` prints can find out later whether the record up to there
was touched, also by somebody who could write to the host's disk.";

/// Show, export and verify the record of the tenant's changes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the last changes.
    List {
        /// How many.
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        last: usize,
    },
    /// Print every change as a line of JSON, the oldest first.
    Export {
        /// Only those after the one with this id.
        #[arg(long, default_value_t = 0, value_name = "ID")]
        after: u64,
    },
    /// Check that no change was edited, left out or cut off. Ends with exit code 1 if one was.
    Verify {
        /// A change that has to be there as it was; may be given several times.
        #[arg(long, value_name = "ID:HASH")]
        remembered: Vec<Remembered>,
    },
}

/// An id and a hash that `verify` has printed.
#[derive(Clone, Debug)]
struct Remembered {
    id: u64,
    hash: Digest,
}

impl FromStr for Remembered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write the id and the hash that `verify` printed, as ID:sha256:DIGITS".to_owned();
        let (id, hash) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self { id: id.parse().map_err(|_| wrong())?, hash: hash.parse().map_err(|_| wrong())? })
    }
}

/// Lists, exports or verifies.
///
/// # Errors
/// If the host cannot be reached or refuses, the record is not whole, or standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    match &arguments.action {
        Action::List { last } => list(*last, client, output).await,
        Action::Export { after } => export(*after, client, output).await,
        Action::Verify { remembered } => verify(remembered, client, output).await,
    }
}

async fn list(last: usize, client: &Client, output: Output) -> anyhow::Result<()> {
    // The record is read from its beginning: its end is where the last page ends.
    let (mut changes, mut after): (Vec<Value>, u64) = (Vec::new(), 0);
    loop {
        let page = client.changes(after).await?.raw;
        changes.extend(page["changes"].as_array().cloned().unwrap_or_default());
        changes.drain(..changes.len().saturating_sub(last));
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    output.answer(&json!({ "changes": changes }), || {
        let row = |change: &Value| {
            let Ok(Change { id, at, actor, origin, action, subject }) =
                serde_json::from_value(change.clone())
            else {
                return Default::default();
            };
            [id.to_string(), at, actor, origin.unwrap_or_default(), action, subject]
        };
        let header = ["ID", "AT", "BY", "FROM", "ACTION", "SUBJECT"];
        table(header, &changes.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(())
}

async fn export(mut after: u64, client: &Client, output: Output) -> anyhow::Result<()> {
    loop {
        let page = client.changes(after).await?.raw;
        for change in page["changes"].as_array().into_iter().flatten() {
            output.answer(change, || format!("{change}\n"))?;
        }
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

async fn verify(remembered: &[Remembered], client: &Client, output: Output) -> anyhow::Result<()> {
    let remembered: Vec<_> =
        remembered.iter().map(|known| json!({ "id": known.id, "hash": known.hash })).collect();
    let answer = client.verify_changes(&json!({ "remembered": remembered })).await?;
    let verified = &answer.value;
    let (id, hash) = (verified.id.unwrap_or_default(), verified.hash.clone().unwrap_or_default());
    let (broken, reason) =
        (verified.broken_at.unwrap_or_default(), verified.reason.clone().unwrap_or_default());
    output.answer(&answer.raw, || {
        if verified.intact {
            format!("{GREEN}intact{GREEN:#} {id} changes; remember {id}:{hash}\n")
        } else {
            format!("{RED}not intact{RED:#} at change {broken}: {reason}\n")
        }
    })?;
    if verified.intact {
        return Ok(());
    }
    Err(Error::Altered { id: broken }.into())
}
