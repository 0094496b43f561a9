//! `modelet usage`: what the tenant has used.

use clap::{Args, ValueEnum};
use modelet_types::FunctionName;

use crate::client::Client;
use crate::client::answers::UsageRow;
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet usage                                          the last 30 days, by day
  modelet usage digits --interval total --per revision
  modelet usage --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --interval hour
  modelet usage --json | jq .total

Times are UTC. Every invocation that has ended is in it. `modelet statement` says what it costs.";

/// Show what the tenant has used, by time, function or revision.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Of this function alone.
    function: Option<FunctionName>,
    /// From this time on [default: 30 days before the end].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time [default: now].
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How rows are divided by time.
    #[arg(long, value_enum, default_value_t = Interval::Day)]
    interval: Interval,
    /// What each row is of.
    #[arg(long, value_enum, default_value_t = Per::Function)]
    per: Per,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Interval {
    Hour,
    Day,
    Total,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Per {
    Tenant,
    Function,
    Revision,
}

/// Prints a row for each time and function.
///
/// # Errors
/// As for [`Client::usage`], or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let Arguments { function, from, to, interval, per } = arguments;
    let word = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let parameters = [
        ("function", function.as_ref().map(ToString::to_string)),
        ("from", from.clone()),
        ("to", to.clone()),
        ("interval", word(interval.to_possible_value())),
        ("per", word(per.to_possible_value())),
    ];
    let parameters: Vec<_> =
        parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let answer = client.usage(&parameters).await?;
    output.answer(&answer.raw, || {
        let usage = &answer.value;
        if usage.rows.is_empty() {
            return format!("nothing was called from {} to {}\n", usage.from, usage.to);
        }
        let row = |row: &UsageRow| {
            let sums = &row.usage;
            [
                row.from.clone(),
                row.function.clone().unwrap_or_else(|| "all".into()),
                row.revision.map_or_else(|| "all".into(), |revision| revision.to_string()),
                sums.invocations.to_string(),
                sums.failed.to_string(),
                sums.cold.to_string(),
                seconds(sums.memory_mib_ms / 1_024 * 1_000),
                seconds(sums.cpu_us),
                seconds(sums.inference_cpu_us),
            ]
        };
        let header =
            ["FROM", "FUNCTION", "REVISION", "CALLS", "FAILED", "COLD", "GIB-S", "CPU S", "INFERENCE S"];
        table(header, &usage.rows.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(())
}

fn seconds(us: u64) -> String {
    format!("{}.{:03}", us / 1_000_000, us % 1_000_000 / 1_000)
}
