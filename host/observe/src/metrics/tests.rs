//! What a scraper reads.

use std::collections::HashMap;

use modelet_types::Code;

use super::*;
use crate::ledger::samples;
use crate::ledger::{LedgerConfig, Outcome, UsageRecord};

/// The series of an exposition by name and labels, checked against the format's rules: each family
/// is described before its samples and stands in one piece, no series is there twice.
fn parse(text: &str) -> HashMap<String, f64> {
    let mut series = HashMap::new();
    let mut families: Vec<&str> = Vec::new();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let name = described.split(' ').next().unwrap();
            assert!(!families.contains(&name), "{name} is described twice");
            families.push(name);
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = families.last().unwrap();
            assert!(name.starts_with(family), "{name} stands in {family}");
            assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
        }
    }
    series
}

fn names() -> (TenantName, FunctionName) {
    ("acme".parse().unwrap(), "digits".parse().unwrap())
}

const LABELS: &str = r#"tenant="acme",function="digits",revision="7""#;

#[test]
fn invocations_add_up_per_revision() {
    let metrics = Metrics::new(MetricsConfig::default());
    let (tenant, function) = names();
    let revision = metrics.revision(&tenant, &function, RevisionNumber(7));
    let ok = samples::record();
    revision.record(&ok);
    revision.record(&UsageRecord { cold: false, ..ok.clone() });
    revision.record(&UsageRecord { outcome: Outcome::Failed(Code::HandlerTrap), ..ok.clone() });
    revision.record(&UsageRecord { outcome: Outcome::Interrupted, ..ok });

    let series = parse(&metrics.encode());
    let get = |name: &str, more: &str| series[&format!("{name}{{{LABELS}{more}}}")];
    assert_eq!(get("modelet_invocations_total", r#",code="ok""#), 2.0);
    assert_eq!(get("modelet_invocations_total", r#",code="handler_trap""#), 1.0);
    assert_eq!(get("modelet_invocations_total", r#",code="interrupted""#), 1.0);
    assert_eq!(series.keys().filter(|name| name.starts_with("modelet_invocations_total")).count(), 3);
    assert_eq!(get("modelet_cold_invocations_total", ""), 3.0);
    assert_eq!(get("modelet_guest_cpu_seconds_total", ""), 0.000_816);
    assert_eq!(get("modelet_inference_cpu_seconds_total", ""), 0.001_22);
    assert_eq!(get("modelet_request_bytes_total", ""), 1_200.0);
    assert_eq!(get("modelet_response_bytes_total", ""), 160.0);
    assert_eq!(get("modelet_invocation_duration_seconds_count", ""), 4.0);
    assert_eq!(get("modelet_invocation_duration_seconds_sum", ""), 0.004_004);
    assert_eq!(bucket(&series, "modelet_invocation_duration_seconds", "0.001"), 0.0);
    assert_eq!(bucket(&series, "modelet_invocation_duration_seconds", "0.0025"), 4.0);
    assert_eq!(bucket(&series, "modelet_queue_duration_seconds", "0.00025"), 4.0);
    assert_eq!(bucket(&series, "modelet_queue_duration_seconds", "+Inf"), 4.0);
}

/// A histogram's bucket, wherever the encoder puts `le` among the labels.
fn bucket(series: &HashMap<String, f64>, name: &str, bound: &str) -> f64 {
    let (start, le) = (format!("{name}_bucket{{"), format!("le=\"{bound}\""));
    let mut found = series.iter().filter(|(name, _)| name.starts_with(&start) && name.contains(&le));
    let value = *found.next().unwrap_or_else(|| panic!("no {start} {le}")).1;
    assert!(found.next().is_none(), "{start} {le} twice");
    value
}

#[test]
fn a_deleted_function_leaves_no_series() {
    let metrics = Metrics::new(MetricsConfig::default());
    let (tenant, function) = names();
    let kept = metrics.revision(&tenant, &"kept".parse().unwrap(), RevisionNumber(1));
    let old = metrics.revision(&tenant, &function, RevisionNumber(6));
    let last = metrics.revision(&tenant, &function, RevisionNumber(7));
    let model = metrics.model(&tenant, &function, &"net".parse().unwrap(), "rten");
    model.record(Duration::from_micros(300));
    for revision in [&kept, &old, &last] {
        revision.record(&samples::record());
    }
    let inference = r#"modelet_inference_duration_seconds_count{tenant="acme",function="digits",model="net",backend="rten"}"#;
    assert_eq!(parse(&metrics.encode())[inference], 1.0);

    metrics.remove_revision(&tenant, &function, RevisionNumber(6));
    let text = metrics.encode();
    assert!(!text.contains(r#"revision="6""#) && text.contains(r#"revision="7""#));
    metrics.remove_function(&tenant, &function);
    last.record(&samples::record());
    model.record(Duration::from_micros(300));
    let text = metrics.encode();
    assert!(!text.contains(r#"function="digits""#) && text.contains(r#"function="kept""#));
}

#[test]
fn what_is_over_the_cap_shares_one_series() {
    let metrics = Metrics::new(MetricsConfig { max_series: 2, ..MetricsConfig::default() });
    let (tenant, function) = names();
    for number in 1..=5 {
        metrics.revision(&tenant, &function, RevisionNumber(number)).record(&samples::record());
    }
    // Known ones are still found, and room is used again.
    metrics.revision(&tenant, &function, RevisionNumber(2)).record(&samples::record());
    let series = parse(&metrics.encode());
    let count = |labels: &str| series[&format!(r#"modelet_invocations_total{{{labels},code="ok"}}"#)];
    assert_eq!(count(r#"tenant="acme",function="digits",revision="2""#), 2.0);
    assert_eq!(count(r#"tenant="_other",function="_other",revision="_other""#), 3.0);
    metrics.remove_function(&tenant, &function);
    metrics.revision(&tenant, &function, RevisionNumber(9)).record(&samples::record());
    assert!(metrics.encode().contains(r#"revision="9""#));
}

#[test]
fn the_host_shows_its_layers_and_its_process() {
    let metrics = Metrics::new(MetricsConfig { version: "1.2.3", ..MetricsConfig::default() });
    metrics.host().wake(Layer::Session, Duration::from_millis(3));
    metrics.host().compilation.observe(Duration::from_millis(40));
    metrics.host().model_loads.add(2);
    metrics.host().instances_running.add(5);
    metrics.host().instances_running.add(-1);
    metrics.host().usage_export_oldest.set(Timestamp::now().as_microsecond() - 90_000_000);
    metrics.before_scrape(|host| host.sessions(SessionState::Ready).set(6));
    let series = parse(&metrics.encode());
    assert_eq!(series[r#"modelet_build_info{version="1.2.3"}"#], 1.0);
    assert_eq!(series[r#"modelet_wakes_total{layer="session"}"#], 1.0);
    assert_eq!(series[r#"modelet_wakes_total{layer="code"}"#], 0.0);
    assert_eq!(series[r#"modelet_wake_duration_seconds_sum{layer="session"}"#], 0.003);
    assert_eq!(series[r#"modelet_sessions{state="ready"}"#], 6.0);
    assert_eq!(series["modelet_model_loads_total"], 2.0);
    assert_eq!(series["modelet_instances_running"], 4.0);
    assert_eq!(series["modelet_compilations_total"], 1.0);
    assert!((90.0..150.0).contains(&series["modelet_usage_export_lag_seconds"]));
    metrics.host().usage_export_oldest.set(0);
    assert_eq!(parse(&metrics.encode())["modelet_usage_export_lag_seconds"], 0.0);
    assert_eq!(bucket(&series, "modelet_compilation_duration_seconds", "0.05"), 1.0);
    assert!(series["process_resident_memory_bytes"] > 1e6);
    assert!(series["process_open_fds"] >= 3.0 && series["process_max_fds"] > 3.0);
    let now = Timestamp::now().as_second() as f64;
    assert!((now - 60.0..=now + 1.0).contains(&series["process_start_time_seconds"]));
    assert!(series["process_cpu_seconds_total"] > 0.0);
}

#[tokio::test]
async fn the_ledger_and_the_logs_are_watched() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path().join("ledger"), LedgerConfig::default()).unwrap();
    let logs = FunctionLogs::open(dir.path().join("logs"), Default::default()).unwrap();
    let metrics = Metrics::new(MetricsConfig::default());
    metrics.watch_ledger(Arc::clone(&ledger));
    metrics.watch_function_logs(Arc::clone(&logs));
    ledger.append(&samples::record()).await.unwrap();
    ledger.open_stream(samples::opened(&samples::record())).await.unwrap();
    let (tenant, function) = names();
    logs.host_line(&tenant, &function, crate::Level::Info, "hello");
    logs.flush().await.unwrap();
    let series = parse(&metrics.encode());
    assert_eq!(series["modelet_ledger_entries_total"], 2.0);
    assert_eq!(series["modelet_ledger_writes_total"], 2.0);
    assert_eq!(series["modelet_ledger_failed_entries_total"], 0.0);
    assert_eq!(series["modelet_ledger_open_streams"], 1.0);
    assert_eq!(series["modelet_log_lines_total"], 1.0);
    assert_eq!(series["modelet_log_lines_dropped_total"], 0.0);
}
