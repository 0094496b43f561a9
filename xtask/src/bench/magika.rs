//! A model whose run takes milliseconds, behind a handler and behind nothing: what is left of the host's
//! cost where the model is what costs.

use super::report::Report;
use super::rounds;
use super::{Effort, host, peers};

/// Connections of the client.
const CONNECTIONS: [usize; 2] = [8, 64];

/// What both are sent.
const FILE: &str = "examples/filetype/requests/rules.py";

/// Measures the filetype example beside a bare server.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut modelet = host::start()?;
    let path =
        host::deploy(&modelet, "examples/filetype", "filetype", &["models.magika.backend=onnxruntime"])?;
    modelet.is_asked_at(path, FILE.as_ref());
    let mut floor = peers::start_floor_of_files()?;
    floor.is_asked_at("/".to_owned(), FILE.as_ref());
    let servers = [modelet, floor];
    for connections in CONNECTIONS {
        eprintln!("filetype at {connections} connections: {} rounds of each server", effort.rounds);
        let rounds = rounds::take_turns(&servers, connections, effort)?;
        let [ours, theirs] = &rounds[..] else { unreachable!("two servers take turns") };
        let c = connections;
        for (rounds, name) in [(ours, "magika"), (theirs, "floor_magika")] {
            report.add(format!("{name}_c{c}_rps"), rounds::median_of(rounds, |r| r.rps)?);
            report.add(format!("{name}_c{c}_p99_ms"), rounds::median_of(rounds, |r| r.p99_us / 1e3)?);
            report.add(format!("{name}_c{c}_cpu_us"), rounds::median_of(rounds, |r| r.cpu_us)?);
        }
        let rps = rounds::median_ratio(ours, theirs, |round| round.rps)?;
        report.add(format!("http_magika_c{c}_floor_ratio"), rps);
        let p99 = rounds::median_ratio(ours, theirs, |round| round.p99_us)?;
        report.add(format!("http_magika_c{c}_p99_floor_ratio"), p99);
    }
    Ok(())
}
