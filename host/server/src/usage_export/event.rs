//! What a usage record is as a CloudEvent, in JSON.

use jiff::Timestamp;
use modelet_observe::UsageRecord;
use modelet_types::{FunctionName, InvocationId, RevisionNumber, TenantName, Usage};
use serde::Serialize;

/// One event. Its id and its source together are those of no other, and the same each time it is sent.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    specversion: &'static str,
    id: InvocationId,
    source: &'a str,
    r#type: &'static str,
    subject: &'a TenantName,
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data<'a>,
}

/// What was measured, and what of it is billed. docs/billing.md says what each is.
#[derive(Serialize)]
struct Data<'a> {
    tenant: &'a TenantName,
    function: &'a FunctionName,
    revision: RevisionNumber,
    outcome: &'static str,
    status: u16,
    cold: bool,
    billed: bool,
    wall_time_us: u64,
    queue_time_us: u64,
    wake_time_us: u64,
    cpu_time_us: u64,
    inference_cpu_time_us: u64,
    peak_memory_bytes: u64,
    request_bytes: u64,
    response_bytes: u64,
    duration_ms: u64,
    memory_mib_ms: u64,
}

impl<'a> Event<'a> {
    fn new(source: &'a str, record: &'a UsageRecord) -> Self {
        let Usage { duration_ms, memory_mib_ms, .. } = record.usage();
        let data = Data {
            tenant: &record.tenant,
            function: &record.function,
            revision: record.revision,
            outcome: record.outcome.as_str(),
            status: record.status,
            cold: record.cold,
            billed: record.outcome.is_billed(),
            wall_time_us: record.wall_time_us,
            queue_time_us: record.queue_time_us,
            wake_time_us: record.wake_time_us,
            cpu_time_us: record.cpu_time_us,
            inference_cpu_time_us: record.inference_cpu_time_us,
            peak_memory_bytes: record.peak_memory_bytes,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            duration_ms,
            memory_mib_ms,
        };
        Self {
            specversion: "1.0",
            id: record.invocation,
            source,
            r#type: "modelet.invocation",
            subject: &record.tenant,
            time: record.started_at,
            datacontenttype: "application/json",
            data,
        }
    }
}

/// The body of a request with the events of these records, which are of the ledger with this id.
pub(super) fn batch(ledger: &str, records: &[UsageRecord]) -> Vec<u8> {
    let source = format!("modelet/{ledger}");
    let events: Vec<_> = records.iter().map(|record| Event::new(&source, record)).collect();
    serde_json::to_vec(&events).expect("text and numbers can be written")
}

#[cfg(test)]
pub(super) mod tests {
    use modelet_observe::Outcome;
    use modelet_types::Code;
    use serde_json::{Value, json};

    use super::*;

    fn record(outcome: Outcome) -> UsageRecord {
        UsageRecord {
            invocation: InvocationId::generate(),
            tenant: "acme".parse().unwrap(),
            function: "digits".parse().unwrap(),
            revision: RevisionNumber(7),
            started_at: Timestamp::from_microsecond(1_790_000_000_123_456).unwrap(),
            wall_time_us: 3_001,
            queue_time_us: 500,
            wake_time_us: 500,
            cpu_time_us: 204,
            inference_cpu_time_us: 305,
            peak_memory_bytes: (1 << 20) + 1,
            request_bytes: 300,
            response_bytes: 40,
            status: 200,
            outcome,
            cold: true,
        }
    }

    /// An event, as a collector reads it.
    pub(in crate::usage_export) fn sample() -> Value {
        let body = batch("ledger", &[record(Outcome::Ok)]);
        serde_json::from_slice::<Vec<Value>>(&body).unwrap().remove(0)
    }

    #[test]
    fn an_event_has_what_the_record_has_and_what_is_billed() {
        let record = record(Outcome::Ok);
        let body: Value = serde_json::from_slice(&batch("0199", std::slice::from_ref(&record))).unwrap();
        let expected = json!([{
            "specversion": "1.0",
            "id": record.invocation.to_string(),
            "source": "modelet/0199",
            "type": "modelet.invocation",
            "subject": "acme",
            "time": "2026-09-21T14:13:20.123456Z",
            "datacontenttype": "application/json",
            "data": {
                "tenant": "acme", "function": "digits", "revision": 7,
                "outcome": "ok", "status": 200, "cold": true, "billed": true,
                "wall_time_us": 3_001, "queue_time_us": 500, "wake_time_us": 500,
                "cpu_time_us": 204, "inference_cpu_time_us": 305, "peak_memory_bytes": 1_048_577,
                "request_bytes": 300, "response_bytes": 40,
                "duration_ms": 3, "memory_mib_ms": 6,
            },
        }]);
        assert_eq!(body, expected);
    }

    #[test]
    fn what_the_host_was_at_fault_for_is_there_and_not_billed() {
        let records = [record(Outcome::Failed(Code::Overloaded)), record(Outcome::Interrupted)];
        let body: Value = serde_json::from_slice(&batch("0199", &records)).unwrap();
        for (event, outcome) in [(&body[0], "overloaded"), (&body[1], "interrupted")] {
            let data = &event["data"];
            assert_eq!((&data["outcome"], &data["billed"]), (&json!(outcome), &json!(false)));
            assert_eq!((&data["duration_ms"], &data["memory_mib_ms"]), (&json!(0), &json!(0)));
            assert_eq!(data["wall_time_us"], 3_001);
        }
    }
}
