//! `modelet secret`: sets and deletes secrets. A value comes from a file or from standard input, and never
//! from the command line, where other programs and the shell's history would see it.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use modelet_types::secret::MAX_SECRET_BYTES;
use modelet_types::{FunctionName, SecretName};
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::output::{GREEN, Output};

const EXAMPLES: &str = "\
Examples:
  modelet secret set digits api-key --file key.txt
  pass show digits/api-key | modelet secret set digits api-key
  modelet secret delete digits api-key

`secrets = [\"api-key\"]` in modelet.toml grants it to the handler. `modelet secrets` lists those there
are.";

/// Set or delete a secret.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Set a secret to what a file or standard input holds, for all calls from now on.
    ///
    /// A line break at its end is not part of it. A function that does not exist is made, so that its first
    /// revision finds the secret.
    Set {
        /// The function.
        function: FunctionName,
        /// The secret.
        name: SecretName,
        /// Read the value from this file instead of standard input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Delete a secret that no active revision needs.
    Delete {
        /// The function.
        function: FunctionName,
        /// The secret.
        name: SecretName,
    },
}

/// Sets or deletes.
///
/// # Errors
/// If the value cannot be read or is none, the host cannot be reached or refuses, or standard output cannot
/// be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Set { function, name, file } => {
            let value = read(file.as_deref())?;
            let answer = client.set_secret(function.as_str(), name.as_str(), &value).await?;
            output.answer(&answer.raw, || format!("{GREEN}set{GREEN:#} secret {name} of {function}\n"))?;
        }
        Action::Delete { function, name } => {
            client.delete_secret(function.as_str(), name.as_str()).await?;
            let answer = json!({ "function": function, "secret": name, "deleted": true });
            output.answer(&answer, || format!("{GREEN}deleted{GREEN:#} secret {name} of {function}\n"))?;
        }
    }
    Ok(())
}

fn read(file: Option<&Path>) -> anyhow::Result<String> {
    let most = MAX_SECRET_BYTES as u64 + 3;
    let mut bytes = Vec::new();
    match file {
        Some(path) if !path.exists() => {
            return Err(Error::FileNotFound { what: "the secret's".into(), path: path.into() }.into());
        }
        Some(path) => {
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            file.take(most).read_to_end(&mut bytes)?;
        }
        None => {
            let input = std::io::stdin();
            if input.is_terminal() {
                // What is typed there would be shown.
                let detail = "the value is read from standard input: give it a file or a pipe, or use --file";
                return Err(Error::Usage(detail.into()).into());
            }
            input.take(most).read_to_end(&mut bytes).context("cannot read standard input")?;
        }
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Error::Invalid("a secret's value is UTF-8 text".into()))?;
    let value = without_line_end(&text);
    match value.len() {
        1..=MAX_SECRET_BYTES => Ok(value.to_owned()),
        0 => Err(Error::Invalid("a secret's value cannot be empty".into()).into()),
        _ => Err(Error::Invalid(format!("a secret's value has at most {MAX_SECRET_BYTES} bytes")).into()),
    }
}

/// An editor and `echo` put a line break behind what was meant.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_from_a_file_without_its_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(Some(&path))
        };
        assert_eq!(read(b"sesame\n").unwrap(), "sesame");
        assert_eq!(read(b"two\r\nlines\r\n").unwrap(), "two\r\nlines");
        assert_eq!(read(b"sesame\n\n").unwrap(), "sesame\n");
        for wrong in [&b""[..], b"\n", b"\xff", &[b'x'; MAX_SECRET_BYTES + 1]] {
            let error = read(wrong).unwrap_err();
            assert_eq!(crate::error::exit_of(&error), crate::error::Exit::Invalid, "{error}");
        }
        let missing = super::read(Some(&folder.path().join("none"))).unwrap_err();
        assert_eq!(crate::error::exit_of(&missing), crate::error::Exit::NotFound);
    }
}
