//! What millions of records come to: how long a host takes to add them up and to answer for a month, and
//! whether the statements of all tenants are what the records are, to the last unit.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::report::Report;
use super::stats::median;
use super::{Effort, example_program, host, keys};

/// Fills a ledger.
pub const PROGRAM: &str = "fill_ledger";
const RECORDS: u64 = 5_000_000;
const QUICK_RECORDS: u64 = 50_000;
const TENANTS: u64 = 20;
const MONTH: &str = "2026-10";
const SPAN: &str = "from=2026-10-01T00:00:00Z&to=2026-11-01T00:00:00Z";
/// What the records and the statements must agree on.
const SUMS: [&str; 6] = ["invocations", "failed", "not_billed", "duration_ms", "cpu_us", "request_bytes"];
const ASKED: usize = 21;

/// Fills a ledger, lets a host add it up, and asks for usage and statements.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let folder =
        tempfile::Builder::new().prefix("modelet-bench-").tempdir().context("cannot make a folder")?;
    let data = folder.path().join("data");
    {
        let host = host::start_on(&data)?;
        for number in 0..TENANTS {
            let tenant = format!(r#"{{"tenant": "t{number}"}}"#);
            let key = keys::of(host.origin()).unwrap_or_default();
            ureq::post(format!("{}/api/v1/tenants", host.origin()))
                .header("authorization", format!("Bearer {key}"))
                .content_type("application/json")
                .send(tenant)?;
        }
    }
    let records = if effort.samples < 100 { QUICK_RECORDS } else { RECORDS };
    eprintln!("usage: {records} records of {TENANTS} tenants");
    let output = Command::new(example_program(PROGRAM)?)
        .arg(data.join("ledger"))
        .args([records.to_string(), TENANTS.to_string(), format!("{MONTH}-01")])
        .output()
        .context("cannot fill the ledger")?;
    ensure!(
        output.status.success(),
        "filling the ledger failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let recorded: Value = serde_json::from_slice(&output.stdout).context("the sums are no JSON")?;

    // A host adds up what its ledger has before it answers.
    let began = Instant::now();
    let host = host::start_on(&data)?;
    let started_s = began.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let began = Instant::now();
        let answer = of_tenant(&host, 0, &format!("/api/v1/usage?interval=hour&{SPAN}"))?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        let rows = answer["rows"].as_array().map_or(0, Vec::len);
        ensure!(rows > 700 || records < RECORDS, "a month by the hour has {rows} rows");
    }
    let mut stated = [0_u64; SUMS.len()];
    for tenant in 0..TENANTS {
        let statement = of_tenant(&host, tenant, &format!("/api/v1/statements/{MONTH}"))?;
        for (sum, name) in stated.iter_mut().zip(SUMS) {
            *sum +=
                statement["usage"][name].as_u64().with_context(|| format!("no `{name}` in {statement}"))?;
        }
    }
    for (sum, name) in stated.into_iter().zip(SUMS) {
        ensure!(recorded[name] == sum, "statements say {sum} of `{name}`, and records {}", recorded[name]);
    }
    report.add("usage_records", records as f64);
    report.add("usage_start_s", started_s);
    report.add("usage_month_by_hour_ms", median(&times).context("nothing was asked")?);
    Ok(())
}

fn of_tenant(host: &super::server::Server, tenant: u64, path: &str) -> anyhow::Result<Value> {
    let request = keys::get(host.origin(), path).header("modelet-tenant", format!("t{tenant}"));
    Ok(request.call()?.body_mut().read_json()?)
}
