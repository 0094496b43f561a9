//! `modelet audit check`: an export of changes against the heads that a host has signed, without asking the host.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use modelet_store::{ChainBreak, Heads, PublicKey, Signed, read_anchors, verify_export};
use modelet_types::TenantName;
use serde_json::json;

use crate::error::Error;
use crate::output::{GREEN, Output, RED};

const EXAMPLES: &str = "\
Example:
  modelet audit check changes.jsonl --heads audit-heads.jsonl --public-key ed25519:d75a98…

The changes are those of the tenant that --tenant names, else those of `default`, as `modelet audit export` prints
all of them. Take the file of hashes first: a hash in it whose change is not in the export is a change cut off.";

/// Check an exported record against the signed hashes, without a host. Ends with exit code 1 if it was altered.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What `modelet audit export` printed, from the first change on.
    #[arg(value_name = "FILE")]
    export: PathBuf,
    /// The host's file of hashes.
    #[arg(long, value_name = "FILE")]
    heads: PathBuf,
    /// A public key of the host, which signed them; may be given several times.
    #[arg(long = "public-key", value_name = "KEY", required = true)]
    public_keys: Vec<PublicKey>,
}

/// Checks the files.
///
/// # Errors
/// If one cannot be read, the record is not whole, or standard output cannot be written.
pub fn run(arguments: &Arguments, tenant: Option<&TenantName>, output: Output) -> anyhow::Result<()> {
    let tenant = tenant.cloned().unwrap_or_else(TenantName::default_tenant);
    let keys = &arguments.public_keys;
    let opened = |path: &Path, what: &str| match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::FileNotFound { what: what.to_owned(), path: path.to_owned() }.into())
        }
        opened => opened.with_context(|| format!("cannot read {}", path.display())),
    };
    let export = opened(&arguments.export, "the export")?;
    opened(&arguments.heads, "the file of hashes")?;
    let lines = read_anchors(&arguments.heads)
        .with_context(|| format!("cannot read {}", arguments.heads.display()))?;
    let checked = match Heads::of(&tenant, &lines, keys, None) {
        Ok(heads) => verify_export(BufReader::new(export), &tenant, &heads)
            .with_context(|| format!("{} is no export of changes", arguments.export.display()))?
            .map(|verified| (verified, heads)),
        Err(broken) => Err(broken),
    };
    let checked = checked.and_then(|(verified, heads)| match heads.signed {
        Some(signed) => Ok((verified, heads, signed)),
        None => {
            let reason = "nothing of this tenant is signed with a key that was given".into();
            Err(ChainBreak { id: 1, reason })
        }
    });
    match checked {
        Ok((verified, heads, Signed { since, id: signed_id })) => {
            let (last, checkpoint) = (verified.last, verified.checkpoint.map(|checkpoint| checkpoint.id));
            let answer = json!({
                "tenant": tenant,
                "intact": true,
                "id": last.id,
                "hash": last.hash,
                "checkpoint": checkpoint,
                "signed": { "since": since, "id": signed_id },
                "unsigned_heads": heads.unsigned,
            });
            output.answer(&answer, || {
                let mut text = format!(
                    "{GREEN}intact{GREEN:#} up to change {}; signed up to {signed_id}, since {since}\n",
                    last.id
                );
                if let Some(checkpoint) = checkpoint {
                    text += &format!("changes 2 to {checkpoint} were forgotten, which is signed\n");
                }
                text
            })?;
            Ok(())
        }
        Err(ChainBreak { id, reason }) => {
            let answer = json!({ "tenant": tenant, "intact": false, "broken_at": id, "reason": reason });
            output.answer(&answer, || format!("{RED}not intact{RED:#} at change {id}: {reason}\n"))?;
            Err(Error::Altered { id }.into())
        }
    }
}
