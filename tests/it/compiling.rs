//! Components are compiled apart from the host: what attacks the compiler ends a process that reaches
//! nothing, and the host and its functions go on.

mod bombs;
mod processes;

use std::process::Command;

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Api, HostProcess, Neighbour, RawCaller, TestHost, digits_handler, noop_handler, until};
use processes::Compiler;

/// Deploys what goes over a limit of the compiler, and says which limit that was.
async fn refused(host: &Api, component: Vec<u8>) -> String {
    let component = host.upload(component).await;
    let answer = host.revise("bomb", &json!({ "component": component })).await;
    let problem = answer.problem(422, "compile_limit_exceeded", Some("component"));
    host.get("/api/v1/functions/bomb").await.problem(404, "not_found", Some("function"));
    problem["detail"].as_str().unwrap().to_owned()
}

/// Deploys bombs, by their names, on a host whose compiler has this much of `limit`, beside a neighbour
/// under load.
async fn explode(limit: &str, value: u64, bombs: [(&str, Vec<u8>); 2]) {
    let host = TestHost::start_with(&json!({ "compile": { limit: value } })).await;
    let neighbour = Neighbour::move_in(&host).await;
    for (name, bomb) in bombs {
        let before = neighbour.answers();
        let detail = refused(&host, bomb).await;
        assert!(detail.contains(&format!("{value} ")) && detail.contains(limit), "{name}: {detail}");
        assert!(neighbour.answers() > before, "the neighbour had no answer beside {name}");
    }
    host.deploy_component("innocent", noop_handler(0)).await;
    host.call("innocent", "/", "").await.expect(204);
    assert_eq!(host.metric("modelet_compilations_total", "").await, 2.0, "the neighbour and the innocent");
    neighbour.end_unharmed().await;
}

#[tokio::test]
async fn bombs_of_memory_end_their_own_compiler_and_harm_nobody() {
    let bombs = [("jumps", bombs::jumps(1_200)), ("a long function", bombs::long_function(500_000))];
    explode("memory_bytes", 256 << 20, bombs).await;
}

#[tokio::test]
async fn bombs_of_time_end_their_own_compiler_and_harm_nobody() {
    let bombs = [("many functions", bombs::functions(150_000)), ("nested blocks", bombs::nested(200_000))];
    explode("cpu_time_ms", 2_000, bombs).await;
}

#[tokio::test]
async fn a_compilation_that_takes_too_long_is_broken_off() {
    let host = TestHost::start_with(&json!({ "compile": { "wall_time_ms": 1_000 } })).await;
    let bomb = bombs::nested(300_001);
    let compiler = Compiler::of(&bomb);
    let detail = refused(&host, bomb).await;
    assert!(detail.contains("1000 ms (compile.wall_time_ms)"), "{detail}");
    assert_eq!(compiler.running(), None);
}

#[tokio::test]
async fn a_compiler_that_is_killed_is_told_and_the_next_one_works() {
    let host = TestHost::start().await;
    let bomb = bombs::nested(300_002);
    let compiler = Compiler::of(&bomb);
    let component = host.upload(bomb).await;
    let spec = json!({ "component": component });
    let (answer, ()) = tokio::join!(host.revise("victim", &spec), async {
        compiler.start().await;
        compiler.kill();
    });
    let problem = answer.problem(500, "compile_failed", Some("component"));
    assert!(problem["detail"].as_str().unwrap().contains("deploy again"), "{problem}");
    host.deploy_component("next", noop_handler(0)).await;
    host.call("next", "/", "").await.expect(204);
}

#[tokio::test]
async fn a_deployer_who_leaves_ends_the_compiler() {
    let host = TestHost::start().await;
    for (depth, accept) in [(300_003, "application/json"), (300_004, "application/x-ndjson")] {
        let bomb = bombs::nested(depth);
        let compiler = Compiler::of(&bomb);
        let spec = json!({ "component": host.upload(bomb).await }).to_string();
        let length = spec.len();
        let deployer = RawCaller::send(
            &host,
            &format!(
                "POST /api/v1/functions/left/revisions HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\n\r\n{spec}"
            ),
        )
        .await;
        compiler.start().await;
        drop(deployer);
        compiler.end().await;
    }
    host.get("/api/v1/functions/left").await.problem(404, "not_found", Some("function"));
    host.deploy_component("next", noop_handler(0)).await;
}

#[tokio::test]
async fn a_compiler_does_not_outlive_its_host() {
    let folder = tempfile::TempDir::new().unwrap();
    let host = HostProcess::start(folder.path(), None).await;
    let bomb = bombs::nested(300_005);
    let compiler = Compiler::of(&bomb);
    let component = host.upload(bomb).await;
    let api = (*host).clone();
    let deploying = tokio::spawn(async move {
        let path = "/api/v1/functions/f/revisions";
        let request = api.request(Method::POST, path).json(&json!({ "component": component }));
        assert!(Api::try_send(request).await.is_err(), "the host is killed before it answers");
    });
    let pid = compiler.start().await;
    assert_ne!(pid, host.id());
    host.kill().await;
    compiler.end().await;
    deploying.await.unwrap();
}

#[tokio::test]
async fn what_is_compiled_in_the_background_is_compiled_apart_too() {
    let mut host = TestHost::start().await;
    let component = bombs::functions(30_000);
    let compiler = Compiler::of(&component);
    host.deploy_component("f", component).await;
    host.stop().await;
    std::fs::remove_dir_all(host.data_dir().join("code")).unwrap();
    host.start_again().await;
    compiler.start().await;
    until("the handler to be compiled", async || {
        let answer = host.call("f", "/", "").await;
        assert!([204, 503].contains(&answer.status), "{answer:?}");
        (answer.status == 204).then_some(())
    })
    .await;
    // It is counted when its process is gone, which may be after the first answer.
    until("the compilation to be counted", async || {
        (host.metric("modelet_compilations_total", "").await == 1.0).then_some(())
    })
    .await;
}

/// What a confined process could and could not do, by name.
async fn confined() -> Vec<(String, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let run = move || {
        // This thread is the parent in the kernel's eyes.
        Command::new(env!("CARGO_BIN_EXE_confined")).args([&std::process::id().to_string(), &port]).output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().expect("the program can be started");
    assert!(output.status.success(), "{output:?}");
    let line = |line: &str| line.split_once(": ").map(|(name, what)| (name.to_owned(), what.to_owned()));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|text| line(text).unwrap_or_else(|| panic!("{text}"))).collect()
}

#[tokio::test]
async fn a_confined_process_computes_and_reaches_nothing() {
    let report = confined().await;
    assert_eq!(report.len(), 21, "{report:?}");
    for (name, what) in &report {
        match name.as_str() {
            // This machine must have both, or it could not say that each refuses.
            "landlock" | "seccomp" => assert_eq!(what, "true", "{name} is missing on this machine"),
            "compute" => assert_eq!(what, "done"),
            "use a descriptor from before" => assert!(what.contains("Bad file descriptor"), "{name}: {what}"),
            "take too much memory" => assert!(what.contains("memory"), "{name}: {what}"),
            _ => assert!(what.contains("not permitted"), "{name}: {what}"),
        }
    }
}

#[tokio::test]
async fn a_handler_compiles_under_required_confinement() {
    let host = TestHost::start_with(&json!({ "compile": { "confinement": "required" } })).await;
    host.deploy_component("digits", digits_handler()).await;
}
