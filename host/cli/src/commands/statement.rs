//! `modelet statement`: what the tenant owes for a month.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::client::Client;
use crate::client::answers::BillLine;
use crate::output::{BOLD, DIM, GREEN, Output, table};

const EXAMPLES: &str = "\
Examples:
  modelet statement 2026-11
  modelet statement 2026-11 --csv november.csv
  modelet statement 2026-11 --html november.html
  modelet statement 2026-11 --tenant acme --json          as an operator

Months are UTC. The prices are those of the tenant's plan, in the host's configuration (docs/billing.md).";

/// Show what the tenant has used in a month, and what that costs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The month, such as 2026-11.
    month: String,
    /// Write it to this file as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write it to this file as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Prints the statement, or writes it to files.
///
/// # Errors
/// If the host cannot be reached or refuses, or a file or standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let Arguments { month, csv, html } = arguments;
    let files: Vec<_> = [(csv, "text/csv"), (html, "text/html")]
        .into_iter()
        .filter_map(|(file, form)| Some((file.as_ref()?, form)))
        .collect();
    for (file, form) in &files {
        let text = client.statement_as(month, form).await?;
        std::fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    if !files.is_empty() {
        let names: Vec<_> = files.iter().map(|(file, _)| file.display().to_string()).collect();
        output.answer(&json!({ "month": month, "files": names }), || {
            names.iter().map(|name| format!("{GREEN}wrote{GREEN:#} {name}\n")).collect()
        })?;
        return Ok(());
    }
    let answer = client.statement(month).await?;
    output.answer(&answer.raw, || {
        let statement = &answer.value;
        let state = if statement.is_final { "final" } else { "until now" };
        let plan = statement.plan.as_deref().unwrap_or("none, so nothing is charged");
        let head = format!("{} {}, {state}; plan {plan}\n", statement.tenant, statement.month);
        if statement.lines.is_empty() {
            return head;
        }
        let row = |line: &BillLine| {
            let price = match line.priced_units {
                1 => line.price.clone(),
                units => format!("{} / {units}", line.price),
            };
            [line.unit.clone(), line.quantity.clone(), line.free.clone(), price, line.amount.clone()]
        };
        let rows: Vec<_> = statement.lines.iter().map(row).collect();
        let lines = table(["USED", "QUANTITY", "FREE", "PRICE", "AMOUNT"], &rows);
        let (total, currency) = (&statement.total, &statement.currency);
        format!("{head}{lines}{DIM}total{DIM:#} {BOLD}{total} {currency}{BOLD:#}\n")
    })?;
    Ok(())
}
