//! One usage record for each invocation, whatever became of it.

use std::collections::BTreeMap;

use modelet_observe::{Ledger, LedgerConfig, Outcome, Position, UsageRecord};
use modelet_types::Code;
use serde_json::json;

use crate::support::{TestHost, digits_model, guest, until};

/// The records of a host that has ended, by invocation.
pub fn records(host: &TestHost) -> BTreeMap<String, UsageRecord> {
    let ledger = Ledger::open(host.data_dir().join("ledger"), LedgerConfig::default()).unwrap();
    let mut by_invocation = BTreeMap::new();
    for record in ledger.records(Position::START).unwrap() {
        let record = record.unwrap();
        let twice = by_invocation.insert(record.invocation.to_string(), record);
        assert_eq!(twice, None, "two records of one invocation");
    }
    by_invocation
}

#[tokio::test]
async fn every_invocation_has_exactly_one_record() {
    let mut host = TestHost::start().await;
    let component = host.upload(guest("hostile")).await;
    let model = host.upload(digits_model()).await;
    let spec = json!({
        "component": component,
        "models": { "digits": { "artifact": model } },
        "limits": { "cpu_time_ms": 200, "wall_time_ms": 60_000 },
    });
    host.deploy("hostile", &spec).await;
    let failed = Outcome::Failed;
    let mut expected = BTreeMap::new();
    for (path, status, outcome) in [
        ("/big?n=1000", 200, Outcome::Ok),
        ("/big-stream?n=200000", 200, Outcome::Ok),
        ("/trap-after", 502, failed(Code::HandlerTrap)),
        ("/loop", 504, failed(Code::CpuTimeExceeded)),
        ("/short-tensor", 422, failed(Code::HandlerError)),
        ("/trap-mid-stream", 200, failed(Code::HandlerTrap)),
    ] {
        let request = host.request(reqwest::Method::POST, &format!("/f/default/hostile{path}")).body("12345");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let invocation = answer.headers()["modelet-invocation-id"].to_str().unwrap().to_owned();
        // Read to the end, or to where it is broken off.
        let _ = answer.bytes().await;
        expected.insert(invocation, (path, status, outcome));
    }
    // Somebody who leaves before the answer never learns the invocation's id.
    let sleeping = async || (host.layers("hostile").await["instances"]["running"] == 1).then_some(());
    tokio::select! {
        answer = host.call("hostile", "/sleep", "") => panic!("{answer:?}"),
        () = until("the sleeper", sleeping) => {}
    }
    host.stop().await;

    let mut found = records(&host);
    for (invocation, (path, status, outcome)) in &expected {
        let record = found.remove(invocation).unwrap_or_else(|| panic!("no record of {path}"));
        assert_eq!((record.status, record.outcome), (*status, *outcome), "{path}");
        assert_eq!((record.function.as_str(), record.revision.0), ("hostile", 1));
        assert!(
            record.wall_time_us > 0 && record.peak_memory_bytes > 0 && record.cpu_time_us > 0,
            "{record:?}"
        );
        match *path {
            "/big?n=1000" => assert_eq!((record.request_bytes, record.response_bytes), (5, 1000)),
            "/loop" => assert!(record.cpu_time_us >= 200_000, "{record:?}"),
            "/trap-after" => assert!(record.inference_cpu_time_us > 0, "{record:?}"),
            _ => {}
        }
    }
    let rest: Vec<_> = found.into_values().map(|record| record.outcome).collect();
    assert_eq!(rest, [failed(Code::Cancelled)], "the caller who left");
}

#[tokio::test]
async fn time_in_the_queue_is_recorded_also_when_it_was_in_vain() {
    let mut host = TestHost::start().await;
    let component = host.upload(guest("hostile")).await;
    let concurrency = json!({ "limit": 1, "queue": 1, "queue_timeout_ms": 200 });
    host.deploy("hostile", &json!({ "component": component, "concurrency": concurrency })).await;
    let sleeping = async || (host.layers("hostile").await["instances"]["running"] == 1).then_some(());
    let refused = async {
        until("the sleeper", sleeping).await;
        host.call("hostile", "/log?n=1", "").await
    };
    tokio::select! {
        answer = host.call("hostile", "/sleep", "") => panic!("{answer:?}"),
        answer = refused => answer.problem(503, "overloaded", None),
    };
    host.stop().await;

    let records = records(&host);
    let refused = records.values().find(|record| record.outcome == Outcome::Failed(Code::Overloaded));
    let queue_time_us = refused.expect("the refusal has a record").queue_time_us;
    assert!(queue_time_us >= 200_000, "{queue_time_us}");
}

#[tokio::test]
async fn a_killed_host_closes_its_open_streams_when_it_comes_back() {
    let folder = tempfile::TempDir::new().unwrap();
    let host = crate::support::HostProcess::start(folder.path(), None).await;
    host.deploy_component("streaming", guest("streaming")).await;
    let path = "/f/default/streaming/count?lines=4000000000";
    let mut stream = host.request(reqwest::Method::POST, path).send().await.unwrap();
    let invocation = stream.headers()["modelet-invocation-id"].to_str().unwrap().to_owned();
    stream.chunk().await.unwrap();
    host.kill().await;

    let ledger = Ledger::open(folder.path().join("ledger"), LedgerConfig::default()).unwrap();
    let records: Vec<_> = ledger.records(Position::START).unwrap().map(Result::unwrap).collect();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((record.invocation.to_string(), record.outcome), (invocation, Outcome::Interrupted));
}
