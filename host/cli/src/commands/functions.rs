//! `modelet functions`: what is deployed.

use clap::Args;
use modelet_types::split::Share;

use crate::client::Client;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet functions
  modelet functions --json | jq -r '.functions[].function'";

/// List the functions.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Prints a row for each function.
///
/// # Errors
/// As for [`Client::functions`], or if standard output cannot be written.
pub async fn run(_: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.functions().await?;
    output.answer(&answer.raw, || {
        let functions = &answer.value.functions;
        if functions.is_empty() {
            return "no functions yet: `modelet deploy` makes one\n".into();
        }
        let row = |function: &crate::client::answers::Function| {
            let url = client.url(&function.url).map_or_else(|_| function.url.clone(), String::from);
            let latest = function.latest.map_or_else(|| "-".into(), |latest| latest.to_string());
            let active = match &function.pending {
                None => traffic(&function.traffic),
                Some(pending) => format!(
                    "{}; {} waits for approval of {}",
                    traffic(&function.traffic),
                    traffic(&pending.traffic),
                    pending.activation
                ),
            };
            [function.name.clone(), active, latest, function.updated_at.clone(), url]
        };
        let rows: Vec<_> = functions.iter().map(row).collect();
        table(["FUNCTION", "ACTIVE", "LATEST", "CHANGED", "URL"], &rows)
    })?;
    Ok(())
}

/// A traffic split for a person: the revision, or each with its share in percent.
pub fn traffic(shares: &[Share]) -> String {
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    match shares {
        [] => "none".into(),
        [only] => only.revision.to_string(),
        several => {
            let percent = |share: &Share| u64::from(share.weight) * 100 / total.max(1);
            let parts = several.iter().map(|share| format!("{} ({} %)", share.revision, percent(share)));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use modelet_types::RevisionNumber;

    use super::*;

    #[test]
    fn shows_shares_in_percent() {
        let share = |revision, weight| Share { revision: RevisionNumber(revision), weight };
        assert_eq!(traffic(&[]), "none");
        assert_eq!(traffic(&[share(3, 7)]), "3");
        assert_eq!(traffic(&[share(2, 1), share(3, 3)]), "2 (25 %), 3 (75 %)");
    }
}
