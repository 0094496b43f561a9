//! Many calls at once: the host with fresh instances and with instances that answer again, the floor
//! and FastAPI, round by round in turn.

use anyhow::Context as _;

use super::report::Report;
use super::rounds;
use super::wrk::Round;
use super::{Effort, peers, verify};

/// Connections of the client.
const CONNECTIONS: [usize; 3] = [1, 8, 64];

/// The servers, in the order of [`NAMES`].
const SERVERS: usize = 4;
const FRESH: usize = 0;
const REUSED: usize = 1;
const FLOOR: usize = 2;
const FASTAPI: usize = 3;

/// What the servers are called, and what their keys begin with.
const NAMES: [(&str, &str); SERVERS] = [
    ("Modelet", ""),
    ("Modelet, instances reused", "reuse_"),
    ("floor: bare axum + ONNX Runtime", "floor_"),
    ("FastAPI, 2 workers", "fastapi_"),
];

/// Measures all servers at each number of connections.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let servers = [
        peers::start_modelet()?,
        peers::start_modelet_with_reuse()?,
        peers::start_floor()?,
        peers::start_fastapi()?,
    ];
    for server in &servers {
        verify::all(&server.url()).with_context(|| server.name())?;
    }
    for connections in CONNECTIONS {
        eprintln!("digits at {connections} connections: {} rounds of each server", effort.rounds);
        let rounds = rounds::take_turns(&servers, connections, effort)?;
        add_figures(&rounds, connections, report)?;
    }
    for server in &servers {
        verify::all(&server.url()).with_context(|| format!("{} after the rounds", server.name()))?;
    }
    Ok(())
}

fn add_figures(rounds: &[Vec<Round>], connections: usize, report: &mut Report) -> anyhow::Result<()> {
    let of = |server: usize, figure| rounds::median_of(&rounds[server], figure);
    let ratio =
        |ours: usize, other: usize, figure| rounds::median_ratio(&rounds[ours], &rounds[other], figure);
    let c = connections;
    for (server, (_, prefix)) in NAMES.iter().enumerate() {
        report.add(format!("{prefix}digits_c{c}_rps"), of(server, |round| round.rps)?);
        report.add(format!("{prefix}digits_c{c}_p50_ms"), of(server, |round| round.p50_us / 1e3)?);
        report.add(format!("{prefix}digits_c{c}_p99_ms"), of(server, |round| round.p99_us / 1e3)?);
        report.add(format!("{prefix}digits_c{c}_cpu_us"), of(server, |round| round.cpu_us)?);
    }
    for (ours, suffix) in [(FRESH, ""), (REUSED, "_reuse")] {
        for (other, name) in [(FLOOR, "floor"), (FASTAPI, "fastapi")] {
            let rps = ratio(ours, other, |round| round.rps)?;
            report.add(format!("http_digits_c{c}_{name}_ratio{suffix}"), rps);
            let cpu = ratio(ours, other, |round| round.cpu_us)?;
            report.add(format!("digits_c{c}_cpu_ratio_{name}{suffix}"), cpu);
        }
    }
    let foreign = rounds::median_of(&rounds.concat(), |round| round.foreign_cores)?;
    report.add(format!("digits_c{c}_foreign_cores"), foreign);
    Ok(())
}

/// The absolute figures as a table in Markdown.
pub fn table(report: &Report) -> String {
    let mut lines = vec![
        "| server | connections | requests/s | p50 ms | p99 ms | server CPU µs/request |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for connections in CONNECTIONS {
        for (name, prefix) in NAMES {
            let figure = |part: &str| {
                let value = report.figure(&format!("{prefix}digits_c{connections}_{part}"));
                value.map_or_else(|| "-".to_owned(), |value| value.to_string())
            };
            lines.push(format!(
                "| {name} | {connections} | {} | {} | {} | {} |",
                figure("rps"),
                figure("p50_ms"),
                figure("p99_ms"),
                figure("cpu_us")
            ));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::FULL;

    fn round(rps: f64, cpu_us: f64) -> Round {
        Round { rps, p50_us: 100.0, p99_us: 400.0, cpu_us, foreign_cores: 0.0 }
    }

    #[test]
    fn a_ratio_is_the_median_of_pairs_and_not_of_all_rounds() {
        // A slow spell in the second round hits both alike.
        let modelet = vec![round(100.0, 60.0), round(10.0, 600.0), round(120.0, 50.0)];
        let floor = vec![round(200.0, 20.0), round(20.0, 200.0), round(200.0, 20.0)];
        let reused = vec![round(150.0, 30.0); 3];
        let fastapi = vec![round(50.0, 120.0); 3];
        let mut report = Report::new(&FULL);
        add_figures(&[modelet, reused, floor, fastapi], 8, &mut report).unwrap();
        assert_eq!(report.figure("http_digits_c8_floor_ratio"), Some(0.5));
        assert_eq!(report.figure("digits_c8_cpu_ratio_floor"), Some(3.0));
        assert_eq!(report.figure("http_digits_c8_fastapi_ratio"), Some(2.0));
        assert_eq!(report.figure("http_digits_c8_fastapi_ratio_reuse"), Some(3.0));
        assert_eq!(report.figure("digits_c8_rps"), Some(100.0));
        assert_eq!(report.figure("floor_digits_c8_p99_ms"), Some(0.4));
        assert!(table(&report).contains("| Modelet | 8 | 100 | 0.1 | 0.4 | 60 |"));
    }
}
