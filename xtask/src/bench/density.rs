//! Ten thousand functions on one host, of which nearly all sleep.
//!
//! Each has a component of its own: a number in its code is another, and it answers with it. So no two
//! share compiled code, and an answer shows which function gave it. The figures are of a host that was
//! started on their data folder, as after an upgrade.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::report::Report;
use super::server::Server;
use super::stats::percentile;
use super::{Effort, check_interrupted, guest, host, keys, memory};

/// The number in the guest's code, of `tests/guests/numbered`.
const NUMBER: u64 = 0x4d4f_4445_4c45_5431;
/// The instruction `i64.const`.
const I64_CONST: u8 = 0x42;
/// Clients that deploy at one time: what one uploads is compiled while the other's is stored.
const DEPLOYERS: usize = 2;
/// What a host that was called may still be at when its memory is read.
const SETTLING: Duration = Duration::from_secs(3);
/// The longest until all functions are asleep again.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(100);

/// Deploys the functions, starts a host anew, and calls every one of them.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let count = effort.functions;
    let guest = guest::build("numbered")?;
    let guest = fs::read(&guest).with_context(|| format!("cannot read `{}`", guest.display()))?;
    let folder = tempfile::Builder::new().prefix("modelet-density-").tempdir()?;
    let deploying = host::start_on(folder.path())?;
    let began = Instant::now();
    deploy(&deploying, &guest, count)?;
    report.add("density_functions", count as f64);
    report.add("density_deploy_ms", began.elapsed().as_secs_f64() * 1e3 / count as f64);
    drop(deploying);

    let began = Instant::now();
    let host = host::start_on(folder.path())?;
    wait_until_ready(&host)?;
    report.add("density_start_s", began.elapsed().as_secs_f64());
    thread::sleep(SETTLING);
    let before = memory::resident_mb(&host)?;
    report.add("density_fresh_rss_mb", before);

    eprintln!("density: calls of {count} functions");
    let mut client = Client::new();
    let calls = shuffled(count);
    for (round, key) in [("first", "density_cold_call"), ("second", "density_second_call")] {
        let latencies = call_all(&host, &mut client, &calls).with_context(|| format!("the {round} calls"))?;
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let value = percentile(&latencies, share).context("there are no calls")?;
            report.add(format!("{key}_{name}_ms"), value);
        }
        report.add(format!("{key}_rss_mb"), memory::resident_mb(&host)?);
    }
    wait_until_asleep(&host)?;
    thread::sleep(SETTLING);
    // The worse of the two: before the first call, and after all of them.
    report.add("density_idle_rss_mb", before.max(memory::resident_mb(&host)?));
    Ok(())
}

/// What number a function answers with. As [`NUMBER`], it is encoded in ten bytes.
fn number(function: usize) -> u64 {
    NUMBER + 1 + function as u64
}

/// The guest with another number.
fn numbered(guest: &[u8], number: u64) -> anyhow::Result<Vec<u8>> {
    let marker = constant(NUMBER);
    let places = guest.windows(marker.len()).enumerate().filter(|(_, bytes)| *bytes == marker);
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    let [place] = places[..] else { bail!("the number is {} times in the guest's code", places.len()) };
    let replacement = constant(number);
    ensure!(replacement.len() == marker.len(), "{number} is not as long in code as the guest's number");
    let mut component = guest.to_owned();
    component[place..place + replacement.len()].copy_from_slice(&replacement);
    Ok(component)
}

/// The instruction that gives `number`, which is below 2⁶³: signed LEB128.
fn constant(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![I64_CONST];
    while number >= 0x40 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn name(function: usize) -> String {
    format!("numbered-{function}")
}

fn deploy(host: &Server, guest: &[u8], count: usize) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let deployer = || -> anyhow::Result<()> {
        let mut client = Client::new();
        loop {
            check_interrupted()?;
            let function = next.fetch_add(1, Relaxed);
            if function >= count {
                return Ok(());
            }
            if function.is_multiple_of(1_000) {
                eprintln!("density: {function} of {count} functions deployed");
            }
            let component = numbered(guest, number(function))?;
            let hex: String = Sha256::digest(&component).iter().map(|byte| format!("{byte:02x}")).collect();
            let digest = format!("sha256:{hex}");
            let origin = host.origin();
            client.put(&format!("{origin}/api/v1/artifacts/{digest}"), &component)?;
            // Asleep again when the last of them has been called.
            let spec = json!({
                "component": digest,
                "scale": { "handler_idle_timeout_ms": 1_000, "instance_idle_timeout_ms": 1_000 },
            });
            let revisions = format!("{origin}/api/v1/functions/{}/revisions", name(function));
            client.post(&revisions, spec.to_string().as_bytes())?;
        }
    };
    thread::scope(|scope| {
        let deployers: Vec<_> = (0..DEPLOYERS).map(|_| scope.spawn(deployer)).collect();
        deployers.into_iter().try_for_each(|deployer| deployer.join().expect("a deployer does not panic"))
    })
}

/// Calls every function once, and gives the latencies in milliseconds.
fn call_all(host: &Server, client: &mut Client, calls: &[usize]) -> anyhow::Result<Vec<f64>> {
    let call = |&function: &usize| {
        check_interrupted()?;
        let answer = client.post(&format!("{}/f/default/{}", host.origin(), name(function)), b"")?;
        let wanted = number(function);
        ensure!(answer.value == wanted, "`{}` answered {} and not {wanted}", name(function), answer.value);
        Ok(answer.took.as_secs_f64() * 1e3)
    };
    calls.iter().map(call).collect()
}

/// All functions, in an order that nobody knows.
fn shuffled(count: usize) -> Vec<usize> {
    let order = RandomState::new();
    let mut functions: Vec<usize> = (0..count).collect();
    functions.sort_by_key(|function| order.hash_one(function));
    functions
}

fn wait_until_ready(host: &Server) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Err(error) = keys::get(host.origin(), "/readyz").call() {
        ensure!(began.elapsed() < PATIENCE, "the host is not ready: {error}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn wait_until_asleep(host: &Server) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        check_interrupted()?;
        let awake = host::metric(host, "modelet_revisions_awake")?;
        if awake == 0.0 {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{awake} functions are still awake");
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_another_number_and_keeps_its_length() {
        let guest = [b"before".as_slice(), &constant(NUMBER), b"after"].concat();
        let other = numbered(&guest, number(7)).unwrap();
        assert_eq!(other.len(), guest.len());
        assert_ne!(other, guest);
        assert!(numbered(&other, number(8)).is_err(), "the number is there only once");
    }

    #[test]
    fn constants_are_signed_leb128() {
        assert_eq!(constant(0x3f), [I64_CONST, 0x3f]);
        assert_eq!(constant(0x40), [I64_CONST, 0xc0, 0]);
        assert_eq!(constant(NUMBER).len(), 11);
        assert_eq!(constant(number(9_999)).len(), 11);
    }

    #[test]
    fn every_function_is_called_once() {
        let mut calls = shuffled(100);
        calls.sort_unstable();
        assert!(calls.into_iter().eq(0..100));
    }
}
