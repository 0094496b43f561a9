//! Usage and what it costs: every invocation once, summed up by the hour, and on a statement.

use modelet_observe::{Durability, Ledger, LedgerConfig, Position};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, HostProcess, TestHost, digits, noop_handler};

const PLANS: &str = r#"{
    "currency": "EUR",
    "plans": {
        "default": { "per_million_invocations": "1000000" },
        "cheap": { "per_million_invocations": "250000", "free_invocations": 2 }
    }
}"#;

async fn usage(host: &Api, query: &str) -> Value {
    host.get(&format!("/api/v1/usage{query}")).await.expect(200).json()
}

fn this_month() -> String {
    jiff::Timestamp::now().to_string()[..7].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invocation_is_in_the_sums_by_function_and_revision() {
    let host = TestHost::start().await;
    host.deploy_digits("digits", &json!({})).await;
    host.deploy_component("other", noop_handler(0)).await;
    for digit in digits().iter().take(3) {
        assert_eq!(digit.mistake(&host.call("digits", "/", digit.request()).await), None);
    }
    host.call("digits", "/", "not JSON").await;
    host.deploy_digits("digits", &json!({ "config": { "second": "revision" } })).await;
    assert_eq!(digits()[0].mistake(&host.call("digits", "/", digits()[0].request()).await), None);
    host.call("other", "/", "").await.expect(204);

    let sums = usage(&host, "?interval=total&per=revision").await;
    let row = |function: &str, revision: u64| {
        let rows = sums["rows"].as_array().unwrap();
        let is_it = |row: &&Value| row["function"] == function && row["revision"] == revision;
        rows.iter().find(is_it).cloned().unwrap_or_else(|| panic!("no {function} {revision} in {sums}"))
    };
    let first = row("digits", 1);
    assert_eq!((&first["invocations"], &first["failed"]), (&json!(4), &json!(1)), "{first}");
    assert_eq!(row("digits", 2)["invocations"], 1);
    assert_eq!(row("other", 1)["invocations"], 1);
    assert_eq!(sums["total"]["invocations"], 6);
    for sum in
        ["duration_ms", "memory_mib_ms", "cpu_us", "inference_cpu_us", "request_bytes", "response_bytes"]
    {
        assert!(first[sum].as_u64().unwrap() > 0, "{sum}: {first}");
    }
    let one = usage(&host, "?function=other").await;
    assert_eq!((one["rows"].as_array().map(Vec::len), &one["total"]["invocations"]), (Some(1), &json!(1)));
    let before = usage(&host, "?to=2020-01-01T00:00:00Z").await;
    assert_eq!(before["rows"], json!([]), "{before}");
    let refused = host.get("/api/v1/usage?from=tomorrow").await;
    refused.problem(400, "invalid_input", Some("from"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_what_the_plan_says() {
    let billing: Value = serde_json::from_str(PLANS).unwrap();
    let host = TestHost::start_with(&json!({ "billing": billing })).await;
    host.deploy_component("f", noop_handler(0)).await;
    for _ in 0..5 {
        host.call("f", "/", "").await.expect(204);
    }
    let path = format!("/api/v1/statements/{}", this_month());
    let statement = host.get(&path).await.expect(200).json();
    assert_eq!(
        (&statement["plan"], &statement["currency"]),
        (&json!("default"), &json!("EUR")),
        "{statement}"
    );
    assert_eq!(statement["total"], "5.000000", "{statement}");
    assert_eq!(
        (&statement["is_final"], &statement["functions"][0]["function"]),
        (&json!(false), &json!("f"))
    );

    let plan = json!({ "plan": "cheap" });
    host.put("/api/v1/tenants/default/plan", &plan).await.expect(200);
    let statement = host.get(&path).await.expect(200).json();
    let line = &statement["lines"][0];
    assert_eq!(
        (&line["quantity"], &line["free"], &line["amount"]),
        (&json!("5"), &json!("2"), &json!("0.750000"))
    );
    assert_eq!(statement["total"], "0.750000");
    let unknown = json!({ "plan": "gold" });
    host.put("/api/v1/tenants/default/plan", &unknown).await.problem(404, "not_found", Some("plan"));

    let form = async |accept: &str| {
        let request = host.request(Method::GET, &path).header("accept", accept);
        Api::try_send(request).await.unwrap().expect(200)
    };
    let csv = form("text/csv").await;
    let lines: Vec<_> = csv.text().lines().collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(
        lines[1],
        format!("default,{},invocations,invocations,5,2,250000,1000000,0.750000,EUR", this_month())
    );
    assert!(lines[5].ends_with(",0.750000,EUR"), "{lines:?}");
    let page = form("text/html").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text().contains("0.750000") && page.text().contains(&this_month()), "{}", page.text());
    host.get("/api/v1/statements/soon").await.problem(400, "invalid_input", Some("month"));
    let past = host.get("/api/v1/statements/2020-01").await.expect(200).json();
    assert_eq!((&past["is_final"], &past["total"]), (&json!(true), &json!("0.000000")), "{past}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_billed_for_its_own() {
    let host = TestHost::start().await;
    host.deploy_component("f", noop_handler(0)).await;
    host.call("f", "/", "").await.expect(204);
    host.post("/api/v1/tenants", &json!({ "tenant": "acme" })).await.expect(201);
    let request = host.request(Method::GET, "/api/v1/usage").header("modelet-tenant", "acme");
    let theirs = Api::try_send(request).await.unwrap().expect(200).json();
    assert_eq!((&theirs["tenant"], &theirs["total"]["invocations"]), (&json!("acme"), &json!(0)));
    // What the host was at fault for is counted, and costs nothing.
    let sums = usage(&host, "?interval=total").await;
    assert_eq!(
        (&sums["total"]["invocations"], &sums["total"]["not_billed"]),
        (&json!(1), &json!(0)),
        "{sums}"
    );
}

/// The sums that the ledger gives, read by itself.
fn recount(data_dir: &std::path::Path) -> modelet_types::Usage {
    let config = LedgerConfig { durability: Durability::Process, ..LedgerConfig::default() };
    let ledger = Ledger::open(data_dir.join("ledger"), config).unwrap();
    ledger.records(Position::START).unwrap().map(|record| record.unwrap().usage()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_added_up_once_however_the_host_ends() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut answered = 0;
    for failpoint in [Some("store::usage::added"), Some("store::usage::committed"), None] {
        let host = HostProcess::start(&data, failpoint).await;
        // The host adds up once a second, and dies at that; until then it answers.
        if host.get_fallibly("/api/v1/functions/f").await.is_ok_and(|answer| answer.status == 404) {
            host.deploy_component("f", noop_handler(0)).await;
        }
        while answered < 10_000 {
            match host.call_fallibly("f", "/", "").await {
                Ok(answer) => drop(answer.expect(204)),
                Err(_) => break,
            }
            answered += 1;
            if failpoint.is_none() && answered % 50 == 0 {
                break;
            }
        }
        match failpoint {
            Some(_) => host.was_killed().await,
            None => {
                let sums = usage(&host, "?interval=total").await;
                let counted = sums["total"]["invocations"].as_u64().unwrap();
                // A call whose answer was lost with its host is billed if its record was written.
                assert!((answered..=answered + 2).contains(&counted), "{answered} answered, {sums}");
                let total: modelet_types::Usage = serde_json::from_value(sums["total"].clone()).unwrap();
                host.kill().await;
                assert_eq!(recount(&data), total, "the sums are those of the records");
            }
        }
    }
}
