//! A new function, from nothing to its first answer, as a newcomer makes it: outside of this
//! repository, with the `modelet` binary alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Api, TestHost, target_dir};

fn modelet() -> PathBuf {
    let binary = target_dir().join("debug/modelet");
    assert!(binary.exists(), "{} is missing; make it by `cargo build -p modelet`", binary.display());
    binary
}

/// Runs the binary in `folder` and gives what it printed.
async fn run(folder: &Path, host: &Api, arguments: &[&str]) -> String {
    let output = Command::new(modelet())
        .args(arguments)
        .current_dir(folder)
        .env("MODELET_HOST", host.base())
        .env("MODELET_KEY", host.key())
        // Dependencies are built once for all runs, as cargo would do for a person. The project's
        // own `target` folder is where it looks for the component.
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the binary can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "modelet {arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Makes a function in `language`, builds it, tests it, deploys it and calls it.
async fn from_nothing_to_an_answer(language: &str) {
    let host = TestHost::start().await;
    let folder = TempDir::new().unwrap();
    run(folder.path(), &host, &["new", "flowers", "--lang", language]).await;
    let project = folder.path().join("flowers");
    run(&project, &host, &["build"]).await;
    run(&project, &host, &["test"]).await;
    // Built just before; another build would make the same.
    let deploy: &[&str] = match language {
        "rust" => &["deploy", "--json"],
        _ => &["deploy", "--json", "--no-build"],
    };
    let deployed: Value = serde_json::from_str(&run(&project, &host, deploy).await).expect("--json is JSON");
    assert_eq!(deployed["revision"], 1, "{deployed}");

    let request = std::fs::read_to_string(project.join("requests/setosa.json")).unwrap();
    let answer = host.call("flowers", "/", request.clone()).await.expect(200);
    let invoked = run(&project, &host, &["invoke", "flowers", "--data", &request]).await;
    assert_eq!(serde_json::from_str::<Value>(&invoked).unwrap(), answer.json());
    assert_eq!(answer.json()["species"], "setosa", "{answer:?}");
    let confidence = answer.json()["confidence"].as_f64().unwrap();
    assert!((confidence - 0.98165685).abs() < 1e-5, "{confidence}");

    let wrong = request.replace("1.4", "\"long\"");
    host.call("flowers", "/", wrong).await.problem(422, "invalid_input", Some("petal_length"));
    host.call("flowers", "/", "{").await.problem(400, "invalid_input", None);
}

#[tokio::test]
async fn a_new_function_builds_passes_its_own_test_and_answers() {
    from_nothing_to_an_answer("rust").await;
}

#[tokio::test]
async fn so_does_one_in_python() {
    from_nothing_to_an_answer("python").await;
}

#[tokio::test]
async fn so_does_one_in_javascript() {
    from_nothing_to_an_answer("js").await;
}
