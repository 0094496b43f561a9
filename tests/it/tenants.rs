//! Tenants and their keys: who gets in, who may do what, and that nobody sees another's.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use modelet_types::{Permission, Role};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, TestHost, digits, digits_model, noop_handler, target_dir, until};

/// What each route of the API asks for; `None`: a key, whatever it is for. A route that is not here fails
/// the tests.
const ROUTES: &[(&str, &str, Option<Permission>)] = &[
    ("get", "/api/v1/artifacts/{digest}", Some(Permission::Deploy)),
    ("put", "/api/v1/artifacts/{digest}", Some(Permission::Deploy)),
    ("patch", "/api/v1/artifacts/{digest}", Some(Permission::Deploy)),
    ("get", "/api/v1/changes", Some(Permission::Audit)),
    ("post", "/api/v1/changes/verify", Some(Permission::Audit)),
    ("get", "/api/v1/functions", Some(Permission::Read)),
    ("get", "/api/v1/functions/{function}", Some(Permission::Read)),
    ("delete", "/api/v1/functions/{function}", Some(Permission::Deploy)),
    ("post", "/api/v1/functions/{function}/activations/{activation}/approve", Some(Permission::Deploy)),
    ("post", "/api/v1/functions/{function}/activations/{activation}/reject", Some(Permission::Deploy)),
    ("put", "/api/v1/functions/{function}/approval", Some(Permission::Manage)),
    ("get", "/api/v1/functions/{function}/logs", Some(Permission::Read)),
    ("get", "/api/v1/functions/{function}/quotas", Some(Permission::Read)),
    ("put", "/api/v1/functions/{function}/quotas", Some(Permission::Manage)),
    ("get", "/api/v1/functions/{function}/revisions", Some(Permission::Read)),
    ("post", "/api/v1/functions/{function}/revisions", Some(Permission::Deploy)),
    ("get", "/api/v1/functions/{function}/revisions/{revision}", Some(Permission::Read)),
    ("delete", "/api/v1/functions/{function}/revisions/{revision}", Some(Permission::Deploy)),
    ("post", "/api/v1/functions/{function}/rollback", Some(Permission::Deploy)),
    ("get", "/api/v1/functions/{function}/secrets", Some(Permission::Read)),
    ("put", "/api/v1/functions/{function}/secrets/{name}", Some(Permission::Deploy)),
    ("delete", "/api/v1/functions/{function}/secrets/{name}", Some(Permission::Deploy)),
    ("get", "/api/v1/functions/{function}/state", Some(Permission::Read)),
    ("put", "/api/v1/functions/{function}/traffic", Some(Permission::Deploy)),
    ("get", "/api/v1/host", None),
    ("get", "/api/v1/identity", None),
    ("get", "/api/v1/keys", Some(Permission::Audit)),
    ("post", "/api/v1/keys", Some(Permission::Manage)),
    ("delete", "/api/v1/keys/{id}", Some(Permission::Manage)),
    ("post", "/api/v1/keys/{id}/rotate", Some(Permission::Manage)),
    ("get", "/api/v1/tenants", Some(Permission::Operate)),
    ("post", "/api/v1/tenants", Some(Permission::Operate)),
    ("get", "/api/v1/tenants/{tenant}", Some(Permission::Operate)),
    ("delete", "/api/v1/tenants/{tenant}", Some(Permission::Operate)),
    ("put", "/api/v1/tenants/{tenant}/plan", Some(Permission::Operate)),
    ("put", "/api/v1/tenants/{tenant}/quotas", Some(Permission::Operate)),
    ("put", "/api/v1/tenants/{tenant}/trust", Some(Permission::Operate)),
    ("get", "/api/v1/quotas", Some(Permission::Audit)),
    ("get", "/api/v1/usage", Some(Permission::Audit)),
    ("get", "/api/v1/statements/{month}", Some(Permission::Audit)),
    ("get", "/metrics", Some(Permission::Operate)),
    ("get", "/openapi.json", None),
    // Addresses of the protocols, which the description does not have.
    ("post", "/f/{tenant}/{function}", Some(Permission::Invoke)),
    ("post", "/f/{tenant}/{function}/", Some(Permission::Invoke)),
    ("post", "/f/{tenant}/{function}/{*path}", Some(Permission::Invoke)),
    ("get", "/v2", None),
    ("get", "/v2/models/{model}", Some(Permission::Invoke)),
    ("get", "/v2/models/stats", Some(Permission::Read)),
    ("get", "/v2/models/{model}/ready", Some(Permission::Invoke)),
    ("get", "/v2/models/{model}/config", Some(Permission::Invoke)),
    ("get", "/v2/models/{model}/stats", Some(Permission::Read)),
    ("get", "/v2/models/{model}/versions/{version}/config", Some(Permission::Invoke)),
    ("get", "/v2/models/{model}/versions/{version}/stats", Some(Permission::Read)),
    ("post", "/v2/models/{model}/infer", Some(Permission::Invoke)),
    ("get", "/v2/models/{model}/versions/{version}", Some(Permission::Invoke)),
    ("get", "/v2/models/{model}/versions/{version}/ready", Some(Permission::Invoke)),
    ("post", "/v2/models/{model}/versions/{version}/infer", Some(Permission::Invoke)),
    ("post", "/v2/repository/index", Some(Permission::Invoke)),
    ("post", "/v2/repository/models/{model}/load", Some(Permission::Deploy)),
    ("post", "/v2/repository/models/{model}/unload", Some(Permission::Deploy)),
    ("post", "/inference.GRPCInferenceService/ServerMetadata", None),
    // That a model is not ready for somebody is an answer.
    ("post", "/inference.GRPCInferenceService/ModelReady", None),
    ("post", "/inference.GRPCInferenceService/ModelMetadata", Some(Permission::Invoke)),
    ("post", "/inference.GRPCInferenceService/ModelConfig", Some(Permission::Invoke)),
    ("post", "/inference.GRPCInferenceService/ModelStatistics", Some(Permission::Read)),
    ("post", "/inference.GRPCInferenceService/ModelInfer", Some(Permission::Invoke)),
    ("post", "/inference.GRPCInferenceService/RepositoryIndex", Some(Permission::Invoke)),
    ("post", "/inference.GRPCInferenceService/RepositoryModelLoad", Some(Permission::Deploy)),
    ("post", "/inference.GRPCInferenceService/RepositoryModelUnload", Some(Permission::Deploy)),
];

