//! The figures of a run: one flat object of keys and values, with the machine they were measured on.

use std::fs;

use serde_json::{Map, Value};

use super::{Benchmark, Effort, bars, digits};
use crate::shell;

/// What was measured, by key.
pub struct Report(Map<String, Value>);

impl Report {
    /// An empty report, which knows the machine and how much is measured.
    pub fn new(effort: &Effort) -> Self {
        let mut entries = Map::new();
        entries.insert("machine_cpu".into(), proc_line("/proc/cpuinfo", "model name").into());
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        entries.insert("machine_cores".into(), cores.into());
        entries.insert("machine_memory".into(), proc_line("/proc/meminfo", "MemTotal").into());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        entries.insert("machine_kernel".into(), kernel.trim().into());
        let commit = shell::output(&mut shell::command("git", ["rev-parse", "--short", "HEAD"]));
        entries.insert("commit".into(), commit.unwrap_or_default().into());
        entries.insert("wake_samples".into(), effort.samples.into());
        entries.insert("rounds".into(), effort.rounds.into());
        entries.insert("round_s".into(), effort.round.as_secs().into());
        Self(entries)
    }

    /// Adds a figure, rounded to four significant digits: more would only be noise.
    pub fn add(&mut self, key: impl Into<String>, value: f64) {
        let (key, value) = (key.into(), rounded(value));
        // At once, so that a run of many minutes that breaks off has not been for nothing.
        eprintln!("  {key} {value}");
        self.0.insert(key, value.into());
    }

    /// A figure that was measured.
    pub fn figure(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    /// The object as it is written to a file.
    pub fn to_json(&self) -> String {
        // The alternate form of a value is its JSON with line breaks.
        format!("{:#}\n", Value::Object(self.0.clone()))
    }

    /// Prints the figures as tables in Markdown, to be read or to be put into the documentation.
    pub fn print(&self, chosen: &[Benchmark]) {
        let text = |key: &str| self.0.get(key).map(|v| v.as_str().map_or(v.to_string(), str::to_owned));
        let machine = ["machine_cpu", "machine_cores", "machine_memory", "machine_kernel", "commit"];
        let machine: Vec<String> =
            machine.iter().filter_map(|key| Some(format!("{key} {}", text(key)?))).collect();
        println!("\n{}", machine.join(", "));
        if chosen.contains(&Benchmark::Digits) {
            println!("\n{}", digits::table(self));
        }
        println!("\n| figure | value | bar |\n|---|---|---|");
        for (key, value) in &self.0 {
            let prefixes = [
                "wake_",
                "fresh_",
                "languages_",
                "hello_",
                "batching_",
                "embed_",
                "density_",
                "neighbour_",
                "siege_",
            ];
            let single = prefixes.iter().any(|prefix| key.starts_with(prefix)) || key.contains("ratio");
            if (single && key != "wake_samples") || key.ends_with("_foreign_cores") {
                println!("| `{key}` | {value} | {} |", bars::bar_of(key).unwrap_or_default());
            }
        }
    }
}

fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// The value after `name` in a file of lines like `name: value`; empty if there is none.
fn proc_line(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::FULL;

    #[test]
    fn figures_keep_four_digits() {
        assert_eq!(rounded(12_345.678), 12_350.0);
        assert_eq!(rounded(0.123_456), 0.1235);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn the_object_is_flat() {
        let mut report = Report::new(&FULL);
        report.add("fresh_invocation_p50_us", 99.96);
        let object: Map<String, Value> = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(object["fresh_invocation_p50_us"], 99.96);
        assert!(object.values().all(|value| value.is_number() || value.is_string()));
    }
}
