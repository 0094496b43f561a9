//! `modelet state`: which layers of a function are warm, and what it keeps.

use clap::Args;
use modelet_types::FunctionName;

use crate::client::Client;
use crate::client::answers::{RevisionState, SessionState};
use crate::output::{Output, bytes, table};

const EXAMPLES: &str = "\
Examples:
  modelet state digits
  watch modelet state digits             see it fall to zero

The layers go cold one after another, by the idle timeouts under [scale] in modelet.toml: compiled
code, the linked handler, and each model's session. A function with all of them cold costs nothing;
its next call wakes it. IDLE are instances that wait for the next call, as [reuse] says. What the
function keeps through wasi:keyvalue is told below.";

/// Show which layers of a function are warm, and what it keeps.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
}

/// Prints a row for each revision.
///
/// # Errors
/// As for [`Client::state`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.state(arguments.function.as_str()).await?;
    output.answer(&answer.raw, || {
        let rows: Vec<_> = answer.value.revisions.iter().map(row).collect();
        let mut text =
            table(["REVISION", "CODE", "HANDLER", "RUNNING", "WAITING", "IDLE", "SESSIONS"], &rows);
        if let Some(kept) = answer.value.key_value.as_ref().filter(|kept| kept.keys > 0) {
            text.push_str(&format!("\nkeeps {} keys, {}\n", kept.keys, bytes(kept.bytes)));
        }
        text
    })?;
    Ok(())
}

fn row(state: &RevisionState) -> [String; 7] {
    let session = |s: &SessionState| {
        let memory = s.memory_bytes.map(|memory| format!(", {}", bytes(memory))).unwrap_or_default();
        let pinned = if s.pinned { ", pinned" } else { "" };
        let prepared = if s.prepared { ", prepared" } else { "" };
        let cache = s.response_cache.as_ref().map(|cache| {
            let asked = cache.hits + cache.misses;
            format!(", {} answers kept, of use for {} of {asked} requests", cache.answers, cache.hits)
        });
        let cache = cache.unwrap_or_default();
        format!("{} ({}): {}{memory}{prepared}{pinned}{cache}", s.model, s.backend, s.state)
    };
    [
        state.revision.to_string(),
        state.code.clone().unwrap_or_else(|| "-".into()),
        state.handler.clone().unwrap_or_else(|| "-".into()),
        state.instances.running.to_string(),
        state.instances.waiting.to_string(),
        state.instances.idle.to_string(),
        state.sessions.iter().map(session).collect::<Vec<_>>().join(", "),
    ]
}