/// What answers anybody.
const HEALTH: &[(&str, &str)] = &[
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    ("post", "/inference.GRPCInferenceService/ServerLive"),
    ("post", "/inference.GRPCInferenceService/ServerReady"),
];

/// Where gRPC is.
const GRPC: &str = "/inference.";

/// What stands in addresses: what a test says, and where it says nothing what nobody has.
fn names<'n>(own: &[(&'n str, &'n str)]) -> Vec<(&'n str, &'n str)> {
    let nobodys = [
        ("digest", "sha256:0"),
        ("function", "nothing"),
        ("model", "nothing"),
        ("revision", "1"),
        ("version", "1"),
        ("name", "n"),
        ("id", "000000000000"),
        ("tenant", "acme"),
        ("month", "2020-01"),
        ("activation", "1"),
        ("*path", "some/where"),
    ];
    own.iter().copied().chain(nobodys).collect()
}

/// The address of a route, with what stands in it: of several of one name the first.
fn address(route: &str, names: &[(&str, &str)]) -> String {
    let mut address = route.to_owned();
    for (name, value) in names {
        address = address.replace(&format!("{{{name}}}"), value);
    }
    assert!(!address.contains('{'), "{address} has a part that the test does not know");
    address
}

fn method(name: &str) -> Method {
    name.to_uppercase().parse().unwrap()
}

/// A request that no route takes for anything but what its address says; over gRPC, where the message says
/// it, one about the model `digits`.
async fn ask(api: &Api, name: &str, path: &str) -> Answer {
    let request = if path.starts_with(GRPC) {
        let field: u8 = if path.contains("/Repository") { 2 } else { 1 };
        let mut message = vec![0, 0, 0, 0, 8, field << 3 | 2, 6];
        message.extend(b"digits");
        let request = api.over_http2().request(method(name), path);
        request.header("content-type", "application/grpc").body(message)
    } else {
        api.request(method(name), path).header("content-type", "application/json").body("{}")
    };
    Api::try_send(request).await.expect("the host answers")
}

