//! Every attack at once for minutes: whether the host gives right answers all the while, and whether what
//! it holds at the end is what it held in the middle.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::client::Client;
use super::report::Report;
use super::server::Server;
use super::{Effort, attacks, check_interrupted, memory, verify};

/// Between two readings of what the host holds.
const INTERVAL: Duration = Duration::from_secs(1);
/// Noise that is always allowed for: an allocator's page, one connection that has just come.
const LEAST_NOISE: f64 = 1.0;

/// Attacks the host while one function is called without pause.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let host = attacks::start_host()?;
    eprintln!("siege: {} s of every attack", effort.siege.as_secs());
    let (watched, made) = attacks::during(&host, || watch(&host, effort.siege))?;
    verify::all(&host.url())?;
    let panics = host.log()?.lines().filter(|line| line.contains("panicked")).count();

    // The first half is for what grows to its size once: pools, caches, buffers.
    let late = &watched.readings[watched.readings.len() / 2..];
    let of = |figure: fn(&Reading) -> f64| -> Vec<f64> { late.iter().map(figure).collect() };
    report.add("siege_s", effort.siege.as_secs_f64());
    report.add("siege_attacks", made as f64);
    report.add("siege_right_answers", watched.answers as f64);
    report.add("siege_panics", panics as f64);
    for (name, values) in [("memory", of(|r| r.memory_mb)), ("descriptors", of(|r| r.descriptors))] {
        let drift = Drift::of(&values).context("there are too few readings")?;
        report.add(format!("siege_{name}_mean"), drift.mean);
        report.add(format!("siege_{name}_growth"), drift.growth);
        report.add(format!("siege_{name}_growth_in_noise"), drift.growth / drift.noise.max(LEAST_NOISE));
    }
    Ok(())
}

/// What the host holds.
struct Reading {
    memory_mb: f64,
    descriptors: f64,
}

struct Watched {
    readings: Vec<Reading>,
    answers: u64,
}

/// Calls the function without pause and checks each answer, while another thread reads what the host
/// holds.
fn watch(host: &Server, length: Duration) -> anyhow::Result<Watched> {
    let ended = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut readings = Vec::new();
            while !ended.load(Relaxed) {
                readings.push(read(host)?);
                thread::sleep(INTERVAL);
            }
            anyhow::Ok(readings)
        });
        let call = || -> anyhow::Result<u64> {
            let cases = verify::cases()?;
            let mut client = Client::new();
            let mut answers = 0;
            for case in cases.iter().cycle() {
                check_interrupted()?;
                if began.elapsed() > length {
                    break;
                }
                case.check(&client.post(&host.url(), &case.body())?.value)?;
                answers += 1;
            }
            Ok(answers)
        };
        let answers = call();
        ended.store(true, Relaxed);
        let readings = reader.join().expect("the reader does not panic")?;
        Ok(Watched { readings, answers: answers? })
    })
}

fn read(host: &Server) -> anyhow::Result<Reading> {
    let descriptors = Path::new("/proc").join(host.id().to_string()).join("fd");
    let descriptors = fs::read_dir(&descriptors)
        .with_context(|| format!("cannot read `{}`", descriptors.display()))?
        .count();
    ensure!(descriptors > 0, "the host has no descriptors");
    Ok(Reading { memory_mb: memory::resident_mb(host)?, descriptors: descriptors as f64 })
}

/// How a series moves: its least-squares line over its length, beside what is around the line.
struct Drift {
    mean: f64,
    /// How much the line rises from its first reading to its last.
    growth: f64,
    /// The standard deviation around the line.
    noise: f64,
}

impl Drift {
    fn of(values: &[f64]) -> Option<Self> {
        if values.len() < 3 {
            return None;
        }
        let count = values.len() as f64;
        let middle = (count - 1.0) / 2.0;
        let mean = values.iter().sum::<f64>() / count;
        let at = |index: usize| index as f64 - middle;
        let (mut shared, mut squares) = (0.0, 0.0);
        for (index, value) in values.iter().enumerate() {
            shared += at(index) * (value - mean);
            squares += at(index) * at(index);
        }
        let slope = shared / squares;
        let rest = |(index, value): (usize, &f64)| (value - mean - slope * at(index)).powi(2);
        let noise = (values.iter().enumerate().map(rest).sum::<f64>() / count).sqrt();
        Some(Self { mean, growth: slope * (count - 1.0), noise })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_more_than_the_noise() {
        let flat: Vec<f64> = (0..300).map(|second| 100.0 + f64::from(second % 7)).collect();
        let drift = Drift::of(&flat).unwrap();
        assert!(drift.growth.abs() < 0.2 && (1.9..2.1).contains(&drift.noise), "{}", drift.growth);
        let leaking: Vec<f64> =
            flat.iter().zip(0..).map(|(value, second)| value + 0.02 * f64::from(second)).collect();
        let drift = Drift::of(&leaking).unwrap();
        assert!((drift.growth - 5.98).abs() < 0.2 && drift.growth / drift.noise > 2.0);
        assert!(Drift::of(&[1.0, 2.0]).is_none());
    }
}
