//! A call that finds the function awake, one after another on one connection. Each runs in an
//! instance of its own, which is what the host does unless a manifest says otherwise.

use anyhow::Context as _;

use super::report::Report;
use super::stats::median;
use super::{Effort, peers, verify, wrk};

/// Measures the latency of a call.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("fresh: {} rounds", effort.rounds);
    let modelet = peers::start_modelet()?;
    verify::all(&modelet.url())?;
    wrk::warm_up(&modelet, 1, effort)?;
    let mut latencies = Vec::new();
    for _ in 0..effort.rounds {
        latencies.push(wrk::round(&modelet, 1, effort.round)?.p50_us);
    }
    report.add("fresh_invocation_p50_us", median(&latencies).context("there are no rounds")?);
    verify::all(&modelet.url())
}
