//! The same component of `wasi:http` on this host and under `wasmtime serve`: what the layers around an
//! instance cost, since the component does next to nothing and both run it in the same engine.

use anyhow::{Context as _, ensure};

use super::report::Report;
use super::rounds;
use super::server::Server;
use super::{Effort, guest, host, keys, peers};

const CONNECTIONS: usize = 64;
/// Requests that one instance answers where instances are reused: more than a round has.
const REUSE: u32 = 1_000_000;

/// What the servers are called in keys, with and without instances that answer again.
const NAMES: [&str; 4] = ["hello", "hello_reuse", "wasmtime_serve_hello", "wasmtime_serve_hello_reuse"];

/// Measures both, with a fresh instance for each request and with instances that answer again.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let component = guest::build("standard")?;
    let project = guest::project(&component, "")?;

    let ours = |settings: &[&str]| -> anyhow::Result<Server> {
        let mut host = host::start()?;
        let path = host::deploy(&host, project.path(), "hello", settings)?;
        host.greets_at(format!("{path}/hello"));
        Ok(host)
    };
    let theirs = |requests| -> anyhow::Result<Server> {
        let mut server = peers::start_wasmtime(&component, requests)?;
        server.greets_at("/hello".to_owned());
        Ok(server)
    };
    let reuse = format!("reuse.max_invocations={REUSE}");
    let servers = [ours(&[])?, ours(&[&reuse])?, theirs(1)?, theirs(REUSE)?];
    for server in &servers {
        let answer = keys::get(server.origin(), server.path()).call().with_context(|| server.name())?;
        let text = answer.into_body().read_to_string().with_context(|| server.name())?;
        ensure!(text == "hello", "{} answered `{text}`", server.name());
    }
    eprintln!("hello at {CONNECTIONS} connections: {} rounds of each server", effort.rounds);
    let rounds = rounds::take_turns(&servers, CONNECTIONS, effort)?;
    for (rounds, name) in rounds.iter().zip(NAMES) {
        report.add(format!("{name}_rps"), rounds::median_of(rounds, |round| round.rps)?);
        report.add(format!("{name}_cpu_us"), rounds::median_of(rounds, |round| round.cpu_us)?);
    }
    for (ours, theirs, suffix) in [(0, 2, ""), (1, 3, "_reuse")] {
        let (ours, theirs) = (&rounds[ours], &rounds[theirs]);
        let rps = rounds::median_ratio(ours, theirs, |round| round.rps)?;
        report.add(format!("http_hello_wasmtime_serve_ratio{suffix}"), rps);
        let cpu = rounds::median_ratio(ours, theirs, |round| round.cpu_us)?;
        report.add(format!("hello_cpu_wasmtime_serve_ratio{suffix}"), cpu);
    }
    Ok(())
}
