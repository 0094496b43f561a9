//! What a well-behaved function feels of every attack at once.
//!
//! The function answers an open loop: requests come at 30 % of what it can do, whether or not the
//! earlier ones have been answered, and a latency counts from when its request was due. So a host that
//! stands still for a moment pays with all the requests that came in it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::client::Client;
use super::report::Report;
use super::server::Server;
use super::stats::{median, percentile};
use super::{Effort, check_interrupted, host, verify, wrk};
use crate::shell::{command, run as sh};
use crate::workspace::GUEST_TARGET;

/// How much of its capacity the function is asked for.
const SHARE: f64 = 0.3;
/// Connections with which its capacity is found out.
const CAPACITY_CONNECTIONS: usize = 64;
/// Clients that take turns, so that one slow answer does not keep the next request back.
const CLIENTS: usize = 32;

/// The attacks, as paths of the guest in `tests/guests/hostile`.
const ATTACKS: [&str; 23] = [
    "/loop",
    "/recurse",
    "/sleep",
    "/await-nothing",
    "/memory",
    "/log",
    "/print",
    "/big",
    "/big-stream",
    "/trap-mid-stream",
    "/loop-mid-stream",
    "/bad-header",
    "/bad-status",
    "/trap-before",
    "/trap-after",
    "/tensors",
    "/handles",
    "/short-tensor",
    "/overflowing-shape",
    "/wild-pointer",
    "/wrong-shape",
    "/wrong-input",
    "/foreign-model",
];
/// Ends an attack's connection when nothing more comes on it.
const ATTACK_TIMEOUT: Duration = Duration::from_secs(15);

/// Measures the latency with and without attacks, round by round in turn.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut host = host::start()?;
    deploy_hostile(&host)?;
    let path = host::deploy(&host, "examples/digits", "digits", &["models.digits.backend=onnxruntime"])?;
    host.reads_at(path);
    verify::all(&host.url())?;
    wrk::warm_up(&host, CAPACITY_CONNECTIONS, effort)?;
    let capacity = wrk::round(&host, CAPACITY_CONNECTIONS, effort.round)?.rps;
    let rate = capacity * SHARE;
    eprintln!("neighbour: {} rounds of {rate:.0} requests/s, without and with attacks", effort.rounds);

    let (mut quiet, mut attacked, mut added) = (Vec::new(), Vec::new(), Vec::new());
    let mut attacks = 0;
    for _ in 0..effort.rounds {
        let without = p99_ms(&host, rate, effort.round)?;
        let (with, count) = under_attack(&host, || p99_ms(&host, rate, effort.round))?;
        quiet.push(without);
        attacked.push(with);
        added.push(with - without);
        attacks += count;
    }
    let of = |samples: &[f64]| median(samples).context("there are no rounds");
    report.add("neighbour_rps", rate);
    report.add("neighbour_p99_quiet_ms", of(&quiet)?);
    report.add("neighbour_p99_attacked_ms", of(&attacked)?);
    report.add("neighbour_p99_added_ms", of(&added)?);
    report.add("neighbour_attacks", attacks as f64);
    verify::all(&host.url())
}

/// Builds the guest, as a component of the end-to-end tests too, and deploys it with a model.
fn deploy_hostile(host: &Server) -> anyhow::Result<()> {
    sh(&mut command("cargo", ["build", "--release", "--target", GUEST_TARGET, "-p", "hostile"]))?;
    let component = super::target()?.join(GUEST_TARGET).join("release/hostile.wasm");
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let manifest = format!(
        "name = \"hostile\"\ncomponent = {component:?}\n[models.digits]\nfile = {:?}\n",
        super::model()
    );
    std::fs::write(folder.path().join("modelet.toml"), manifest).context("cannot write a manifest")?;
    let folder = folder.path().to_str().context("the temporary folder's name is not text")?;
    // Short enough that each attack comes around in every round.
    let settings = ["limits.cpu_time_ms=1000", "limits.wall_time_ms=2000"];
    host::deploy(host, folder, "hostile", &settings).map(|_| ())
}

/// The p99 of an open loop.
fn p99_ms(host: &Server, rate: f64, length: Duration) -> anyhow::Result<f64> {
    check_interrupted()?;
    let cases = verify::cases()?;
    let bodies: Vec<Vec<u8>> = cases.iter().map(verify::Case::body).collect();
    let url = host.url();
    let count = (rate * length.as_secs_f64()) as u64;
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let client = || -> anyhow::Result<Vec<f64>> {
        let mut client = Client::new();
        let mut latencies = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= count {
                return Ok(latencies);
            }
            let due = began + Duration::from_secs_f64(number as f64 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let case = usize::try_from(number).unwrap_or_default() % cases.len();
            let answer = client.post(&url, &bodies[case])?;
            cases[case].check(&answer.value)?;
            latencies.push(due.elapsed().as_secs_f64() * 1e3);
        }
    };
    let latencies: anyhow::Result<Vec<Vec<f64>>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
    });
    percentile(&latencies?.concat(), 0.99).context("there are no samples")
}

/// What `measure` gives while every attack runs again and again, and how many attacks there were.
fn under_attack(host: &Server, measure: impl FnOnce() -> anyhow::Result<f64>) -> anyhow::Result<(f64, u64)> {
    let ended = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let attack = |path: &str| {
        while !ended.load(Relaxed) {
            // Most attacks end with an error, and some with a broken connection: that is their point.
            _ = call(host, path);
            count.fetch_add(1, Relaxed);
        }
    };
    let measured = thread::scope(|scope| {
        for path in ATTACKS {
            scope.spawn(move || attack(path));
        }
        let measured = measure();
        ended.store(true, Relaxed);
        measured
    });
    Ok((measured?, count.load(Relaxed)))
}

/// One attack, on a connection of its own.
fn call(host: &Server, path: &str) -> std::io::Result<()> {
    let authority = host.origin().trim_start_matches("http://");
    let mut connection = TcpStream::connect(authority)?;
    connection.set_read_timeout(Some(ATTACK_TIMEOUT))?;
    let head = format!(
        "POST /f/default/hostile{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\
         content-length: 0\r\n\r\n"
    );
    connection.write_all(head.as_bytes())?;
    let mut piece = [0; 1 << 16];
    while connection.read(&mut piece)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_attack_of_the_guest_is_made() {
        let guest = workspace::root().join("tests/guests/hostile/src/lib.rs");
        let guest = std::fs::read_to_string(guest).unwrap();
        let offered = guest.lines().filter_map(|line| line.trim().strip_prefix("\"/"));
        let offered: Vec<String> =
            offered.map(|line| format!("/{}", line.split('"').next().unwrap())).collect();
        assert_eq!(offered, ATTACKS);
    }
}
