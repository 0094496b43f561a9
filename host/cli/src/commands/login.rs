//! `modelet login` and `modelet logout`: keep a host's key for the commands to come, or forget it.

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::client::Client;
use crate::credentials::{self, Credential};
use crate::error::Error;
use crate::output::{GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet login < key.txt
  pass show modelet/ci | modelet login --host http://10.0.0.7:8421
  modelet login --key-file key.txt

The key is kept in ~/.config/modelet/hosts.json, which only you can read. MODELET_KEY and --key-file come
before what is kept there. On the machine of a host, `modelet` finds the operator's key by itself.";

const KEY_BYTES: u64 = 4_096;

/// Keep a key for a host, read from standard input, for the commands to come.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Forget the key that is kept for a host.
#[derive(Debug, Args)]
pub struct LogoutArguments {}

/// Checks the key and keeps it. `given` is one that came with the command.
///
/// # Errors
/// If there is no key, the host cannot be reached or does not know it, or it cannot be kept.
pub async fn run(client: Client, given: Option<Credential>, output: Output) -> anyhow::Result<()> {
    let key = match given {
        Some(credential) => credential.key()?,
        None => read()?,
    };
    let client = client.with_key(key.clone());
    let answer = client.identity().await?;
    let origin = client.origin();
    let file = credentials::keep(&origin, Some(Credential::Key(key)))?;
    let identity = &answer.value;
    let said = json!({ "host": origin, "kept_in": file, "identity": answer.raw });
    output.answer(&said, || {
        let (role, tenant) = (&identity.role, &identity.tenant);
        format!("{GREEN}kept{GREEN:#} the key of {origin}: role {role}, tenant {tenant}\n")
    })?;
    Ok(())
}

fn read() -> anyhow::Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        // What is typed there would be shown.
        let detail = "the key is read from standard input: give it a file or a pipe, or use --key-file";
        return Err(Error::Usage(detail.into()).into());
    }
    let mut text = String::new();
    input.take(KEY_BYTES).read_to_string(&mut text).context("cannot read standard input")?;
    Ok(credentials::checked(&text)?)
}

/// Forgets the key of a host.
///
/// # Errors
/// If the file of keys cannot be read or written.
pub fn forget(client: &Client, output: Output) -> anyhow::Result<()> {
    let origin = client.origin();
    credentials::keep(&origin, None)?;
    let said = json!({ "host": origin, "kept_in": null });
    output.answer(&said, || format!("{GREEN}forgot{GREEN:#} the key of {origin}\n"))?;
    Ok(())
}
