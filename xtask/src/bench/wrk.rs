//! Rounds of load, made by `wrk`: one thread, connections that are kept, one request at a time on
//! each.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::server::Server;
use super::{Effort, check_interrupted, cpu, keys};
use crate::workspace;

const SCRIPT: &str = "xtask/src/bench/round.lua";

/// What a round showed.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Requests answered in a second.
    pub rps: f64,
    /// Latency in the middle, as the client sees it.
    pub p50_us: f64,
    /// Latency that one in a hundred exceeds.
    pub p99_us: f64,
    /// CPU time of the server for one request.
    pub cpu_us: f64,
    /// Cores that neither the server nor the client kept busy: what else the machine did.
    pub foreign_cores: f64,
}

/// What the script prints.
#[derive(Deserialize)]
struct Printed {
    requests: u64,
    duration_us: f64,
    p50_us: f64,
    p99_us: f64,
    refused: u64,
    broken: u64,
}

/// One round against `server`.
///
/// # Errors
/// If a single request failed: a server that refuses is quick, and its figures mean nothing.
pub fn round(server: &Server, connections: usize, length: Duration) -> anyhow::Result<Round> {
    let before = Usage::read(server)?;
    let printed = load(server, connections, length)?;
    let after = Usage::read(server)?;
    check_interrupted()?;
    ensure!(
        printed.refused == 0 && printed.broken == 0 && printed.requests > 0,
        "{} at {connections} connections: {} answered, {} of them with an error, and {} broke off",
        server.name(),
        printed.requests,
        printed.refused,
        printed.broken
    );
    let requests = printed.requests as f64;
    let seconds = printed.duration_us / 1e6;
    let server_time = after.server.saturating_sub(before.server).as_secs_f64();
    let known = server_time + after.client.saturating_sub(before.client).as_secs_f64();
    let busy = after.machine.saturating_sub(before.machine).as_secs_f64();
    Ok(Round {
        rps: requests / seconds,
        p50_us: printed.p50_us,
        p99_us: printed.p99_us,
        cpu_us: server_time * 1e6 / requests,
        foreign_cores: ((busy - known) / seconds).max(0.0),
    })
}

/// A short round that is not counted, so that nobody is measured while it is still starting.
pub fn warm_up(server: &Server, connections: usize, effort: &Effort) -> anyhow::Result<()> {
    round(server, connections, effort.round / 3).map(|_| ())
}

/// CPU time so far.
struct Usage {
    server: Duration,
    client: Duration,
    machine: Duration,
}

impl Usage {
    fn read(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            server: cpu::of_tree(server.id())?,
            // `wrk` is the only child that ends between two readings.
            client: cpu::of_ended_children()?,
            machine: cpu::of_machine()?,
        })
    }
}

fn load(server: &Server, connections: usize, length: Duration) -> anyhow::Result<Printed> {
    let root = workspace::root();
    let mut wrk = Command::new("wrk");
    if let Some(body) = server.body() {
        wrk.env("BODY", root.join(body));
    }
    if let Some(key) = keys::of(server.origin()) {
        wrk.env("KEY", key);
    }
    let output = wrk
        .args(["--threads", "1", "--timeout", "10s", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", length.as_secs().max(1))])
        .arg("--script")
        .arg(root.join(SCRIPT))
        .arg(server.url())
        .output()
        .context("cannot run `wrk`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("`wrk` ended with {}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Printed> {
    let line = text.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_default())
        .with_context(|| format!("what `wrk` printed is not understood: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_script_is_found_among_those_of_wrk() {
        let text = "Running 3s test\n  1 threads\n\n{\"requests\":10,\"duration_us\":2000000,\
                    \"p50_us\":90,\"p99_us\":400,\"refused\":1,\"broken\":0}\n";
        let printed = parse(text).unwrap();
        assert_eq!((printed.requests, printed.refused), (10, 1));
        assert!(parse("Running 3s test").is_err());
    }

    #[test]
    fn the_script_and_the_body_are_there() {
        assert!(workspace::root().join(SCRIPT).is_file());
        assert!(workspace::root().join(super::super::body()).is_file());
    }
}
