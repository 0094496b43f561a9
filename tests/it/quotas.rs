//! Quotas: a tenant gets as much as it may, exactly, and is told when there is more.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, TestHost, digits_model, guest, noop_handler, until};

/// A host whose tenant `acme` has these quotas, and its owner.
async fn tenant_with(config: &Value, quotas: &Value) -> (TestHost, Api) {
    let host = TestHost::start_with(config).await;
    host.post("/api/v1/tenants", &json!({ "tenant": "acme" })).await.expect(201);
    let request = host.request(Method::POST, "/api/v1/keys").header("modelet-tenant", "acme");
    let made = Api::try_send(request.json(&json!({ "role": "owner" }))).await.unwrap().expect(201).json();
    let owner = host.with_key(made["key"].as_str());
    host.put("/api/v1/tenants/acme/quotas", quotas).await.expect(200);
    (host, owner)
}

async fn call(caller: &Api) -> Answer {
    caller.send(Method::POST, "/f/acme/f/", "").await
}

fn reached(answer: &Answer, quota: &str) {
    let detail = answer.problem(429, "quota_exceeded", None);
    let field = quota.strip_prefix("function.").unwrap_or(quota);
    assert!(detail["detail"].as_str().unwrap().contains(field), "{detail}");
    let after: u64 = answer.header("retry-after").parse().unwrap();
    assert!(after >= 1);
    assert!(answer.header("ratelimit").starts_with(&format!("\"{quota}\";r=0;t=")), "{answer:?}");
    assert!(answer.header("ratelimit-policy").starts_with(&format!("\"{quota}\";q=")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_never_exceeded_under_load() {
    let (mut host, owner) = tenant_with(&json!({}), &json!({ "invocations_per_month": 100 })).await;
    owner.deploy_component("f", noop_handler(0)).await;
    let (allowed, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    let caller = async || {
        for _ in 0..20 {
            let answer = call(&owner).await;
            match answer.status {
                204 => allowed.fetch_add(1, Relaxed),
                _ => {
                    reached(&answer, "invocations_per_month");
                    refused.fetch_add(1, Relaxed)
                }
            };
        }
    };
    join_all((0..16).map(|_| caller())).await;
    assert_eq!((allowed.into_inner(), refused.into_inner()), (100, 220));
    let quotas = owner.get("/api/v1/quotas").await.expect(200).json();
    assert_eq!((&quotas["month"]["invocations"], &quotas["running"]), (&json!(100), &json!(0)), "{quotas}");
    let usage = owner.get("/api/v1/usage?interval=total").await.expect(200).json();
    assert_eq!(usage["total"]["invocations"], 100, "what was refused is not charged");
    assert_eq!(host.metric("modelet_quota_refusals_total", "").await, 220.0);

    // It is known after a restart, and more is at hand at once when the operator gives more.
    let key = owner.key().to_owned();
    host.restart().await;
    let owner = host.with_key(Some(&key));
    reached(&call(&owner).await, "invocations_per_month");
    host.put("/api/v1/tenants/acme/quotas", &json!({ "invocations_per_month": 101 })).await.expect(200);
    call(&owner).await.expect(204);
    reached(&call(&owner).await, "invocations_per_month");
    // Others are not concerned.
    host.deploy_component("f", noop_handler(0)).await;
    host.call("f", "/", "").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_at_one_time_is_bounded() {
    let (host, owner) = tenant_with(&json!({}), &json!({ "concurrency": 2 })).await;
    owner.deploy_component("f", guest("hostile")).await;
    let sleeping = || owner.request(Method::POST, "/f/acme/f/sleep").send();
    let two = tokio::spawn(join_all([sleeping(), sleeping()]));
    running(&owner, "/api/v1/quotas", 2).await;
    reached(&call(&owner).await, "concurrency");
    two.abort();
    running(&owner, "/api/v1/quotas", 0).await;
    call(&owner).await.problem(404, "not_found", None);

    let memory = json!({ "memory_bytes": 1 << 20 });
    host.put("/api/v1/tenants/acme/quotas", &memory).await.expect(200);
    reached(&call(&owner).await, "memory_bytes");
    host.put("/api/v1/tenants/acme/quotas", &json!({ "tensor_bytes": 1 << 20 })).await.expect(200);
    reached(&call(&owner).await, "tensor_bytes");
    host.put("/api/v1/tenants/acme/quotas", &json!({ "invocations_per_second": 0 })).await.expect(200);
    reached(&call(&owner).await, "invocations_per_second");
    host.put("/api/v1/tenants/acme/quotas", &json!({})).await.expect(200);
    call(&owner).await.problem(404, "not_found", None);
}

/// Waits until so many invocations run or wait, as `quotas` says at this address.
async fn running(owner: &Api, path: &str, count: u64) -> Value {
    until("invocations that run", async || {
        let quotas = owner.get(path).await.expect(200).json();
        (quotas["running"] == count).then_some(quotas)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_bounded_within_its_tenant() {
    let (mut host, owner) = tenant_with(&json!({}), &json!({ "invocations_per_month": 5 })).await;
    owner.deploy_component("f", noop_handler(0)).await;
    owner.deploy_component("g", noop_handler(0)).await;
    let path = "/api/v1/functions/f/quotas";
    let set = owner.put(path, &json!({ "invocations_per_month": 2 })).await.expect(200);
    assert_eq!(set.json()["quotas"], json!({ "invocations_per_month": 2 }));
    let g = async |caller: &Api| caller.send(Method::POST, "/f/acme/g/", "").await;
    for _ in 0..2 {
        call(&owner).await.expect(204);
    }
    reached(&call(&owner).await, "function.invocations_per_month");
    for _ in 0..3 {
        g(&owner).await.expect(204);
    }
    reached(&g(&owner).await, "invocations_per_month");

    // A restart knows what each has used, a new revision changes nothing, and a new function begins anew.
    let key = owner.key().to_owned();
    host.restart().await;
    let owner = host.with_key(Some(&key));
    host.put("/api/v1/tenants/acme/quotas", &json!({})).await.expect(200);
    owner.deploy_component("f", noop_handler(1)).await;
    reached(&call(&owner).await, "function.invocations_per_month");
    g(&owner).await.expect(204);
    let used = owner.get(path).await.expect(200).json();
    assert_eq!((&used["month"]["invocations"], &used["running"]), (&json!(2), &json!(0)), "{used}");
    owner.delete("/api/v1/functions/f").await.expect(204);
    owner.deploy_component("f", noop_handler(0)).await;
    call(&owner).await.expect(204);
    assert_eq!(owner.get(path).await.expect(200).json()["quotas"], json!({}));

    owner.put(path, &json!({ "functions": 1 })).await.problem(400, "invalid_input", Some("functions"));
    let spend = json!({ "spend_per_month": "-1" });
    owner.put(path, &spend).await.problem(400, "invalid_input", Some("spend_per_month"));
    owner.get("/api/v1/functions/none/quotas").await.problem(404, "not_found", Some("function"));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_are_bounded() {
    let (host, owner) = tenant_with(&json!({}), &json!({ "queue": 1 })).await;
    let component = owner.upload(guest("hostile")).await;
    owner.deploy("f", &json!({ "component": component, "concurrency": { "limit": 1 } })).await;
    let sleeping = || owner.request(Method::POST, "/f/acme/f/sleep").send();
    let two = tokio::spawn(join_all([sleeping(), sleeping()]));
    let quotas = running(&owner, "/api/v1/quotas", 2).await;
    assert_eq!(quotas["waiting"], 1, "{quotas}");
    reached(&call(&owner).await, "queue");
    let function = "/api/v1/functions/f/quotas";
    host.put("/api/v1/tenants/acme/quotas", &json!({})).await.expect(200);
    owner.put(function, &json!({ "queue": 1 })).await.expect(200);
    reached(&call(&owner).await, "function.queue");
    assert_eq!(host.metric("modelet_quota_refusals_total", "").await, 2.0);
    two.abort();
    let quotas = running(&owner, function, 0).await;
    assert_eq!(quotas["waiting"], 0, "{quotas}");
    // They had come in before they were refused, and are not billed.
    let usage = owner.get("/api/v1/usage?interval=total").await.expect(200).json();
    assert_eq!(usage["total"]["not_billed"], 2, "{usage}");
}

#[tokio::test]
async fn functions_and_artifacts_are_bounded() {
    let (host, owner) = tenant_with(&json!({}), &json!({ "functions": 1, "artifact_bytes": 10_000 })).await;
    owner.deploy_component("f", noop_handler(0)).await;
    let component = owner.upload(noop_handler(1)).await;
    let second = owner.revise("g", &json!({ "component": component })).await;
    second.problem(429, "quota_exceeded", None);
    owner.revise("f", &json!({ "component": component })).await.expect(201);
    let model = digits_model();
    assert!(model.len() > 10_000);
    let digest = modelet_types::Digest::of(&model);
    let refused = owner.send(Method::PUT, &format!("/api/v1/artifacts/{digest}"), model).await;
    refused.problem(429, "quota_exceeded", None);
    let wrong = json!({ "spend_per_month": "-1" });
    let path = "/api/v1/tenants/acme/quotas";
    host.put(path, &wrong).await.problem(400, "invalid_input", Some("spend_per_month"));
    let wrong = json!({ "cpu_weight": 101 });
    host.put(path, &wrong).await.problem(400, "invalid_input", Some("cpu_weight"));
    host.put(path, &json!({ "cpu_weight": 3 })).await.expect(200);
    let quotas = owner.get("/api/v1/quotas").await.expect(200).json();
    assert_eq!(quotas["quotas"], json!({ "cpu_weight": 3 }), "{quotas}");
    host.put(path, &json!({ "speed": 1 })).await.problem(400, "invalid_input", Some("speed"));
}

#[tokio::test]
async fn spending_has_an_end() {
    let plans =
        json!({ "currency": "EUR", "plans": { "default": { "per_million_invocations": "1000000" } } });
    let (_host, owner) =
        tenant_with(&json!({ "billing": plans }), &json!({ "spend_per_month": "2.5" })).await;
    owner.deploy_component("f", noop_handler(0)).await;
    for _ in 0..3 {
        call(&owner).await.expect(204);
    }
    reached(&call(&owner).await, "spend_per_month");
}
