//! The bars: what the figures must reach. All of them stand here and nowhere else.

use super::Benchmark::{
    self, Accounting, Batching, ColdEmbed, ColdModel, Density, Digits, Hello, Magika, Neighbour, Residency,
    Siege, Usage, Wake,
};
use super::report::Report;

/// Which side of its limit a figure must be on.
#[derive(Clone, Copy, Debug)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// The benchmark that measures a figure, the figure's key, and what it must reach.
const BARS: [(Benchmark, &str, Limit); 26] = [
    (Wake, "wake_handler_p50_us", Limit::AtMost(1_000.0)),
    (Wake, "wake_handler_p99_us", Limit::AtMost(5_000.0)),
    (Digits, "digits_c8_cpu_ratio_floor", Limit::AtMost(3.5)),
    (Digits, "digits_c8_cpu_ratio_floor_reuse", Limit::AtMost(2.2)),
    (Digits, "http_digits_c64_floor_ratio", Limit::AtLeast(0.4)),
    (Digits, "http_digits_c64_floor_ratio_reuse", Limit::AtLeast(0.6)),
    (Digits, "http_digits_c64_fastapi_ratio", Limit::AtLeast(2.0)),
    (Hello, "http_hello_wasmtime_serve_ratio", Limit::AtLeast(1.0)),
    (Hello, "http_hello_wasmtime_serve_ratio_reuse", Limit::AtLeast(1.0)),
    (Magika, "http_magika_c8_floor_ratio", Limit::AtLeast(0.9)),
    (Magika, "http_magika_c64_p99_floor_ratio", Limit::AtMost(1.2)),
    (Batching, "batching_embed_c64_gain", Limit::AtLeast(1.35)),
    (Batching, "batching_embed_c1_cost", Limit::AtMost(1.05)),
    (ColdEmbed, "cold_embed_ratio", Limit::AtMost(1.3)),
    (ColdModel, "cold_model_prepared_ratio", Limit::AtMost(0.6)),
    (Residency, "residency_hit_points_off", Limit::AtMost(5.0)),
    (Accounting, "accounting_cpu_ratio", Limit::AtMost(1.15)),
    (Accounting, "accounting_c1_p50_ratio", Limit::AtMost(1.15)),
    (Usage, "usage_month_by_hour_ms", Limit::AtMost(100.0)),
    (Density, "density_idle_rss_mb", Limit::AtMost(300.0)),
    (Density, "density_start_s", Limit::AtMost(3.0)),
    (Density, "density_cold_call_p99_ms", Limit::AtMost(10.0)),
    (Neighbour, "neighbour_p99_added_ms", Limit::AtMost(10.0)),
    (Siege, "siege_panics", Limit::AtMost(0.0)),
    (Siege, "siege_memory_growth_in_noise", Limit::AtMost(1.0)),
    (Siege, "siege_descriptors_growth_in_noise", Limit::AtMost(1.0)),
];

impl Limit {
    fn allows(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit}"),
            Self::AtLeast(limit) => format!("at least {limit}"),
        }
    }
}

/// What `key` must reach, in words; `None` if it has no bar.
pub fn bar_of(key: &str) -> Option<String> {
    BARS.iter().find(|(_, name, _)| *name == key).map(|(_, _, limit)| limit.text())
}

/// The bars of `chosen` that the figures miss, each as a line that says by how much.
pub fn missed(chosen: &[Benchmark], report: &Report) -> Vec<String> {
    let line = |(_, key, limit): &(Benchmark, &str, Limit)| match report.figure(key) {
        Some(value) if limit.allows(value) => None,
        Some(value) => Some(format!("{key} is {value}, must be {}", limit.text())),
        None => Some(format!("{key} was not measured")),
    };
    BARS.iter().filter(|(benchmark, ..)| chosen.contains(benchmark)).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::QUICK;

    #[test]
    fn a_missed_bar_is_named_with_its_figure() {
        let mut report = Report::new(&QUICK);
        report.add("wake_handler_p50_us", 1_000.0);
        report.add("wake_handler_p99_us", 5_001.0);
        assert_eq!(missed(&[Wake], &report), ["wake_handler_p99_us is 5001, must be at most 5000"]);
    }

    #[test]
    fn a_figure_that_was_not_measured_misses_its_bar() {
        let report = Report::new(&QUICK);
        assert_eq!(missed(&[Digits], &report).len(), 5);
        assert!(missed(&[Benchmark::Fresh], &report).is_empty());
    }

    #[test]
    fn ratios_have_a_lowest_value() {
        assert!(Limit::AtLeast(0.25).allows(0.25));
        assert!(!Limit::AtLeast(0.25).allows(0.24));
    }
}
