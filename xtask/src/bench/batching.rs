//! Requests that run together: what that gains where many wait, and costs where one is alone.

use super::report::Report;
use super::rounds;
use super::server::Server;
use super::{Effort, host};

/// A text of 32 tokens.
const TEXT: &str = "xtask/src/bench/text.json";

/// What the servers are called in keys.
const NAMES: [&str; 2] = ["embed_batched", "embed_unbatched"];

/// Measures the embed example as it is, and with each request as a run of its own.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let start = |settings: &[&str]| -> anyhow::Result<Server> {
        let mut host = host::start()?;
        let path = host::deploy(&host, "examples/embed", "embed", settings)?;
        host.is_asked_at(path, TEXT.as_ref());
        Ok(host)
    };
    let servers = [start(&[])?, start(&["models.minilm.batching.max_batch_size=1"])?];
    for connections in [1, 64] {
        eprintln!("embed at {connections} connections: {} rounds of each server", effort.rounds);
        let rounds = rounds::take_turns(&servers, connections, effort)?;
        for (rounds, name) in rounds.iter().zip(NAMES) {
            report.add(format!("{name}_c{connections}_rps"), rounds::median_of(rounds, |r| r.rps)?);
            report.add(format!("{name}_c{connections}_p50_us"), rounds::median_of(rounds, |r| r.p50_us)?);
        }
        let [batched, unbatched] = &rounds[..] else { unreachable!("two servers take turns") };
        if connections == 1 {
            let cost = rounds::median_ratio(batched, unbatched, |round| round.p50_us)?;
            report.add("batching_embed_c1_cost", cost);
        } else {
            let gain = rounds::median_ratio(batched, unbatched, |round| round.rps)?;
            report.add("batching_embed_c64_gain", gain);
        }
    }
    Ok(())
}
