//! `modelet quotas`: what the tenant may use, and what it uses.

use clap::Args;
use serde_json::Value;

use crate::client::Client;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet quotas
  modelet quotas --json | jq .month.invocations

`modelet tenant quotas` sets them, with an operator's key. docs/tenants.md says what each bounds.";

/// Show the tenant's quotas, and what it uses of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {}

/// Prints a row for each quota that is set, and for what is used.
///
/// # Errors
/// As for [`Client::quotas`], or if standard output cannot be written.
pub async fn run(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.quotas().await?;
    output.answer(&answer.raw, || {
        let body = &answer.value;
        let month = &body["month"];
        let of_month = |sum: &str| month[sum].as_u64().unwrap_or_default();
        let cpu_s = (of_month("cpu_us") + of_month("inference_cpu_us")) / 1_000_000;
        let rows = [
            ("invocations_per_second", None),
            ("concurrency", Some(body["running"].to_string())),
            ("memory_bytes", Some(body["memory_bytes"].to_string())),
            ("functions", None),
            ("artifact_bytes", None),
            ("invocations_per_month", Some(of_month("invocations").to_string())),
            ("cpu_seconds_per_month", Some(cpu_s.to_string())),
            ("spend_per_month", None),
            ("cpu_weight", None),
        ];
        let row = |(name, used): (&str, Option<String>)| {
            let limit = match &body["quotas"][name] {
                Value::Null => "none".to_owned(),
                Value::String(text) => text.clone(),
                limit => limit.to_string(),
            };
            [name.to_owned(), limit, used.unwrap_or_default()]
        };
        table(["QUOTA", "LIMIT", "USED"], &rows.into_iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(())
}
