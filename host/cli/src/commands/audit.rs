//! `modelet audit`: who changed what, and whether the record of it is whole.

pub mod check;

use std::str::FromStr;

use clap::{Args, Subcommand};
use modelet_store::PublicKey;
use modelet_types::Digest;
use serde_json::{Value, json};

use crate::client::Client;
use crate::client::answers::{Change, Verified};
use crate::error::Error;
use crate::output::{GREEN, Output, RED, YELLOW, in_one_line, table};

const EXAMPLES: &str = "\
Examples:
  modelet audit list
  modelet audit export > changes.jsonl           every change, a line of JSON each
  modelet audit verify                           has anything been edited, left out or cut off?
  modelet audit verify --remembered 118:sha256:9f86…
  modelet audit verify --public-key ed25519:d75a98…
  modelet audit check changes.jsonl --heads audit-heads.jsonl --public-key ed25519:d75a98…

Whoever remembers the last id and hash that `verify` prints can find out later whether the record up to there
was touched, also by somebody who could write to the host's disk.";

/// Show, export and verify the record of the tenant's changes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

/// What is done with the record.
#[derive(Debug, Subcommand)]
pub enum Action {
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
        /// The only public key whose signatures count, as `verify` printed it before; may be given several times.
        #[arg(long = "public-key", value_name = "KEY")]
        public_keys: Vec<PublicKey>,
    },
    Check(check::Arguments),
}

/// An id and a hash that `verify` has printed.
#[derive(Clone, Debug)]
pub struct Remembered {
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
        Action::Verify { remembered, public_keys } => verify(remembered, public_keys, client, output).await,
        Action::Check(_) => unreachable!("it needs no client"),
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
        let page = client.changes_as_written(after).await?;
        for change in &page.changes {
            output.answer(change, || format!("{change}\n"))?;
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

async fn verify(
    remembered: &[Remembered],
    public_keys: &[PublicKey],
    client: &Client,
    output: Output,
) -> anyhow::Result<()> {
    let remembered: Vec<_> =
        remembered.iter().map(|known| json!({ "id": known.id, "hash": known.hash })).collect();
    // A host of before knows no keys.
    let mut asked = json!({ "remembered": remembered });
    if !public_keys.is_empty() {
        asked["public_keys"] = json!(public_keys);
    }
    let answer = client.verify_changes(&asked).await?;
    let verified = &answer.value;
    output.answer(&answer.raw, || told(verified))?;
    if verified.intact {
        return Ok(());
    }
    Err(Error::Altered { id: verified.broken_at.unwrap_or_default() }.into())
}

/// What came of it, for a person.
fn told(verified: &Verified) -> String {
    let shown = |text: &Option<String>| in_one_line(text.as_deref().unwrap_or_default());
    if !verified.intact {
        let (broken, reason) = (verified.broken_at.unwrap_or_default(), shown(&verified.reason));
        return format!("{RED}not intact{RED:#} at change {broken}: {reason}\n");
    }
    let (id, hash) = (verified.id.unwrap_or_default(), shown(&verified.hash));
    let mut text = format!("{GREEN}intact{GREEN:#} {id} changes; remember {id}:{hash}\n");
    let key = shown(&verified.public_key);
    match &verified.signed {
        Some(signed) => {
            let since = in_one_line(&signed.since);
            text += &format!("signed up to change {}, since {since}; the host's key is {key}\n", signed.id);
        }
        None if !key.is_empty() => text += &format!("nothing is signed yet; the host's key is {key}\n"),
        // A host of before.
        None => {}
    }
    if let Some(checkpoint) = &verified.checkpoint {
        text +=
            &format!("changes 2 to {} were forgotten at {}\n", checkpoint.id, in_one_line(&checkpoint.at));
    }
    if verified.unsigned_heads > 0 {
        text +=
            &format!("{} hashes outside of the metastore are of before the key\n", verified.unsigned_heads);
    }
    if !verified.unchecked.is_empty() {
        let ids: Vec<String> = verified.unchecked.iter().map(u64::to_string).collect();
        text += &format!("{YELLOW}not compared{YELLOW:#}, because forgotten: {}\n", ids.join(", "));
    }
    text
}
