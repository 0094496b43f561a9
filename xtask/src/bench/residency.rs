//! Twenty models on a host with memory for five, called along a trace in which few are called often.
//!
//! What it should come to is what a simulation of "the least recently used goes" says of the same trace.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::client::Client;
use super::report::Report;
use super::{Effort, check_interrupted, host, model, verify};

const MODELS: usize = 20;
const ROOM: usize = 5;
/// What each model's file is filled up to, so that all take about the same.
const MODEL_BYTES: usize = 8 << 20;
/// Room for as many of them, and for what their sessions have beside the file.
const MEMORY_BYTES: usize = ROOM * (MODEL_BYTES + (1 << 20));

/// Calls the models, and counts how often one was in memory.
pub fn run(effort: &Effort, report: &mut Report) -> anyhow::Result<()> {
    let folder =
        tempfile::Builder::new().prefix("modelet-bench-").tempdir().context("cannot make a folder")?;
    let host = host::start_with(&format!("[inference]\nmemory_bytes = {MEMORY_BYTES}\n"))?;
    let digits = fs::read(model()).context("cannot read the model")?;
    let mut urls = Vec::new();
    for number in 0..MODELS {
        let file = folder.path().join(format!("m{number}.onnx"));
        fs::write(&file, filled(&digits, number)).context("cannot write a model")?;
        let setting = format!("models.digits.file={}", file.display());
        let settings = [setting.as_str(), "models.digits.backend=rten"];
        let path = host::deploy(&host, "examples/digits", &format!("m{number}"), &settings)?;
        urls.push(format!("{}{path}", host.origin()));
    }
    let length = if effort.samples < 100 { Duration::from_secs(5) } else { Duration::from_secs(120) };
    eprintln!("residency: {MODELS} models, memory for {ROOM}, {} s", length.as_secs());
    let mut client = Client::new();
    let cases = verify::cases()?;
    let loads = || host::metric(&host, "modelet_model_loads_total");
    let (mut simulated, mut simulated_hits, mut calls) = (Vec::new(), 0_u64, 0_u64);
    let before = loads()?;
    let begin = Instant::now();
    let mut zipf = Zipf::new(MODELS);
    while begin.elapsed() < length {
        check_interrupted()?;
        let number = zipf.next();
        let case = &cases[usize::try_from(calls).unwrap_or(0) % cases.len()];
        case.check(&client.post(&urls[number], &case.body())?.value)?;
        calls += 1;
        if let Some(place) = simulated.iter().position(|&other| other == number) {
            simulated.remove(place);
            simulated_hits += 1;
        } else if simulated.len() == ROOM {
            simulated.remove(0);
        }
        simulated.push(number);
    }
    let loads = loads()? - before;
    ensure!(calls > 0, "nothing was called");
    let (hits, simulated) = (1.0 - loads / calls as f64, simulated_hits as f64 / calls as f64);
    report.add("residency_calls", calls as f64);
    report.add("residency_hit_percent", hits * 100.0);
    report.add("residency_simulated_hit_percent", simulated * 100.0);
    report.add("residency_hit_points_off", (hits - simulated).abs() * 100.0);
    Ok(())
}

/// The model with a `doc_string` (field 6 of `ModelProto`) that makes it as large as it should be, and
/// another one for each number.
fn filled(digits: &[u8], number: usize) -> Vec<u8> {
    let text = format!("{number:08}").repeat(MODEL_BYTES / 8);
    let mut file = digits.to_vec();
    file.push(6 << 3 | 2);
    let mut length = text.len();
    while length >= 0x80 {
        file.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    file.push(length as u8);
    file.extend(text.into_bytes());
    file
}

/// Numbers of which `n` comes about `1/(n + 1)` as often as 0, the same each time.
struct Zipf {
    shares: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(count: usize) -> Self {
        let weights: Vec<f64> = (1..=count).map(|place| 1.0 / place as f64).collect();
        let total: f64 = weights.iter().sum();
        let shares = weights.iter().map(|weight| weight / total).collect();
        Self { shares, state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> usize {
        // Xorshift (Marsaglia 2003).
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let mut at = (self.state >> 11) as f64 / (1_u64 << 53) as f64;
        let place = self.shares.iter().position(|share| {
            at -= share;
            at < 0.0
        });
        place.unwrap_or(self.shares.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_called_often() {
        let mut zipf = Zipf::new(4);
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[zipf.next()] += 1;
        }
        // Shares of 12/25, 6/25, 4/25 and 3/25.
        for (count, share) in counts.into_iter().zip([4_800, 2_400, 1_600, 1_200]) {
            assert!((share - 300..share + 300).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn each_number_is_another_model_of_the_same_size() {
        let (one, two) = (filled(b"x", 1), filled(b"x", 2));
        assert_eq!(one.len(), two.len());
        assert!(one != two && one.len() > MODEL_BYTES);
    }
}
