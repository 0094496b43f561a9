//! What a program that uses the API relies on: pages, tags of what it changes, requests that may be sent
//! twice, and a description that is true.

use std::process::Stdio;

use futures::future::join_all;
use modelet_types::Digest;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Answer, Api, TestHost, noop_handler, repository};

/// Follows `next` to the end, and gives the items' names.
async fn pages(api: &Api, path: &str, items: &str, name: &str, limit: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{path}?limit={limit}{after}")).await.expect(200).json();
        let items = page[items].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        found.extend(items.iter().map(|item| item[name].to_string().trim_matches('"').to_owned()));
        after = match &page["next"] {
            Value::Null => return found,
            Value::String(next) => format!("&after={next}"),
            next => format!("&after={next}"),
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_come_in_pages() {
    let host = TestHost::start().await;
    let component = host.upload(noop_handler(0)).await;
    let spec = json!({ "component": component });
    for name in ["e", "b", "d", "a", "c"] {
        host.deploy(name, &spec).await;
    }
    for _ in 0..4 {
        host.deploy("a", &spec).await;
    }
    for limit in [1, 2, 5, 1_000] {
        let functions = pages(&host, "/api/v1/functions", "functions", "function", limit).await;
        assert_eq!(functions, ["a", "b", "c", "d", "e"], "{limit} at a time");
        let path = "/api/v1/functions/a/revisions";
        assert_eq!(pages(&host, path, "revisions", "revision", limit).await, ["5", "4", "3", "2", "1"]);
    }
    let last = host.get("/api/v1/functions?limit=5").await.expect(200).json();
    assert_eq!(last["next"], Value::Null, "a full page that is the last says so: {last}");
    for tenant in ["y", "x"] {
        host.post("/api/v1/tenants", &json!({ "tenant": tenant })).await.expect(201);
    }
    assert_eq!(pages(&host, "/api/v1/tenants", "tenants", "tenant", 1).await, ["default", "x", "y"]);
    for limit in ["0", "1001"] {
        let path = format!("/api/v1/functions?limit={limit}");
        host.get(&path).await.problem(400, "invalid_input", Some("limit"));
    }

    // A key for some functions sees these, and nothing of the others' names between the pages.
    let key = json!({ "role": "deployer", "functions": ["d", "b", "not-there"] });
    let key = host.post("/api/v1/keys", &key).await.expect(201).json();
    let restricted = host.with_key(key["key"].as_str());
    assert_eq!(pages(&restricted, "/api/v1/functions", "functions", "function", 1).await, ["b", "d"]);
}

/// Sends a request with a header.
async fn send_with(
    api: &Api,
    method: Method,
    path: &str,
    header: (&str, &str),
    body: Option<&Value>,
) -> Answer {
    let request = api.request(method, path).header(header.0, header.1);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    Api::try_send(request).await.expect("the host answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_can_ask_for_the_state_that_its_author_saw() {
    let host = TestHost::start().await;
    let component = host.upload(noop_handler(0)).await;
    for _ in 0..2 {
        host.deploy("f", &json!({ "component": component })).await;
    }
    let (function, traffic) = ("/api/v1/functions/f", "/api/v1/functions/f/traffic");
    let seen = host.get(function).await.expect(200).header("etag").to_owned();
    let first = json!([{ "revision": 1, "weight": 1 }]);
    let by = async |tag: &str| send_with(&host, Method::PUT, traffic, ("if-match", tag), Some(&first)).await;
    let changed = by(&seen).await.expect(200).header("etag").to_owned();
    assert_ne!(changed, seen);
    by(&seen).await.problem(412, "precondition_failed", Some("if-match"));
    by("W/\"1\"").await.problem(412, "precondition_failed", Some("if-match"));
    by("7").await.problem(400, "invalid_input", Some("if-match"));
    let deploy = format!("{function}/revisions");
    let spec = json!({ "component": component });
    let stale = send_with(&host, Method::POST, &deploy, ("if-match", &seen), Some(&spec)).await;
    stale.problem(412, "precondition_failed", Some("if-match"));
    by("*").await.expect(200);
    by(&format!("\"other\", {changed}")).await.expect(200);
    let rollback = format!("{function}/rollback");
    let stale = ("if-match", seen.as_str());
    send_with(&host, Method::POST, &rollback, stale, None).await.problem(
        412,
        "precondition_failed",
        Some("if-match"),
    );
    send_with(&host, Method::DELETE, function, stale, None).await.problem(
        412,
        "precondition_failed",
        Some("if-match"),
    );
    send_with(&host, Method::DELETE, function, ("if-match", &changed), None).await.expect(204);

    let made = host.post("/api/v1/tenants", &json!({ "tenant": "t" })).await.expect(201);
    let seen = made.header("etag").to_owned();
    let quotas = json!({ "concurrency": 5 });
    let set = async |tag: &str| {
        send_with(&host, Method::PUT, "/api/v1/tenants/t/quotas", ("if-match", tag), Some(&quotas)).await
    };
    let changed = set(&seen).await.expect(200).header("etag").to_owned();
    assert_eq!(host.get("/api/v1/tenants/t").await.expect(200).header("etag"), changed);
    set(&seen).await.problem(412, "precondition_failed", Some("if-match"));
    set(&changed).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_done_once() {
    let mut host = TestHost::start().await;
    let component = host.upload(noop_handler(0)).await;
    let spec = json!({ "component": component });
    let once = ("idempotency-key", "5d5a3b0c-deploy");
    let path = "/api/v1/functions/f/revisions";
    // At one time, and again later.
    let asked = (0..4).map(|_| send_with(&host, Method::POST, path, once, Some(&spec)));
    for answer in join_all(asked).await {
        assert_eq!(answer.expect(201).json()["revision"], 1);
    }
    host.restart().await;
    assert_eq!(
        send_with(&host, Method::POST, path, once, Some(&spec)).await.expect(201).json()["revision"],
        1
    );
    let revisions = host.get(path).await.expect(200).json();
    assert_eq!(revisions["revisions"].as_array().map(Vec::len), Some(1), "{revisions}");
    // The same key for something else, and another key.
    let other = json!({ "component": component, "config": { "k": "v" } });
    let refused = send_with(&host, Method::POST, path, once, Some(&other)).await;
    refused.problem(422, "idempotency_key_reused", Some("idempotency-key"));
    let second = send_with(&host, Method::POST, path, ("idempotency-key", "two"), Some(&spec)).await;
    assert_eq!(second.expect(201).json()["revision"], 2);

    let back = async || {
        let path = "/api/v1/functions/f/rollback";
        send_with(&host, Method::POST, path, ("idempotency-key", "back"), None).await.expect(200).json()
    };
    let traffic = back().await["traffic"].clone();
    assert_eq!(traffic, json!([{ "revision": 1, "weight": 1 }]));
    assert_eq!(back().await["traffic"], traffic, "once, and not twice");

    let tenant = json!({ "tenant": "t", "trust": "untrusted" });
    for _ in 0..2 {
        send_with(&host, Method::POST, "/api/v1/tenants", ("idempotency-key", "t"), Some(&tenant))
            .await
            .expect(201);
    }
    let other = json!({ "tenant": "other" });
    let refused =
        send_with(&host, Method::POST, "/api/v1/tenants", ("idempotency-key", "t"), Some(&other)).await;
    refused.problem(422, "idempotency_key_reused", Some("idempotency-key"));
    host.get("/api/v1/tenants/other").await.problem(404, "not_found", Some("tenant"));
    // A key's text is shown once and kept nowhere: the answer cannot be had again.
    let key = json!({ "role": "invoker" });
    let make =
        async || send_with(&host, Method::POST, "/api/v1/keys", ("idempotency-key", "k"), Some(&key)).await;
    let id = make().await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let again = make().await.problem(409, "conflict", Some("idempotency-key"));
    assert!(again["detail"].as_str().unwrap().contains(&id), "{again}");
    // What is somebody else's request is not this one, whatever its key.
    let other = host.post("/api/v1/keys", &json!({ "role": "deployer" })).await.expect(201).json();
    let other = host.with_key(other["key"].as_str());
    assert_eq!(
        send_with(&other, Method::POST, path, once, Some(&spec)).await.expect(201).json()["revision"],
        3
    );
}

/// A client that knows nothing but the description, and tries what it allows and what it does not.
#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_true() {
    let host = TestHost::start().await;
    let component = host.upload(noop_handler(0)).await;
    host.deploy("f", &json!({ "component": component })).await;
    // It revokes every key that it finds. Its own is one of a tenant for which it does not act, and which
    // cannot be deleted because it has a function.
    host.post("/api/v1/tenants", &json!({ "tenant": "operators" })).await.expect(201);
    let in_operators = ("modelet-tenant", "operators");
    let key = json!({ "role": "operator" });
    let key =
        send_with(&host, Method::POST, "/api/v1/keys", in_operators, Some(&key)).await.expect(201).json();
    let path = format!("/api/v1/artifacts/{}", Digest::of(&noop_handler(0)));
    let upload =
        host.request(Method::PUT, &path).header(in_operators.0, in_operators.1).body(noop_handler(0));
    Api::try_send(upload).await.unwrap().expect(201);
    let path = "/api/v1/functions/f/revisions";
    send_with(&host, Method::POST, path, in_operators, Some(&json!({ "component": component })))
        .await
        .expect(201);
    let schemathesis = repository().join(".cache/clients/bin/schemathesis");
    assert!(schemathesis.exists(), "{}: make it by `cargo xtask test --only fetch`", schemathesis.display());
    let output = Command::new(schemathesis)
        .arg("--config-file")
        .arg(repository().join("tests/clients/schemathesis.toml"))
        .arg("run")
        .arg(format!("{}/openapi.json", host.base()))
        .env("MODELET_KEY", key["key"].as_str().unwrap())
        .current_dir(host.data_dir())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    host.get("/readyz").await.expect(200);
}