/// The status of an answer, in HTTP's numbers also where gRPC has its own (its `PERMISSION_DENIED` and
/// `UNAUTHENTICATED`).
fn status(answer: &Answer) -> u16 {
    match answer.headers.get("grpc-status").map(|status| status.to_str().unwrap()) {
        Some("7") => 403,
        Some("16") => 401,
        _ => answer.status,
    }
}

async fn create_tenant(host: &Api, name: &str) -> Api {
    host.post("/api/v1/tenants", &json!({ "tenant": name })).await.expect(201);
    key_of(host, name, &json!({ "role": "owner" })).await
}

/// A client with a key that the operator has made for a tenant.
async fn key_of(host: &Api, tenant: &str, spec: &Value) -> Api {
    let request = host.request(Method::POST, "/api/v1/keys").header("modelet-tenant", tenant).json(spec);
    let made = Api::try_send(request).await.unwrap().expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    host.with_key(Some(made.json()["key"].as_str().unwrap()))
}

#[tokio::test]
async fn every_route_has_its_permission() {
    let host = TestHost::start().await;
    let description = host.get("/openapi.json").await.expect(200).json();
    let mut there: BTreeSet<(String, String)> = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        there.extend(operations.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let undescribed = modelet_server::undescribed_addresses().into_iter();
    there.extend(undescribed.map(|(method, path)| (method.as_str().to_lowercase(), path)));
    let known = ROUTES.iter().map(|(method, path, _)| (*method, *path)).chain(HEALTH.iter().copied());
    let known = known.map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(there, known, "the host's on the left, those that are tested on the right");
    for (method, path) in HEALTH {
        let answer = ask(&host.with_key(None), method, path).await;
        assert_eq!(status(&answer), 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[tokio::test]
async fn nothing_but_health_answers_without_a_key() {
    let host = TestHost::start().await;
    let names = names(&[("function", "f"), ("model", "f"), ("tenant", "default")]);
    let unknown = format!("mk_000000000000_{}", "0".repeat(48));
    for (name, route, _) in ROUTES {
        for key in [None, Some(unknown.as_str()), Some("sesame")] {
            let answer = ask(&host.with_key(key), name, &address(route, &names)).await;
            assert_eq!(status(&answer), 401, "{name} {route}: {}", answer.text());
            if !route.starts_with("/v2") && !route.starts_with(GRPC) {
                answer.problem(401, "unauthenticated", Some("authorization"));
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            }
        }
    }
}

#[tokio::test]
async fn each_role_may_do_what_the_matrix_says() {
    let host = TestHost::start().await;
    host.post("/api/v1/tenants", &json!({ "tenant": "acme" })).await.expect(201);
    let names = names(&[]);
    for role in Role::ALL {
        let caller = key_of(&host, "acme", &json!({ "role": role })).await;
        for (name, route, permission) in ROUTES {
            // Last, since it ends the tenant.
            if *name == "delete" && *route == "/api/v1/tenants/{tenant}" && role == Role::Operator {
                continue;
            }
            let answer = ask(&caller, name, &address(route, &names)).await;
            let is_allowed = permission.is_none_or(|permission| role.may(permission));
            let text = String::from_utf8_lossy(&answer.body);
            assert_eq!(status(&answer) == 403, !is_allowed, "{role}: {name} {route}: {text}");
            assert_ne!(status(&answer), 401, "{role}: {name} {route}");
        }
    }
    host.delete("/api/v1/tenants/acme").await.expect(204);
}

/// The answers to everything that a tenant, which is made for it, can ask about `function`, `digest` and the key `key`, without
/// what differs from one request to the next.
async fn answers(host: &TestHost, tenant: &str, digest: &str, key: &str) -> Vec<String> {
    let owner = create_tenant(host, tenant).await;
    let own =
        [("digest", digest), ("function", "digits"), ("model", "digits"), ("name", "token"), ("id", key)];
    let names = names(&own);
    let mut answers = Vec::new();
    for (name, route, _) in ROUTES {
        // These tell of the tenant's own keys and changes, whose ids and times are never the same.
        if matches!(
            *route,
            "/openapi.json"
                | "/api/v1/keys"
                | "/api/v1/identity"
                | "/api/v1/changes"
                | "/api/v1/changes/verify"
        ) {
            continue;
        }
        let path = address(route, &names);
        let answer = ask(&owner, name, &path).await;
        let kept: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date" | "modelet-invocation-id"))
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        let mut body = String::from_utf8_lossy(&answer.body).into_owned();
        if let Ok(mut json) = serde_json::from_str::<Value>(&body) {
            if let Some(fields) = json.as_object_mut() {
                fields.remove("invocation");
            }
            body = json.to_string();
        }
        let text = format!("{name} {route}: {} {kept:?} {body}", answer.status);
        answers.push(text.replace(tenant, "TENANT").replace(key, "KEY"));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_tenant_has_looks_like_what_is_not_there() {
    let host = TestHost::start().await;
    let acme = create_tenant(&host, "acme").await;
    let model = digits_model();
    let digest = modelet_types::Digest::of(&model).to_string();
    let missing = answers(&host, "first", &digest, "000000000000").await;

    let uploaded = acme.upload(model).await;
    let models = json!({ "digits": { "artifact": uploaded } });
    acme.deploy("digits", &json!({ "models": models })).await;
    acme.put("/api/v1/functions/digits/secrets/token", &json!({ "value": "sesame" })).await.expect(200);
    let keys = acme.get("/api/v1/keys").await.expect(200).json();
    let key = keys["keys"][0]["id"].as_str().unwrap().to_owned();
    let images = digits();
    let image: Vec<f32> = images[0].pixels.iter().map(|pixel| f32::from(*pixel) / 16.0).collect();
    let request = json!({ "inputs": [
        { "name": "input", "datatype": "FP32", "shape": [1, 64], "data": image },
    ] });
    acme.post("/v2/models/digits/infer", &request).await.expect(200);

    let others = answers(&host, "other", &digest, &key).await;
    assert_eq!(missing.len(), others.len());
    for (missing, other) in missing.iter().zip(&others) {
        assert_eq!(missing, other);
    }
    // All that was asked has changed nothing.
    acme.post("/v2/models/digits/infer", &request).await.expect(200);
    acme.get("/api/v1/keys").await.expect(200);
    let secrets = acme.get("/api/v1/functions/digits/secrets").await.expect(200).json();
    assert_eq!(secrets["secrets"][0]["name"], "token", "{secrets}");
}

#[tokio::test]
async fn anybody_may_call_a_public_function_and_no_other() {
    let host = TestHost::start().await;
    let acme = create_tenant(&host, "acme").await;
    let globex = create_tenant(&host, "globex").await;
    let component = acme.upload(noop_handler(0)).await;
    acme.deploy("open", &json!({ "component": component, "public": true })).await;
    acme.deploy("closed", &json!({ "component": component })).await;
    let nobody = host.with_key(None);
    for caller in [&nobody, &globex, &acme, &host, &host.with_key(Some("a token of the function's own"))] {
        caller.send(Method::POST, "/f/acme/open/", "").await.expect(204);
    }
    for path in ["/f/acme/closed/", "/f/acme/missing/", "/f/nobody/missing/"] {
        nobody.send(Method::POST, path, "").await.problem(401, "unauthenticated", Some("authorization"));
        globex.send(Method::POST, path, "").await.problem(404, "not_found", Some("function"));
    }
    acme.send(Method::POST, "/f/acme/closed/", "").await.expect(204);
    host.send(Method::POST, "/f/acme/closed/", "").await.expect(204);
    let auditor = key_of(&host, "acme", &json!({ "role": "auditor" })).await;
    auditor.send(Method::POST, "/f/acme/closed/", "").await.problem(403, "permission_denied", None);
    // The next revision is closed again.
    acme.deploy("open", &json!({ "component": component })).await;
    nobody.send(Method::POST, "/f/acme/open/", "").await.problem(
        401,
        "unauthenticated",
        Some("authorization"),
    );
}

#[tokio::test]
async fn a_key_is_shown_once_and_ends_when_it_is_told_to() {
    let mut host = TestHost::start().await;
    let spec = json!({ "role": "deployer", "description": "ci" });
    let made = host.post("/api/v1/keys", &spec).await.expect(201).json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with(&format!("mk_{id}_")), "{made}");
    let listed = host.get("/api/v1/keys").await.expect(200);
    assert!(!listed.text().contains(key), "{}", listed.text());
    let about = |answer: &Answer, id: &str| -> Value {
        let keys = answer.json();
        let found = keys["keys"].as_array().unwrap().iter().find(|key| key["id"] == id).cloned();
        found.unwrap_or_else(|| panic!("no key {id} in {keys}"))
    };
    assert_eq!(about(&listed, id)["last_used_at"], Value::Null);
    let caller = host.with_key(Some(key));
    caller.get("/api/v1/functions").await.expect(200);
    let used = about(&host.get("/api/v1/keys").await.expect(200), id);
    assert!(used["last_used_at"].is_string(), "{used}");
    assert_eq!((&used["role"], &used["description"]), (&json!("deployer"), &json!("ci")));

    // It outlives the host, and so does what is known of it.
    host.restart().await;
    let caller = host.with_key(Some(key));
    caller.get("/api/v1/functions").await.expect(200);

    // Rotated, both go on; without overlap, the old one ends.
    let rotate = format!("/api/v1/keys/{id}/rotate");
    let second = host.post(&rotate, &json!({})).await.expect(201).json();
    let second = host.with_key(Some(second["key"].as_str().unwrap()));
    second.get("/api/v1/functions").await.expect(200);
    caller.get("/api/v1/functions").await.expect(200);
    let third = host.post(&rotate, &json!({ "overlap_s": 0 })).await.expect(201).json();
    assert_eq!((&third["role"], &third["description"]), (&json!("deployer"), &json!("ci")));
    caller.get("/api/v1/functions").await.problem(401, "unauthenticated", Some("authorization"));
    let third = third["id"].as_str().unwrap();
    host.delete(&format!("/api/v1/keys/{third}")).await.expect(204);
    host.delete(&format!("/api/v1/keys/{third}")).await.problem(404, "not_found", Some("key"));

    let short = host.post("/api/v1/keys", &json!({ "role": "invoker", "expires_in_s": 1 })).await.expect(201);
    let short = host.with_key(short.json()["key"].as_str());
    until("the key's end", async || (short.get("/api/v1/identity").await.status == 401).then_some(())).await;
}

#[tokio::test]
async fn a_restricted_key_reaches_its_functions_alone() {
    let host = TestHost::start().await;
    host.deploy_component("mine", noop_handler(0)).await;
    host.deploy_component("other", noop_handler(0)).await;
    let spec = json!({ "role": "deployer", "functions": ["mine"] });
    let caller = key_of(&host, "default", &spec).await;
    caller.call("mine", "/", "").await.expect(204);
    caller.call("other", "/", "").await.problem(403, "permission_denied", Some("function"));
    let functions = caller.get("/api/v1/functions").await.expect(200).json();
    assert_eq!(functions["functions"].as_array().map(Vec::len), Some(1), "{functions}");
    caller.get("/api/v1/functions/mine/logs").await.expect(200);
    caller.get("/api/v1/functions/other/logs").await.problem(403, "permission_denied", Some("function"));
    caller.delete("/api/v1/functions/other").await.problem(403, "permission_denied", Some("function"));
    let refused = json!({ "role": "owner", "functions": ["mine"] });
    host.post("/api/v1/keys", &refused).await.problem(400, "invalid_input", Some("functions"));
    let refused = json!({ "role": "root" });
    host.post("/api/v1/keys", &refused).await.problem(400, "invalid_input", Some("role"));
}

#[tokio::test]
async fn only_an_operator_gets_an_operators_key() {
    let host = TestHost::start().await;
    let owner = key_of(&host, "default", &json!({ "role": "owner" })).await;
    let keys = owner.get("/api/v1/keys").await.expect(200).json();
    let operators = keys["keys"].as_array().unwrap().iter().find(|key| key["role"] == "operator").unwrap();
    let path = format!("/api/v1/keys/{}", operators["id"].as_str().unwrap());
    owner.post("/api/v1/keys", &json!({ "role": "operator" })).await.problem(403, "permission_denied", None);
    owner.post(&format!("{path}/rotate"), &json!({})).await.problem(403, "permission_denied", None);
    owner.delete(&path).await.problem(403, "permission_denied", None);
    let request = owner.request(Method::GET, "/api/v1/functions").header("modelet-tenant", "acme");
    let answer = Api::try_send(request).await.unwrap();
    answer.problem(403, "permission_denied", Some("modelet-tenant"));
}

#[tokio::test]
async fn the_operators_key_is_in_a_file_and_is_replaced_when_it_is_of_no_use() {
    let mut host = TestHost::start().await;
    let file = host.data_dir().join("operator-key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read_to_string(&file).unwrap();
    host.restart().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first, "it stays");
    let id = first.split('_').nth(1).unwrap();
    host.delete(&format!("/api/v1/keys/{id}")).await.expect(204);
    host.get("/api/v1/functions").await.problem(401, "unauthenticated", Some("authorization"));
    host.restart().await;
    assert_ne!(std::fs::read_to_string(&file).unwrap(), first);
    host.get("/api/v1/functions").await.expect(200);
}

#[tokio::test]
async fn a_tenants_name_is_given_once() {
    let host = TestHost::start().await;
    let acme = create_tenant(&host, "acme").await;
    let taken = host.post("/api/v1/tenants", &json!({ "tenant": "acme" })).await;
    taken.problem(409, "conflict", Some("tenant"));
    acme.deploy_component("f", noop_handler(1)).await;
    host.delete("/api/v1/tenants/acme").await.problem(409, "conflict", Some("tenant"));
    host.delete("/api/v1/tenants/default").await.problem(409, "conflict", Some("tenant"));
    acme.delete("/api/v1/functions/f").await.expect(204);
    host.delete("/api/v1/tenants/acme").await.expect(204);
    acme.get("/api/v1/functions").await.problem(401, "unauthenticated", Some("authorization"));
    let again = host.post("/api/v1/tenants", &json!({ "tenant": "acme" })).await;
    assert!(again.problem(409, "conflict", Some("tenant"))["detail"].as_str().unwrap().contains("there was"));
    let tenants = host.get("/api/v1/tenants").await.expect(200).json();
    assert_eq!(tenants["tenants"].as_array().map(Vec::len), Some(1), "{tenants}");
    let trust = json!({ "trust": "untrusted" });
    let changed = host.put("/api/v1/tenants/default/trust", &trust).await.expect(200).json();
    assert_eq!(changed["trust"], "untrusted");
    let changes = "/api/v1/tenants/nobody/trust";
    host.put(changes, &trust).await.problem(404, "not_found", Some("tenant"));
}

#[tokio::test]
async fn a_host_that_asks_for_no_key_listens_on_this_machine_alone() {
    let host = TestHost::start_with(&json!({ "authentication": "none" })).await;
    host.with_key(None).get("/api/v1/functions").await.expect(200);
    let identity = host.with_key(None).get("/api/v1/identity").await.expect(200).json();
    assert_eq!((&identity["role"], &identity["actor"]), (&json!("operator"), &json!("local")));
}

#[tokio::test]
async fn the_command_line_acts_for_the_tenant_of_its_key() {
    let host = TestHost::start().await;
    let acme = create_tenant(&host, "acme").await;
    let component = acme.upload(noop_handler(0)).await;
    acme.deploy("f", &json!({ "component": component })).await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str], key: Option<&str>| {
        let mut command = tokio::process::Command::new(target_dir().join("debug/modelet"));
        command.args(arguments).env("MODELET_HOST", host.base()).env("XDG_CONFIG_HOME", folder.path());
        match key {
            Some(key) => command.env("MODELET_KEY", key),
            None => command.env_remove("MODELET_KEY"),
        };
        let output = command.stdin(std::process::Stdio::null()).output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run(&["invoke", "f"], Some(acme.key())).await.0, 0);
    assert_eq!(run(&["invoke", "f", "--tenant", "acme"], Some(host.key())).await.0, 0);
    assert_eq!(run(&["invoke", "f"], Some(host.key())).await.0, 3, "the operator's own has none");
    assert_eq!(run(&["functions"], None).await.0, 8, "there is no key");
    std::fs::write(folder.path().join("key"), acme.key()).unwrap();
    let file = folder.path().join("key");
    let (status, kept) = run(&["login", "--json", "--key-file", file.to_str().unwrap()], None).await;
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!((status, &kept["identity"]["tenant"]), (0, &json!("acme")), "{kept}");
    let (status, functions) = run(&["functions", "--json"], None).await;
    assert!(status == 0 && functions.contains("/f/acme/f/"), "{functions}");
    assert_eq!(run(&["tenants"], None).await.0, 8, "an owner is no operator");
    let (status, verified) = run(&["audit", "verify"], None).await;
    assert!(status == 0 && verified.starts_with("intact"), "{verified}");
    assert_eq!(run(&["logout"], None).await.0, 0);
    assert_eq!(run(&["functions"], None).await.0, 8);
}
