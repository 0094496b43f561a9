//! What a well-behaved function feels of every attack at once.
//!
//! The function answers an open loop: requests come at 30 % of what it can do, whether or not the
//! earlier ones have been answered, and a latency counts from when its request was due. So a host that
//! stands still for a moment pays with all the requests that came in it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::client::Client;
use super::report::Report;
use super::server::Server;
use super::stats::{median, percentile};
use super::{Effort, attacks, check_interrupted, verify, wrk};

/// How much of its capacity the function is asked for.
const SHARE: f64 = 0.3;
/// Connections with which its capacity is found out.
const CAPACITY_CONNECTIONS: usize = 64;
/// Clients that take turns, so that one slow answer does not keep the next request back.
const CLIENTS: usize = 32;

/// Measures the latency with and without attacks, round by round in turn.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let host = attacks::start_host()?;
    wrk::warm_up(&host, CAPACITY_CONNECTIONS, effort)?;
    let capacity = wrk::round(&host, CAPACITY_CONNECTIONS, effort.round)?.rps;
    let rate = capacity * SHARE;
    eprintln!("neighbour: {} rounds of {rate:.0} requests/s, without and with attacks", effort.rounds);

    let (mut quiet, mut attacked, mut added) = (Vec::new(), Vec::new(), Vec::new());
    let mut made = 0;
    for _ in 0..effort.rounds {
        let without = p99_ms(&host, rate, effort.round)?;
        let (with, count) = attacks::during(&host, || p99_ms(&host, rate, effort.round))?;
        quiet.push(without);
        attacked.push(with);
        added.push(with - without);
        made += count;
    }
    let of = |samples: &[f64]| median(samples).context("there are no rounds");
    report.add("neighbour_rps", rate);
    report.add("neighbour_p99_quiet_ms", of(&quiet)?);
    report.add("neighbour_p99_attacked_ms", of(&attacked)?);
    report.add("neighbour_p99_added_ms", of(&added)?);
    report.add("neighbour_attacks", made as f64);
    verify::all(&host.url())
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
