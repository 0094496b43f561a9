//! Activations that need a second person: nobody changes what answers by themselves, whichever way they try.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, TestHost, noop_handler};

const F: &str = "/api/v1/functions/f";

/// A host with a function that needs a second person for its traffic, and two deployers.
async fn two_deployers() -> (TestHost, Api, Api) {
    let host = TestHost::start().await;
    host.deploy_component("f", noop_handler(0)).await;
    host.put(&format!("{F}/approval"), &json!({ "needed": true })).await.expect(200);
    let mut deployers = Vec::new();
    for _ in 0..2 {
        let made = host.post("/api/v1/keys", &json!({ "role": "deployer" })).await.expect(201).json();
        deployers.push(host.with_key(made["key"].as_str()));
    }
    let bob = deployers.pop().unwrap();
    (host, deployers.pop().unwrap(), bob)
}

async fn deploy(deployer: &Api) -> Value {
    let component = deployer.upload(noop_handler(1)).await;
    deployer.revise("f", &json!({ "component": component })).await.expect(201).json()
}

async fn say(person: &Api, activation: &Value, what: &str) -> Answer {
    person.send(Method::POST, &format!("{F}/activations/{activation}/{what}"), "").await
}

#[tokio::test]
async fn a_deploy_waits_until_another_person_approves() {
    let (mut host, ann, bob) = two_deployers().await;
    let revision = deploy(&ann).await;
    assert_eq!((&revision["active"], &revision["revision"]), (&json!(false), &json!(2)), "{revision}");
    let activation = &revision["pending"];
    let function = bob.get(F).await.expect(200).json();
    assert_eq!(function["traffic"], json!([{ "revision": 1, "weight": 1 }]), "{function}");
    assert_eq!(&function["pending"]["activation"], activation, "{function}");
    assert!(function["pending"]["requested_by"].as_str().unwrap().starts_with("key/"), "{function}");
    assert_eq!(host.call("f", "/", "").await.expect(204).header("modelet-revision"), "1");

    say(&ann, activation, "approve").await.problem(403, "permission_denied", None);
    say(&bob, &json!(0), "approve").await.problem(404, "not_found", Some("activation"));
    say(&bob, &json!("x"), "approve").await.problem(400, "invalid_input", Some("activation"));
    // What waits survives a restart.
    let (ann_key, bob_key) = (ann.key().to_owned(), bob.key().to_owned());
    host.restart().await;
    let (ann, bob) = (host.with_key(Some(&ann_key)), host.with_key(Some(&bob_key)));
    let approved = say(&bob, activation, "approve").await.expect(200).json();
    assert_eq!((&approved["traffic"][0]["revision"], &approved["pending"]), (&json!(2), &Value::Null));
    assert_eq!(host.call("f", "/", "").await.expect(204).header("modelet-revision"), "2");
    say(&bob, activation, "approve").await.problem(404, "not_found", Some("activation"));

    // Back goes at once, and forward again does not.
    ann.send(Method::POST, &format!("{F}/rollback"), "").await.expect(200);
    let split = json!([{ "revision": 2, "weight": 1 }]);
    let asked = ann.put(&format!("{F}/traffic"), &split).await.expect(200).json();
    assert_eq!(asked["traffic"][0]["revision"], 1, "{asked}");
    let rejected = say(&ann, &asked["pending"]["activation"], "reject").await.expect(200).json();
    assert_eq!(rejected["pending"], Value::Null, "{rejected}");
}

#[tokio::test]
async fn one_person_has_no_way_around() {
    let (host, ann, bob) = two_deployers().await;
    let revision = deploy(&ann).await;
    ann.delete(F).await.problem(409, "conflict", None);
    ann.put(&format!("{F}/approval"), &json!({ "needed": false })).await.problem(
        403,
        "permission_denied",
        None,
    );
    // An owner can make keys, and with none of those approve what they asked for.
    let owner = host.post("/api/v1/keys", &json!({ "role": "owner" })).await.expect(201).json();
    let owner = host.with_key(owner["key"].as_str());
    let second = owner.post("/api/v1/keys", &json!({ "role": "owner" })).await.expect(201).json();
    let second = owner.with_key(second["key"].as_str());
    let revision_of_owner = deploy(&owner).await;
    say(&bob, &revision["pending"], "approve").await.problem(404, "not_found", Some("activation"));
    say(&second, &revision_of_owner["pending"], "approve").await.problem(403, "permission_denied", None);
    say(&ann, &revision_of_owner["pending"], "approve").await.expect(200);
    host.put(&format!("{F}/approval"), &json!({ "needed": false })).await.expect(200);
    assert_eq!(deploy(&ann).await["active"], true);
}
