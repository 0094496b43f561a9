//! A function from its first deploy to its deletion, and across a restart.

use serde_json::{Value, json};

use crate::support::{Answer, Api, RawCaller, TestHost, digits, guest, noop_handler};

/// Deploys a revision that answers `greeting`, active or not, and gives its number.
async fn greet(host: &Api, greeting: &str, activate: bool) -> u64 {
    let component = host.upload(guest("streaming")).await;
    let spec = json!({ "component": component, "config": { "greeting": greeting } });
    let path = format!("/api/v1/functions/greeter/revisions?activate={activate}");
    let revision = host.post(&path, &spec).await.expect(201).json();
    assert_eq!(revision["active"], activate, "{revision}");
    assert_eq!(revision["spec"]["config"], spec["config"], "{revision}");
    revision["revision"].as_u64().unwrap()
}

async fn ask(host: &Api) -> Answer {
    host.call("greeter", "/config", "").await.expect(200)
}

async fn traffic(host: &Api) -> Value {
    host.get("/api/v1/functions/greeter").await.expect(200).json()["traffic"].clone()
}

fn all_to(revision: u64) -> Value {
    json!([{ "revision": revision, "weight": 1 }])
}

#[tokio::test]
async fn calls_follow_activation_and_rollback() {
    let host = TestHost::start().await;
    assert_eq!(greet(&host, "good morning", true).await, 1);
    host.post("/api/v1/functions/greeter/rollback", &json!({})).await.problem(409, "conflict", None);
    assert_eq!(greet(&host, "good evening", false).await, 2);

    let first = ask(&host).await;
    assert_eq!((first.text(), first.header("modelet-revision")), ("good morning", "1"));
    host.put("/api/v1/functions/greeter/traffic", &all_to(2)).await.expect(200);
    let second = ask(&host).await;
    assert_eq!((second.text(), second.header("modelet-revision")), ("good evening", "2"));
    assert_ne!(first.header("modelet-invocation-id"), second.header("modelet-invocation-id"));

    let function = host.post("/api/v1/functions/greeter/rollback", &json!({})).await.expect(200).json();
    assert_eq!(function["traffic"], all_to(1), "{function}");
    assert_eq!(ask(&host).await.text(), "good morning");

    let revisions = host.get("/api/v1/functions/greeter/revisions").await.expect(200).json();
    let listed: Vec<_> = revisions["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| (revision["revision"].as_u64().unwrap(), revision["active"].as_bool().unwrap()))
        .collect();
    assert_eq!(listed, [(2, false), (1, true)], "newest first");
}

#[tokio::test]
async fn a_split_divides_the_calls() {
    let host = TestHost::start().await;
    greet(&host, "left", true).await;
    greet(&host, "right", false).await;
    let split = json!([{ "revision": 1, "weight": 1 }, { "revision": 2, "weight": 1 }]);
    host.put("/api/v1/functions/greeter/traffic", &split).await.expect(200);
    let mut lefts = 0;
    for _ in 0..100 {
        lefts += usize::from(ask(&host).await.text() == "left");
    }
    // Outside of this once in 10⁹ runs of a fair split.
    assert!((20..=80).contains(&lefts), "{lefts} of 100");
}

#[tokio::test]
async fn deletion_takes_everything_but_the_numbers() {
    let host = TestHost::start().await;
    greet(&host, "one", true).await;
    greet(&host, "two", true).await;
    host.delete("/api/v1/functions/greeter/revisions/2").await.problem(409, "conflict", None);
    host.delete("/api/v1/functions/greeter/revisions/1").await.expect(204);
    host.get("/api/v1/functions/greeter/revisions/1").await.problem(404, "not_found", Some("revision"));

    ask(&host).await;
    host.delete("/api/v1/functions/greeter").await.expect(204);
    host.get("/f/default/greeter/config").await.problem(404, "not_found", Some("function"));
    host.get("/api/v1/functions/greeter").await.problem(404, "not_found", Some("function"));
    let functions = host.get("/api/v1/functions").await.expect(200).json();
    assert_eq!(functions["functions"], json!([]));
    assert_eq!(host.metric("modelet_invocations_total", "function=\"greeter\"").await, 0.0);

    assert_eq!(greet(&host, "again", true).await, 3, "a number is not used twice");
    assert!(host.logs("greeter").await.is_empty(), "the log of its namesake is gone");
}

/// Sends the head of a call, and comes back once the host has routed it and waits for the body.
async fn begin_call(host: &Api, path: &str, body_bytes: usize) -> RawCaller {
    let head = format!(
        "POST /f/default/greeter{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         expect: 100-continue\r\ncontent-length: {body_bytes}\r\n\r\n"
    );
    let mut caller = RawCaller::send(host, &head).await;
    caller.read_until("HTTP/1.1 100").await;
    caller
}

#[tokio::test]
async fn a_function_deleted_while_a_body_comes_neither_runs_nor_speaks_in_the_next_ones_log() {
    let host = TestHost::start().await;
    greet(&host, "one", true).await;
    let mut caller = begin_call(&host, "/log", 6).await;
    host.delete("/api/v1/functions/greeter").await.expect(204);
    greet(&host, "again", true).await;
    caller.go_on("secret").await;
    let answer = caller.read_to_end().await;
    assert!(answer.contains("HTTP/1.1 404") && answer.contains(r#""field":"function""#), "{answer}");
    assert!(host.logs("greeter").await.is_empty());
}

#[tokio::test]
async fn a_revision_that_loses_its_traffic_answers_what_it_was_given() {
    let host = TestHost::start().await;
    greet(&host, "one", true).await;
    let mut caller = begin_call(&host, "/config", 1).await;
    greet(&host, "two", true).await;
    caller.go_on("!").await;
    let answer = caller.read_to_end().await;
    assert!(answer.contains("HTTP/1.1 200") && answer.ends_with("one"), "{answer}");
    assert_eq!(ask(&host).await.text(), "two");
}

#[tokio::test]
async fn a_restart_keeps_everything_and_compiles_nothing() {
    let mut host = TestHost::start().await;
    greet(&host, "before", true).await;
    greet(&host, "after", true).await;
    host.deploy_digits("digits", &json!({})).await;
    host.call("greeter", "/log", "remember this").await.expect(200);
    host.log_line("greeter", &["remember this"]).await;
    let paths = [
        "/api/v1/functions",
        "/api/v1/functions/greeter/revisions",
        "/api/v1/functions/digits/revisions/1",
        "/api/v1/functions/greeter/logs",
    ];
    let remembered = async |host: &TestHost| {
        let mut answers = Vec::new();
        for path in paths {
            answers.push(host.get(path).await.expect(200).text().to_owned());
        }
        answers
    };
    let before = remembered(&host).await;
    host.restart().await;
    assert_eq!(remembered(&host).await, before);

    assert_eq!(ask(&host).await.text(), "after");
    host.post("/api/v1/functions/greeter/rollback", &json!({})).await.expect(200);
    assert_eq!(ask(&host).await.text(), "before");
    assert_eq!(traffic(&host).await, all_to(1));
    let case = &digits()[0];
    assert_eq!(case.mistake(&host.call("digits", "/", case.request()).await), None);
    assert_eq!(host.metric("modelet_compilations_total", "").await, 0.0);
}

#[tokio::test]
async fn lost_code_is_compiled_again_at_the_next_start() {
    let mut host = TestHost::start().await;
    host.deploy_component("f", noop_handler(0)).await;
    host.stop().await;
    std::fs::remove_dir_all(host.data_dir().join("code")).unwrap();
    host.start_again().await;
    crate::support::until("the handler to be compiled", async || {
        let answer = host.call("f", "/", "").await;
        assert!([204, 503].contains(&answer.status), "{answer:?}");
        (answer.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deploy_tells_how_far_it_has_come() {
    let host = TestHost::start().await;
    let component = host.upload(crate::support::digits_handler()).await;
    let model = host.upload(crate::support::digits_model()).await;
    let spec = json!({ "component": component, "models": { "digits": { "artifact": model } } });
    let events = async |spec: &Value| {
        let request = host
            .request(reqwest::Method::POST, "/api/v1/functions/digits/revisions")
            .header("accept", "application/x-ndjson")
            .json(spec);
        let answer = Api::try_send(request).await.unwrap().expect(200);
        let lines = answer.text().lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let names = |events: &[Value]| {
        events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let went_well = events(&spec).await;
    let expected =
        ["compiling", "compiled", "checking_model", "checked_model", "stored", "activated", "done"];
    assert_eq!(names(&went_well), expected);
    assert_eq!(went_well[3]["model"], "digits");
    assert_eq!(went_well[6]["revision"]["revision"], 1);

    let mut wrong = spec.clone();
    wrong["models"]["digits"]["artifact"] = wrong["component"].clone();
    let went_wrong = events(&wrong).await;
    let last = went_wrong.last().unwrap();
    assert_eq!(
        (&last["event"], &last["problem"]["code"]),
        (&json!("failed"), &json!("invalid_model")),
        "{last}"
    );
    assert_eq!(last["problem"]["field"], "models.digits", "{last}");
}
