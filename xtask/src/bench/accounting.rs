//! What it costs to know who calls, to hold them to quotas and to record what they use: the digits example on
//! a host that does all of it, and on one that does nothing of it.

use super::report::Report;
use super::{Effort, host, keys, peers, rounds, verify};

/// Connections of the client: one, for what a caller notices, and several, for what the host pays.
const CONNECTIONS: [usize; 2] = [1, 8];

/// Every quota that a function can have, so high that none is reached.
const QUOTAS: &str = r#"{"invocations_per_second": 1000000, "concurrency": 10000, "queue": 10000,
    "memory_bytes": 1000000000000, "tensor_bytes": 1000000000000, "invocations_per_month": 1000000000000,
    "cpu_seconds_per_month": 1000000000000, "spend_per_month": "1000000000"}"#;
/// Prices, so that spending is reckoned.
const ON: &str = "[billing]\ncurrency = \"EUR\"\n[billing.plans.default]\nper_million_invocations = \"0.20\"\n\
                  per_gib_second = \"0.0000166667\"\nper_cpu_second = \"0.00001\"\n";
const OFF: &str = "authentication = \"none\"\n[ledger]\ndurability = \"off\"\n";

/// Measures both in turn.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let on = peers::deploy_digits(host::start_with(ON)?, &[])?;
    let key = keys::of(on.origin()).unwrap_or_default();
    for holder in ["tenants/default", "functions/digits"] {
        ureq::put(format!("{}/api/v1/{holder}/quotas", on.origin()))
            .header("authorization", format!("Bearer {key}"))
            .content_type("application/json")
            .send(QUOTAS)?;
    }
    let off = peers::deploy_digits(host::start_with(OFF)?, &[])?;
    let servers = [on, off];
    for server in &servers {
        verify::all(&server.url())?;
    }
    for connections in CONNECTIONS {
        eprintln!("accounting at {connections} connections: {} rounds of each host", effort.rounds);
        let rounds = rounds::take_turns(&servers, connections, effort)?;
        let [on, off] = &rounds[..] else { unreachable!("two hosts take turns") };
        let c = connections;
        for (rounds, name) in [(on, "accounting"), (off, "accounting_off")] {
            report.add(format!("{name}_c{c}_rps"), rounds::median_of(rounds, |r| r.rps)?);
            report.add(format!("{name}_c{c}_p50_us"), rounds::median_of(rounds, |r| r.p50_us)?);
            report.add(format!("{name}_c{c}_cpu_us"), rounds::median_of(rounds, |r| r.cpu_us)?);
        }
        if c == 1 {
            report.add("accounting_c1_p50_ratio", rounds::median_ratio(on, off, |round| round.p50_us)?);
        } else {
            report.add("accounting_cpu_ratio", rounds::median_ratio(on, off, |round| round.cpu_us)?);
        }
    }
    Ok(())
}
