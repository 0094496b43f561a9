//! Usage records at a collector outside: each at least once, with the same id each time.

use std::collections::{BTreeMap, BTreeSet};

use modelet_observe::UsageRecord;
use reqwest::Method;
use serde_json::{Value, json};

use crate::ledger::records;
use crate::support::{
    Api, Behaviour, Collector, HostProcess, TestHost, guest, noop_handler, run_client, self_signed, until,
};

/// The settings of a host that exports to `collector`.
fn exporting(collector: &Collector, changes: &Value) -> Value {
    let mut settings = json!({ "url": collector.url() });
    settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({ "usage_export": settings })
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

async fn has_taken(collector: &Collector, expected: &BTreeSet<String>) {
    until("the collector's events", async || ids(&collector.taken()).is_superset(expected).then_some(()))
        .await;
}

/// Calls the function `f` so often, and adds the invocations' ids.
async fn call(host: &Api, times: usize, invocations: &mut BTreeSet<String>) {
    for _ in 0..times {
        let answer = host.call("f", "/", "").await.expect(204);
        invocations.insert(answer.header("modelet-invocation-id").to_owned());
    }
}

async fn failures(host: &Api, more_than: f64) -> f64 {
    until("a request that fails", async || {
        let failures = host.metric("modelet_usage_export_failures_total", "").await;
        (failures > more_than).then_some(failures)
    })
    .await
}

/// What an event has to say of a record.
fn expected(record: &UsageRecord) -> Value {
    let usage = record.usage();
    let mut expected = serde_json::to_value(record).unwrap();
    let fields = expected.as_object_mut().unwrap();
    fields.remove("invocation");
    fields.insert("outcome".into(), record.outcome.as_str().into());
    fields.insert("billed".into(), record.outcome.is_billed().into());
    fields.insert("duration_ms".into(), usage.duration_ms.into());
    fields.insert("memory_mib_ms".into(), usage.memory_mib_ms.into());
    expected
}

/// Has the SDK of CloudEvents read what was collected.
async fn check_with_the_sdk(host: &TestHost, collector: &Collector, records: &BTreeMap<String, UsageRecord>) {
    let request = |request: crate::support::Collected| json!({ "content_type": request.content_type, "body": request.body });
    let requests: Vec<_> = collector.requests().into_iter().map(request).collect();
    let records: BTreeMap<_, _> = records.iter().map(|(id, record)| (id, expected(record))).collect();
    let ledger = std::fs::read_to_string(host.data_dir().join("ledger/id")).unwrap();
    let source = format!("modelet/{}", ledger.trim());
    let file = host.data_dir().join("collected.json");
    let collected = json!({ "requests": requests, "records": records, "source": source });
    std::fs::write(&file, collected.to_string()).unwrap();
    run_client("collected.py", [file], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_as_a_cloud_event() {
    let collector = Collector::start(Behaviour::Take).await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "sesame\n").unwrap();
    let settings = exporting(&collector, &json!({ "token_file": token_file, "max_records": 3 }));
    let mut host = TestHost::start_with(&settings).await;
    host.deploy_component("f", noop_handler(0)).await;
    host.deploy_component("hostile", guest("hostile")).await;
    host.post("/api/v1/tenants", &json!({ "tenant": "acme" })).await.expect(201);
    let key = host.request(Method::POST, "/api/v1/keys").header("modelet-tenant", "acme");
    let key = Api::try_send(key.json(&json!({ "role": "owner" }))).await.unwrap().expect(201).json();
    let acme = host.with_key(key["key"].as_str());
    acme.deploy_component("theirs", noop_handler(1)).await;

    let mut invocations = BTreeSet::new();
    call(&host, 7, &mut invocations).await;
    acme.send(Method::POST, "/f/acme/theirs/", "four").await.expect(204);
    for path in ["/trap-before", "/trap-after", "/big?n=1000", "/nowhere"] {
        host.call("hostile", path, "12345").await;
    }
    // Broken off on the way.
    let request = host.request(Method::POST, "/f/default/hostile/trap-mid-stream");
    assert!(request.send().await.unwrap().bytes().await.is_err());
    let all = 7 + 1 + 4 + 1;
    until("all events", async || (collector.taken().len() >= all).then_some(())).await;
    until("the metrics to say so", async || {
        (host.metric("modelet_usage_export_records_total", "").await == all as f64).then_some(())
    })
    .await;
    until("nothing to be left", async || {
        (host.metric("modelet_usage_export_lag_seconds", "").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(host.metric("modelet_usage_export_failures_total", "").await, 0.0);
    host.stop().await;

    let records = records(&host);
    let events = collector.taken();
    assert_eq!(events.len(), all, "each came once");
    assert_eq!(ids(&events), records.keys().cloned().collect());
    assert!(invocations.is_subset(&ids(&events)));
    let outcomes: BTreeSet<_> =
        events.iter().map(|event| event["data"]["outcome"].as_str().unwrap()).collect();
    assert!(outcomes.contains("ok") && outcomes.contains("handler_trap"), "{outcomes:?}");
    assert_eq!(events.iter().filter(|event| event["subject"] == "acme").count(), 1);
    for request in collector.requests() {
        assert_eq!(request.authorization.as_deref(), Some("Bearer sesame"));
        assert!((1..=3).contains(&request.events().len()), "{request:?}");
    }
    check_with_the_sdk(&host, &collector, &records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_fails_gets_everything_later() {
    let unavailable = Behaviour::Answer(503, vec![("retry-after", "1".into())]);
    let mut collector = Collector::start(unavailable).await;
    let settings = exporting(&collector, &json!({ "timeout_ms": 1_000, "max_records": 10 }));
    let mut host = TestHost::start_with(&settings).await;
    host.deploy_component("f", noop_handler(0)).await;
    let mut invocations = BTreeSet::new();
    call(&host, 15, &mut invocations).await;
    let failed = failures(&host, 0.0).await;
    let first = collector.requests()[0].ids();
    collector.will(Behaviour::Hang);
    let failed = failures(&host, failed).await;
    call(&host, 2, &mut invocations).await;
    collector.will(Behaviour::Answer(429, Vec::new()));
    let failed = failures(&host, failed).await;
    assert!(host.metric("modelet_usage_export_lag_seconds", "").await > 0.0);
    collector.close().await;
    failures(&host, failed).await;
    assert_eq!(collector.taken(), Vec::<Value>::new());
    collector.open_again().await;
    has_taken(&collector, &invocations).await;

    // The first request was tried again as it was, until it was taken.
    let requests = collector.requests();
    let taken = requests.iter().position(|request| request.was_taken).unwrap();
    assert!(taken >= 3 && requests[..=taken].iter().all(|request| request.ids() == first), "{requests:?}");
    host.stop().await;
    assert_eq!(collector.taken().len(), invocations.len(), "each came once");
    assert_eq!(ids(&collector.taken()), records(&host).keys().cloned().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_little_at_once_gets_little() {
    let collector = Collector::start(Behaviour::Answer(503, Vec::new())).await;
    let host = TestHost::start_with(&exporting(&collector, &json!({}))).await;
    host.deploy_component("f", noop_handler(0)).await;
    let mut invocations = BTreeSet::new();
    call(&host, 10, &mut invocations).await;
    failures(&host, 0.0).await;
    collector.will(Behaviour::TakeAtMost(3));
    has_taken(&collector, &invocations).await;
    assert_eq!(collector.taken().len(), invocations.len(), "each came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_refuses_is_kept_until_somebody_acts() {
    let other = Collector::start(Behaviour::Take).await;
    let collector = Collector::start(Behaviour::Answer(401, Vec::new())).await;
    let mut host = TestHost::start_with(&exporting(&collector, &json!({}))).await;
    host.deploy_component("f", noop_handler(0)).await;
    let mut invocations = BTreeSet::new();
    call(&host, 3, &mut invocations).await;
    failures(&host, 0.0).await;
    // A stop tries once more, and a redirect is no way around.
    collector.will(Behaviour::Answer(307, vec![("location", other.url())]));
    host.stop().await;
    let refused = collector.requests().len();
    assert!(refused >= 2 && collector.taken().is_empty());
    collector.will(Behaviour::Take);
    host.start_again().await;
    has_taken(&collector, &invocations).await;
    assert_eq!(other.requests().len(), 0, "the token is for one address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_sends_what_is_left() {
    let collector = Collector::start(Behaviour::Take).await;
    let mut host = TestHost::start_with(&exporting(&collector, &json!({ "max_records": 2 }))).await;
    host.deploy_component("f", noop_handler(0)).await;
    let mut invocations = BTreeSet::new();
    call(&host, 9, &mut invocations).await;
    host.stop().await;
    assert_eq!(ids(&collector.taken()), invocations);
    assert_eq!(collector.taken().len(), invocations.len(), "each came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_begins_to_export_sends_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut invocations = BTreeSet::new();
    let host = HostProcess::start(&data, None).await;
    host.deploy_component("f", noop_handler(0)).await;
    call(&host, 3, &mut invocations).await;
    host.kill().await;
    let collector = Collector::start(Behaviour::Take).await;
    let _host = HostProcess::start_with(&data, &exporting(&collector, &json!({})), []).await;
    has_taken(&collector, &invocations).await;
    assert_eq!(ids(&collector.taken()), invocations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_loses_nothing_and_repeats_at_most_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut collector = Collector::start(Behaviour::Take).await;
    let settings = exporting(&collector, &json!({ "max_records": 20 }));
    let mut invocations = BTreeSet::new();
    // Killed when the collector has taken a request and the host has not noted it, killed while the collector
    // cannot be reached, and then left alone.
    let failpoint = ("FAILPOINTS".to_owned(), "store::usage::exported=kill".to_owned());
    let host = HostProcess::start_with(&data, &settings, [failpoint]).await;
    host.deploy_component("f", noop_handler(0)).await;
    while let Ok(answer) = host.call_fallibly("f", "/", "").await {
        invocations.insert(answer.expect(204).header("modelet-invocation-id").to_owned());
    }
    host.was_killed().await;
    let first = collector.requests();
    assert_eq!(first.len(), 1, "{first:?}");
    collector.close().await;

    let host = HostProcess::start_with(&data, &settings, []).await;
    call(&host, 7, &mut invocations).await;
    failures(&host, 0.0).await;
    host.kill().await;
    collector.open_again().await;

    let host = HostProcess::start_with(&data, &settings, []).await;
    call(&host, 1, &mut invocations).await;
    has_taken(&collector, &invocations).await;
    host.kill().await;
    let events = collector.taken();
    let of = |name: &str| events.iter().map(|event| event[name].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("source").into_iter().collect::<BTreeSet<_>>().len(), 1, "one ledger");
    let repeated = events.len() - ids(&events).len();
    assert_eq!(repeated, first[0].ids().len(), "no more than the request that was not noted");
    assert!(collector.requests()[1].ids().starts_with(&first[0].ids()), "the ids are the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_with_a_certificate_is_trusted_if_the_operator_does() {
    let (certificate, acceptor) = self_signed();
    let collector = Collector::start_with_tls(acceptor).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate).unwrap();
    for (changes, is_trusted) in [(json!({}), false), (json!({ "ca_file": file }), true)] {
        let host = TestHost::start_with(&exporting(&collector, &changes)).await;
        host.deploy_component("f", noop_handler(0)).await;
        let mut invocations = BTreeSet::new();
        call(&host, 1, &mut invocations).await;
        match is_trusted {
            true => has_taken(&collector, &invocations).await,
            false => _ = failures(&host, 0.0).await,
        }
    }
    assert_eq!(collector.taken().len(), 1);
}
