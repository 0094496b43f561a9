//! What docs/operating.md and docs/billing.md say, held against the code: a table there is a promise to operators.

use std::collections::BTreeSet;
use std::fs;

use modelet_observe::function_log::FunctionLogsConfig;
use modelet_observe::ledger::LedgerConfig;
use modelet_observe::metrics::MetricsConfig;
use modelet_observe::{FunctionLogs, Ledger, Metrics};
use serde_json::Value;

use crate::Config;

/// What the tables under `heading` of docs/operating.md name in their first columns.
fn documented(heading: &str) -> BTreeSet<String> {
    documented_in("operating.md", heading)
}

fn documented_in(file: &str, heading: &str) -> BTreeSet<String> {
    let path = format!("{}/../../docs/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("docs/{file} has no section `{heading}`"));
    let first = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    section.lines().filter_map(first).collect()
}

/// The paths of the fields of `value`, as they are written in a configuration file.
fn fields(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        // A table that is empty by default is written as a whole.
        Value::Object(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(&path, value, found);
            }
        }
        _ => _ = found.insert(path.to_owned()),
    }
}

#[test]
fn every_field_of_the_configuration_is_documented() {
    let mut there = BTreeSet::new();
    fields("", &serde_json::to_value(Config::default()).unwrap(), &mut there);
    let mut documented = documented("Configuration");
    // The settings of the command line alone.
    documented.retain(|name| !name.starts_with("--"));
    assert_eq!(documented, there, "docs/operating.md on the left, the code on the right");
}

#[test]
fn every_metric_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new(MetricsConfig::default());
    metrics.watch_ledger(Ledger::open(folder.path().join("ledger"), LedgerConfig::default()).unwrap());
    let logs = FunctionLogs::open(folder.path().join("logs"), FunctionLogsConfig::default()).unwrap();
    metrics.watch_function_logs(logs);
    let text = metrics.encode();
    let name = |line: &str| {
        let (family, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        // The type's line leaves out what the samples have at their end.
        Some(match kind {
            "counter" => format!("{family}_total"),
            "info" => format!("{family}_info"),
            _ => family.to_owned(),
        })
    };
    let there: BTreeSet<String> = text.lines().filter_map(name).collect();
    let mut documented = documented("Metrics");
    // What the kernel of this machine does not say is left out of a scrape.
    documented.retain(|name| !name.starts_with("process_") || there.contains(name));
    assert_eq!(documented, there, "docs/operating.md on the left, the code on the right");
}

#[test]
fn every_field_of_an_exported_event_is_documented() {
    let event = crate::usage_export::sample_event();
    let mut there = BTreeSet::new();
    fields("", &event, &mut there);
    assert_eq!(
        documented_in("billing.md", "Export"),
        there,
        "docs/billing.md on the left, the code on the right"
    );
}
